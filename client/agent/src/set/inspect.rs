//! Whether what was installed is still there.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use rustix::fs::{FileType, Stat};

use super::{
    InstallError, Installed, InstalledFile, Owner,
    directory::{Access, Directory, kind},
    single, versions,
    wanted::digest,
};
use crate::settings::{Place, SetSettings};

/// What differs on the disk from what was installed, in words; nothing if nothing does.
pub(crate) fn inspect(
    settings: &SetSettings,
    installed: &Installed,
) -> Result<Vec<String>, InstallError> {
    let mut found = Vec::new();
    match (settings.place(), &installed.version) {
        (Place::Folder(folder), Some(version)) => {
            match versions::current(folder) {
                Ok(Some(target)) if target == Path::new(version) => {}
                Ok(Some(target)) => found.push(format!("current leads to {}", target.display())),
                Ok(None) => found.push("current is gone".to_owned()),
                Err(error) if error.is_gone() => found.push("the folder is gone".to_owned()),
                Err(error) => return Err(error),
            }
            if found.is_empty() {
                look_into(folder, version, installed, &mut found)?;
            }
        }
        (Place::Single, None) => {
            for file in &installed.files {
                let content = match single::open(&file.path) {
                    Ok((folder, name)) => folder.read(name)?,
                    Err(error) if error.is_gone() => None,
                    Err(error) => return Err(error),
                };
                compare(file, content, &mut found);
            }
        }
        _ => found.push("it was installed in another way".to_owned()),
    }
    Ok(found)
}

fn look_into(
    folder: &Path,
    version: &str,
    installed: &Installed,
    found: &mut Vec<String>,
) -> Result<(), InstallError> {
    let root = match Directory::open(folder)?.enter(version) {
        Ok(root) => root,
        Err(error) if error.is_gone() => {
            found.push(format!("{version} is gone"));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mut expected = BTreeSet::new();
    for file in &installed.files {
        let mut above = file.path.as_path();
        while let Some(parent) = above.parent() {
            expected.insert(above.to_owned());
            above = parent;
        }
        compare(file, versions::read_below(&root, &file.path)?, found);
    }
    list_strangers(&root, Path::new(""), &expected, found)
}

fn compare(file: &InstalledFile, found: Option<(Stat, Vec<u8>)>, differences: &mut Vec<String>) {
    let path = file.path.display();
    let Some((stat, content)) = found else {
        differences.push(format!("{path} is gone"));
        return;
    };
    if kind(&stat) != FileType::RegularFile {
        differences.push(format!("{path} is no plain file"));
        return;
    }
    if digest(&content) != file.digest {
        differences.push(format!("{path} was edited"));
    }
    let is = Access::of(&stat);
    if is.mode != file.mode {
        differences.push(format!(
            "{path} has mode {:04o} instead of {:04o}",
            is.mode, file.mode
        ));
    }
    let owner = Owner {
        uid: file.uid,
        gid: file.gid,
    };
    if is.owner != owner {
        differences.push(format!(
            "{path} belongs to {}:{} instead of {}:{}",
            is.owner.uid, is.owner.gid, owner.uid, owner.gid
        ));
    }
}

/// What nobody installed: a program that reads every file of a folder would read it, too.
fn list_strangers(
    here: &Directory,
    below: &Path,
    expected: &BTreeSet<PathBuf>,
    found: &mut Vec<String>,
) -> Result<(), InstallError> {
    for name in here.names()? {
        let path = below.join(&name);
        let is_folder = here
            .stat(&name)?
            .is_some_and(|stat| kind(&stat) == FileType::Directory);
        if !expected.contains(&path) {
            found.push(format!("{} does not belong there", path.display()));
        } else if is_folder {
            list_strangers(&here.enter(&name)?, &path, expected, found)?;
        }
    }
    Ok(())
}
