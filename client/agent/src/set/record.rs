//! What an agent must know after a restart: what it installed, and which hook it owes.
//!
//! A JSON file for each set, replaced whole. It holds no secret: of files with secrets it has the veiled
//! text. Two agents never keep one: it is locked.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::Wanted;
use crate::settings::SetName;

/// What is known of a set.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Record {
    pub(crate) format: u32,
    /// Of the newest installation that was begun.
    pub(crate) serial: u64,
    /// What is in place.
    pub(crate) installed: Option<Installed>,
    /// What was about to be put in place, where it is not known whether that happened.
    pub(crate) intended: Option<Installed>,
    /// The hook's last run for something that was installed.
    pub(crate) ran: Option<Ran>,
}

/// A set that was installed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Installed {
    pub(crate) serial: u64,
    pub(crate) revision: u64,
    pub(crate) digest: String,
    pub(crate) keys: usize,
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// The name of its folder; `None`: of single files.
    pub(crate) version: Option<String>,
    pub(crate) files: Vec<InstalledFile>,
}

/// A file of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct InstalledFile {
    pub(crate) path: PathBuf,
    pub(crate) digest: String,
    /// What is told of the content: of one with secrets, nothing that they could be guessed by.
    #[serde(default)]
    pub(crate) told_digest: String,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// As it is shown, if it holds secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) veiled: Option<String>,
}

/// How a hook went.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Ran {
    /// Which installation it was for.
    pub(crate) serial: u64,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// Why it failed; `None`: it succeeded.
    pub(crate) failure: Option<String>,
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
}

/// Where a record is kept. Nobody else keeps it while this lives.
pub(crate) struct RecordFile {
    path: PathBuf,
    _lock: File,
}

/// Why there is no place for a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(
        "another kvagent keeps the set {0}; end it first, or look at its status. `--dry-run` works \
         beside it"
    )]
    InUse(SetName),
    #[error("{} could not be {action}: {source}", path.display())]
    Io {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
}

impl Record {
    /// Whether the hook of what is installed has not succeeded yet.
    pub(crate) fn owes_hook(&self) -> bool {
        let Some(installed) = &self.installed else {
            return false;
        };
        let done = self
            .ran
            .as_ref()
            .is_some_and(|ran| ran.serial == installed.serial && ran.failure.is_none());
        !done
    }

    /// How often the hook was tried for what is installed.
    pub(crate) fn attempts(&self) -> u32 {
        let serial = self.installed.as_ref().map(|installed| installed.serial);
        let ran = self.ran.as_ref().filter(|ran| Some(ran.serial) == serial);
        ran.map_or(0, |ran| ran.attempts)
    }
}

impl Installed {
    /// What is told of all of it.
    pub(crate) fn told_digest(&self) -> String {
        let mut all = blake3::Hasher::new();
        for file in &self.files {
            let path = file.path.as_os_str().as_encoded_bytes();
            all.update(&(path.len() as u64).to_le_bytes());
            all.update(path);
            all.update(file.told_digest.as_bytes());
        }
        all.finalize().to_hex().to_string()
    }

    pub(crate) fn of(wanted: &Wanted, serial: u64, version: Option<&str>) -> Self {
        let files = wanted.files.iter().map(|file| InstalledFile {
            path: file.path.clone(),
            digest: file.digest.clone(),
            told_digest: file.told_digest.clone(),
            mode: file.access.mode,
            uid: file.access.owner.uid,
            gid: file.access.owner.gid,
            veiled: file.veiled.clone(),
        });
        Self {
            serial,
            revision: wanted.revision,
            digest: wanted.digest.clone(),
            keys: wanted.keys,
            at_ms: now_ms(),
            version: version.map(str::to_owned),
            files: files.collect(),
        }
    }
}

impl RecordFile {
    /// Takes it for this agent alone.
    pub(crate) fn open(state: &Path, set: &SetName) -> Result<Self, RecordError> {
        let folder = Self::folder(state);
        // Folders of sets may be beside it, and services read those; nobody reads this one.
        for (folder, mode) in [(state, 0o755), (&folder, 0o700)] {
            let made = std::fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(folder);
            made.map_err(failed(folder, "made"))?;
        }
        let lock_path = folder.join(format!("{set}.lock"));
        let lock = private()
            .open(&lock_path)
            .map_err(failed(&lock_path, "opened"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RecordError::InUse(set.clone())),
            Err(TryLockError::Error(source)) => return Err(failed(&lock_path, "locked")(source)),
        }
        Ok(Self {
            path: Self::path(state, set),
            _lock: lock,
        })
    }

    /// What it says. One that cannot be read says nothing: the set is installed anew, and its hook run.
    pub(crate) fn load(&self) -> Record {
        Self::read(&self.path)
    }

    /// What another agent's says, to look at.
    pub(crate) fn peek(state: &Path, set: &SetName) -> Record {
        Self::read(&Self::path(state, set))
    }

    /// Replaces it; on the disk when this returns.
    pub(crate) fn save(&self, record: &Record) -> Result<(), RecordError> {
        let record = Record {
            format: FORMAT,
            ..record.clone()
        };
        let new = self.path.with_extension("new");
        let text = serde_json::to_vec_pretty(&record).map_err(io::Error::from);
        let text = text.map_err(failed(&new, "written"))?;
        let written = private().truncate(true).open(&new).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        written.map_err(failed(&new, "written"))?;
        crate::fault::at("record written");
        std::fs::rename(&new, &self.path).map_err(failed(&self.path, "replaced"))?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(failed(folder, "synced"))
    }

    fn read(path: &Path) -> Record {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Record::default(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the record of a set cannot be read");
                return Record::default();
            }
        };
        match serde_json::from_slice::<Record>(&text) {
            Ok(record) if record.format == FORMAT => record,
            Ok(record) => {
                let format = record.format;
                tracing::warn!(path = %path.display(), format, "the record of a set is of another format");
                Record::default()
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the record of a set is damaged");
                Record::default()
            }
        }
    }

    fn folder(state: &Path) -> PathBuf {
        state.join("records")
    }

    fn path(state: &Path, set: &SetName) -> PathBuf {
        Self::folder(state).join(format!("{set}.json"))
    }
}

pub(crate) fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true).mode(0o600);
    options
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> RecordError {
    move |source| RecordError::Io {
        path: path.to_owned(),
        action,
        source,
    }
}

/// Of the file; fields are added without a new number.
const FORMAT: u32 = 1;
