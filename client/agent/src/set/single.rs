//! Files that are each replaced where they are: written beside, synced, renamed.
//!
//! Each is whole at any moment; all of them together are not replaced in one.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use rustix::fs::FileType;

use super::{
    InstallError, Wanted,
    directory::{Access, Directory, kind},
    wanted::digest,
};

/// Files that are written and not in place.
pub(crate) struct Staged {
    files: Vec<StagedFile>,
}

struct StagedFile {
    folder: Directory,
    name: OsString,
}

pub(super) fn stage(wanted: &Wanted) -> Result<Staged, InstallError> {
    let mut files = Vec::new();
    for file in &wanted.files {
        let (folder, name) = open(&file.path)?;
        if let Some((stat, content)) = folder.read(name)? {
            if kind(&stat) != FileType::RegularFile {
                return Err(InstallError::InTheWay {
                    path: file.path.clone(),
                    why: "is no plain file, and only such a one is replaced; move it away",
                });
            }
            if Access::of(&stat) == file.access && digest(&content) == file.digest {
                continue;
            }
        }
        let new = new_name(name);
        folder.remove_file(&new)?;
        folder.write(&new, file.access, &file.content)?;
        crate::fault::at("a file written");
        files.push(StagedFile {
            folder,
            name: name.to_owned(),
        });
    }
    crate::fault::at("files written");
    Ok(Staged { files })
}

impl Staged {
    pub(super) fn install(self) -> Result<(), InstallError> {
        for file in &self.files {
            file.folder.rename(new_name(&file.name), &file.name)?;
            crate::fault::at("a file replaced");
        }
        self.files.iter().try_for_each(|file| file.folder.sync())
    }

    pub(super) fn discard(self) -> Result<(), InstallError> {
        let mut files = self.files.iter();
        files.try_for_each(|file| file.folder.remove_file(new_name(&file.name)))
    }
}

/// The folder that a file lies in, and its name there.
pub(super) fn open(path: &Path) -> Result<(Directory, &OsStr), InstallError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    Ok((
        Directory::open(folder)?,
        path.file_name().unwrap_or_default(),
    ))
}

/// Hidden, and of no extension that anyone includes.
fn new_name(name: &OsStr) -> OsString {
    let mut new = OsString::from(".");
    new.push(name);
    new.push(".kvagent-new");
    new
}
