//! A set in a folder of versions: a new one is complete before the link is moved to it.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use rustix::fs::Stat;

use super::{
    CURRENT, InstallError, Owner, Wanted,
    directory::{Access, Directory},
};
use crate::settings::Mode;

/// A version that is written and not in use.
pub(crate) struct Staged {
    root: Directory,
    /// Where it is now.
    staging: String,
    version: String,
}

pub(super) fn stage(
    folder: &Path,
    mode: Mode,
    owner: Owner,
    serial: u64,
    wanted: &Wanted,
) -> Result<Staged, InstallError> {
    let access = Access {
        owner,
        mode: mode.bits(),
    };
    let root = open_root(folder, access)?;
    tidy(&root, &[])?;
    let staging = format!("{STAGING}{serial:06}");
    let version = format!("{serial:06}-r{}", wanted.revision);
    // Nobody looks into it before it is complete.
    let private = Access {
        owner: access.owner,
        mode: 0o700,
    };
    let new = root.make(&staging, private)?;
    crate::fault::at("folder made");
    let mut folders = vec![];
    for file in &wanted.files {
        let (parents, name) = split(&file.path);
        let mut here = None::<Directory>;
        for part in parents {
            let above = here.as_ref().unwrap_or(&new);
            let below = match above.stat(part)? {
                Some(_) => above.enter(part)?,
                None => above.make(part, access)?,
            };
            folders.extend(here.replace(below));
        }
        here.as_ref()
            .unwrap_or(&new)
            .write(name, file.access, &file.content)?;
        folders.extend(here);
        crate::fault::at("a file written");
    }
    folders.iter().try_for_each(Directory::sync)?;
    new.set_access(access)?;
    new.sync()?;
    crate::fault::at("files written");
    Ok(Staged {
        root,
        staging,
        version,
    })
}

impl Staged {
    pub(super) fn path(&self) -> PathBuf {
        self.root.path().join(&self.staging)
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn install(self, keep: usize) -> Result<(), InstallError> {
        let root = &self.root;
        let before = root.link(CURRENT)?;
        // Fails if there is one of this name: it may be in use.
        root.rename(&self.staging, &self.version)?;
        root.sync()?;
        crate::fault::at("folder renamed");
        root.remove_file(NEW_LINK)?;
        root.make_link(NEW_LINK, &self.version)?;
        crate::fault::at("link made");
        root.rename(NEW_LINK, CURRENT)?;
        crate::fault::at("link moved");
        root.sync()?;
        let before = before.and_then(|before| before.file_name().map(OsStr::to_owned));
        prune(root, &self.version, before.as_deref(), keep)
    }

    pub(super) fn discard(self) -> Result<(), InstallError> {
        self.root.remove_all(&self.staging)
    }
}

/// The highest serial number of a version; 0: there is none.
pub(super) fn newest(folder: &Path) -> Result<u64, InstallError> {
    let root = match Directory::open(folder) {
        Ok(root) => root,
        Err(error) if error.is_gone() => return Ok(0),
        Err(error) => return Err(error),
    };
    let names = root.names()?;
    let serials = names.iter().filter_map(|name| serial_of(name));
    Ok(serials.max().unwrap_or(0))
}

/// The version that the link leads to.
pub(super) fn current(folder: &Path) -> Result<Option<PathBuf>, InstallError> {
    Directory::open(folder)?.link(CURRENT)
}

/// A file of the version in use.
pub(super) fn read(folder: &Path, path: &Path) -> Result<Option<(Stat, Vec<u8>)>, InstallError> {
    let root = match Directory::open(folder) {
        Ok(root) => root,
        Err(error) if error.is_gone() => return Ok(None),
        Err(error) => return Err(error),
    };
    let target = root.link(CURRENT)?;
    let version = target.as_deref().and_then(Path::file_name);
    match version.map(|version| root.enter(version)) {
        None => Ok(None),
        Some(Err(error)) if error.is_gone() => Ok(None),
        Some(version) => read_below(&version?, path),
    }
}

/// A file below a folder. `None`: it, or a folder on the way, is gone or is something else.
pub(super) fn read_below(
    root: &Directory,
    path: &Path,
) -> Result<Option<(Stat, Vec<u8>)>, InstallError> {
    let (parents, name) = split(path);
    let mut here = None::<Directory>;
    for part in parents {
        let below = here.as_ref().unwrap_or(root).enter(part);
        here = match below {
            Ok(below) => Some(below),
            Err(InstallError::InTheWay { .. }) => return Ok(None),
            Err(error) if error.is_gone() => return Ok(None),
            Err(error) => return Err(error),
        };
    }
    here.as_ref().unwrap_or(root).read(name)
}

/// The folder of all versions.
fn open_root(folder: &Path, access: Access) -> Result<Directory, InstallError> {
    let root = Directory::create(folder, access)?;
    let in_the_way = |path: PathBuf, why| Err(InstallError::InTheWay { path, why });
    if root.access()?.mode & 0o002 != 0 {
        return in_the_way(
            folder.to_owned(),
            "can be written by everyone, who could change what is installed; chmod o-w it",
        );
    }
    let is_there = root.stat(CURRENT)?.is_some();
    if is_there && root.link(CURRENT)?.is_none() {
        let why = "is no link, and the set's link belongs there; move it away";
        return in_the_way(folder.join(CURRENT), why);
    }
    Ok(root)
}

/// Removes what an agent left that died.
fn tidy(root: &Directory, but: &[&OsStr]) -> Result<(), InstallError> {
    for name in root.names()? {
        let text = name.to_string_lossy();
        let is_left = text.starts_with(STAGING) || text.starts_with(GONE) || text == NEW_LINK;
        if is_left && !but.contains(&name.as_os_str()) {
            root.remove_all(&name)?;
        }
    }
    Ok(())
}

/// Keeps the version in use, the one before it, and of the others the newest.
fn prune(
    root: &Directory,
    current: &str,
    before: Option<&OsStr>,
    keep: usize,
) -> Result<(), InstallError> {
    let names = root.names()?;
    let mut older: Vec<&OsStr> = names
        .iter()
        .map(|name| name.as_os_str())
        .filter(|name| serial_of(name).is_some() && *name != OsStr::new(current))
        .collect();
    older.sort_unstable_by_key(|name| std::cmp::Reverse((Some(*name) == before, *name)));
    for name in older.into_iter().skip(keep) {
        // A version is whole or has another name.
        let mut gone = std::ffi::OsString::from(GONE);
        gone.push(name);
        root.rename(name, &gone)?;
        crate::fault::at("old version renamed");
        root.remove_all(&gone)?;
    }
    Ok(())
}

/// The serial number in a version's name. `None`: it is the name of no version.
fn serial_of(name: &OsStr) -> Option<u64> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (serial, revision) = name.to_str()?.split_once("-r")?;
    (digits(serial) && digits(revision)).then_some(())?;
    // No agent comes to higher ones.
    serial.parse::<u32>().ok().map(u64::from)
}

/// The folders that a file lies in, and its name.
pub(super) fn split(path: &Path) -> (Vec<&OsStr>, &OsStr) {
    let mut parts: Vec<&OsStr> = path.iter().collect();
    let name = parts.pop().unwrap_or_default();
    (parts, name)
}

const STAGING: &str = ".new-";
const GONE: &str = ".gone-";
const NEW_LINK: &str = ".current-new";
