//! A folder that is held open: whatever somebody does to the path meanwhile, this is still the one that
//! was looked at. No symbolic link is followed, on the way to it or in it.

use std::{
    ffi::OsStr,
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, RawMode, Stat},
    io::Errno,
};

use super::{InstallError, Owner, failed};

/// An open folder.
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

/// Whose something is, and who may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) owner: Owner,
    pub(super) mode: u32,
}

impl Directory {
    /// Opens the folder at an absolute path.
    pub(super) fn open(path: &Path) -> Result<Self, InstallError> {
        Self::walk(path, None)
    }

    /// The same; makes it if it is missing. What is missing on the way to it becomes the agent's own.
    pub(super) fn create(path: &Path, access: Access) -> Result<Self, InstallError> {
        Self::walk(path, Some(access))
    }

    fn walk(path: &Path, make: Option<Access>) -> Result<Self, InstallError> {
        let root = fs::open("/", FOLDER, Mode::empty()).map_err(failed(path, "opened"))?;
        let mut here = Self {
            fd: root,
            path: "/".into(),
        };
        let mut parts = path.components().peekable();
        while let Some(part) = parts.next() {
            let name = match part {
                Component::Normal(name) => name,
                Component::RootDir => continue,
                _ => {
                    return Err(InstallError::InTheWay {
                        path: path.to_owned(),
                        why: "is no absolute path without `..`; name it in whole",
                    });
                }
            };
            here = match (here.enter(name), make) {
                (Err(InstallError::Io { source, .. }), Some(access))
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    let is_last = parts.peek().is_none();
                    here.make(name, if is_last { access } else { Access::own() })?
                }
                (entered, _) => entered?,
            };
        }
        Ok(here)
    }

    /// A folder in it.
    pub(super) fn enter(&self, name: impl AsRef<OsStr>) -> Result<Self, InstallError> {
        let name = name.as_ref();
        let path = self.path.join(name);
        match fs::openat(&self.fd, name, FOLDER, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let is_link = self
                    .stat(name)?
                    .is_some_and(|stat| kind(&stat) == FileType::Symlink);
                Err(InstallError::InTheWay {
                    path,
                    why: match is_link {
                        true => "is a symbolic link, and none is followed; name the folder itself",
                        false => "is no folder; move it away",
                    },
                })
            }
            Err(errno) => Err(failed(&path, "opened")(errno)),
        }
    }

    /// Makes a folder in it; nobody else may enter before it is as it should be.
    pub(super) fn make(
        &self,
        name: impl AsRef<OsStr>,
        access: Access,
    ) -> Result<Self, InstallError> {
        let name = name.as_ref();
        let path = self.path.join(name);
        fs::mkdirat(&self.fd, name, Mode::RWXU).map_err(failed(&path, "made"))?;
        let made = self.enter(name)?;
        made.set_access(access)?;
        Ok(made)
    }

    /// Gives it to its owner.
    pub(super) fn set_access(&self, access: Access) -> Result<(), InstallError> {
        set_access(&self.fd, access).map_err(failed(&self.path, "given to its owner"))
    }

    /// Writes a new file: its owner and mode are set while it is empty, and it is never more open than
    /// it ends up. Synced.
    pub(super) fn write(
        &self,
        name: impl AsRef<OsStr>,
        access: Access,
        content: &[u8],
    ) -> Result<(), InstallError> {
        let name = name.as_ref();
        let path = self.path.join(name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // For its maker alone: group and others come when it has its owner.
        let first = Mode::from_raw_mode((access.mode & 0o600) as RawMode);
        let fd = fs::openat(&self.fd, name, flags, first).map_err(failed(&path, "made"))?;
        set_access(&fd, access).map_err(failed(&path, "given to its owner"))?;
        let mut file = std::fs::File::from(fd);
        let half = content.len() / 2;
        let written = file.write_all(&content[..half]).and_then(|()| {
            crate::fault::at("half a file");
            file.write_all(&content[half..])?;
            file.sync_all()
        });
        written.map_err(|source| InstallError::Io {
            path,
            action: "written",
            source,
        })
    }

    /// What a file in it holds, and what it is like. `None`: there is none. Anything but a file has no
    /// content.
    pub(super) fn read(
        &self,
        name: impl AsRef<OsStr>,
    ) -> Result<Option<(Stat, Vec<u8>)>, InstallError> {
        let name = name.as_ref();
        let path = self.path.join(name);
        let Some(stat) = self.stat(name)? else {
            return Ok(None);
        };
        if kind(&stat) != FileType::RegularFile {
            return Ok(Some((stat, Vec::new())));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed(&path, "opened")(errno)),
        };
        // What was opened, and not what stood there before.
        let stat = fs::fstat(&fd).map_err(failed(&path, "looked at"))?;
        let mut content = Vec::new();
        let read = std::fs::File::from(fd).read_to_end(&mut content);
        read.map_err(|source| InstallError::Io {
            path,
            action: "read",
            source,
        })?;
        Ok(Some((stat, content)))
    }

    /// What is under a name; a link is itself.
    pub(super) fn stat(&self, name: impl AsRef<OsStr>) -> Result<Option<Stat>, InstallError> {
        let name = name.as_ref();
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed(&self.path.join(name), "looked at")(errno)),
        }
    }

    /// Where a link leads. `None`: there is no link.
    pub(super) fn link(&self, name: &str) -> Result<Option<PathBuf>, InstallError> {
        match fs::readlinkat(&self.fd, name, Vec::new()) {
            Ok(target) => Ok(Some(OsStr::from_bytes(target.as_bytes()).into())),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(errno) => Err(failed(&self.path.join(name), "looked at")(errno)),
        }
    }

    /// Makes a link.
    pub(super) fn make_link(&self, name: &str, target: &str) -> Result<(), InstallError> {
        fs::symlinkat(target, &self.fd, name).map_err(failed(&self.path.join(name), "made"))
    }

    /// Renames within it; what is under the new name is replaced.
    pub(super) fn rename(
        &self,
        from: impl AsRef<OsStr>,
        to: impl AsRef<OsStr>,
    ) -> Result<(), InstallError> {
        let (from, to) = (from.as_ref(), to.as_ref());
        fs::renameat(&self.fd, from, &self.fd, to).map_err(failed(&self.path.join(to), "replaced"))
    }

    /// Removes a file or a link, if it is there.
    pub(super) fn remove_file(&self, name: impl AsRef<OsStr>) -> Result<(), InstallError> {
        let name = name.as_ref();
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(&self.path.join(name), "removed")(errno)),
        }
    }

    /// Removes whatever is there, and all in it.
    pub(super) fn remove_all(&self, name: impl AsRef<OsStr>) -> Result<(), InstallError> {
        let name = name.as_ref();
        let Some(stat) = self.stat(name)? else {
            return Ok(());
        };
        if kind(&stat) != FileType::Directory {
            return self.remove_file(name);
        }
        let inner = self.enter(name)?;
        for name in inner.names()? {
            inner.remove_all(&name)?;
        }
        fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)
            .map_err(failed(&self.path.join(name), "removed"))
    }

    /// The names in it.
    pub(super) fn names(&self) -> Result<Vec<std::ffi::OsString>, InstallError> {
        let listed = fs::Dir::read_from(&self.fd).and_then(|entries| {
            let mut names = Vec::new();
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." {
                    names.push(OsStr::from_bytes(name).to_owned());
                }
            }
            Ok(names)
        });
        listed.map_err(failed(&self.path, "listed"))
    }

    /// Brings to the disk which names it has.
    pub(super) fn sync(&self) -> Result<(), InstallError> {
        fs::fsync(&self.fd).map_err(failed(&self.path, "synced"))
    }

    pub(super) fn access(&self) -> Result<Access, InstallError> {
        let stat = fs::fstat(&self.fd).map_err(failed(&self.path, "looked at"))?;
        Ok(Access::of(&stat))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Access {
    /// Of a folder of the agent that leads to others.
    fn own() -> Self {
        Self {
            owner: Owner {
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
            },
            mode: 0o755,
        }
    }

    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            owner: Owner {
                uid: stat.st_uid,
                gid: stat.st_gid,
            },
            mode: stat.st_mode & 0o7777,
        }
    }
}

pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn set_access(fd: &OwnedFd, access: Access) -> Result<(), Errno> {
    let is = Access::of(&fs::fstat(fd)?);
    if is.owner != access.owner {
        let uid = rustix::process::Uid::from_raw(access.owner.uid);
        let gid = rustix::process::Gid::from_raw(access.owner.gid);
        fs::fchown(fd, Some(uid), Some(gid))?;
    }
    fs::fchmod(fd, Mode::from_raw_mode(access.mode as RawMode))
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
