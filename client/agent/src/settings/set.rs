//! A set of files.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{Check, FileSettings, Guard, HookSettings, Mode, Span, Wrong};

/// Files that are installed together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetSettings {
    /// What it is called.
    pub(crate) name: SetName,
    /// The folder of its versions; `current` in it is the link that is moved.
    folder: Option<PathBuf>,
    /// Instead of a folder: each file is replaced where it is. Each is whole; all of them together are
    /// not replaced in one moment.
    #[serde(default)]
    single: bool,
    /// The keys that it is made of begin so.
    pub(crate) prefixes: Vec<String>,
    /// Whether secrets among them are opened, for files that name them. They are on the disk then.
    #[serde(default)]
    pub(crate) secrets: bool,
    /// How many older versions stay in the folder.
    #[serde(default = "default_keep")]
    pub(crate) keep: usize,
    /// The mode of its folders.
    #[serde(default = "default_folder_mode")]
    pub(crate) folder_mode: Mode,
    /// The user of its folders and, unless one says otherwise, of its files.
    pub(crate) owner: Option<String>,
    /// The group of its folders and, unless one says otherwise, of its files.
    pub(crate) group: Option<String>,
    /// How long it must be quiet before what changed is installed, so that many changes are one.
    #[serde(default = "default_settle")]
    pub(crate) settle: Span,
    /// How often the disk is compared with what was installed.
    #[serde(default = "default_inspect")]
    pub(crate) inspect: Span,
    /// What is not installed.
    #[serde(default)]
    pub(crate) guard: Guard,
    /// Its files.
    #[serde(default, rename = "file")]
    pub(crate) files: Vec<FileSettings>,
    /// Looks at a new set before it is installed.
    pub(crate) check: Option<Check>,
    /// What is done when it was installed.
    pub(crate) hook: Option<HookSettings>,
}

/// A name that can be a part of a file's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SetName(String);

/// Where a set is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// In versions, below this folder.
    Folder(&'a Path),
    /// Each file at its own place.
    Single,
}

impl SetSettings {
    /// Where it is installed.
    pub(crate) fn place(&self) -> Place<'_> {
        match &self.folder {
            Some(folder) => Place::Folder(folder),
            None => Place::Single,
        }
    }

    /// Whether it is installed in versions.
    pub(crate) fn is_in_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// What is its own on the disk.
    pub(super) fn places(&self) -> Vec<PathBuf> {
        match &self.folder {
            Some(folder) => vec![folder.clone()],
            None => self.files.iter().map(|file| file.path.clone()).collect(),
        }
    }

    pub(super) fn rebase(&mut self, folder: &Path) {
        if let Some(own) = &mut self.folder {
            *own = folder.join(&own);
        }
        self.files.iter_mut().for_each(|file| file.rebase(folder));
    }

    pub(super) fn check(&self) -> Result<(), Wrong> {
        if self.folder.is_some() == self.single {
            return Err(Wrong::new(
                "folder",
                "give either a folder, or single = true and files with whole paths",
            ));
        }
        if self.prefixes.is_empty() {
            return Err(Wrong::new("prefixes", "it is made of none; name one"));
        }
        let clash = |(place, prefix): (usize, &String)| {
            let others = self.prefixes.iter().enumerate();
            others
                .filter(|(other, _)| *other != place)
                .any(|(_, other)| prefix.starts_with(other.as_str()))
        };
        if self.prefixes.iter().enumerate().any(clash) {
            let why = "one of them lies within another; leave it out";
            return Err(Wrong::new("prefixes", why));
        }
        if self.files.is_empty() {
            return Err(Wrong::new("file", "it has none; add one with [[set.file]]"));
        }
        for file in &self.files {
            let table = format!("file[{}]", file.path.display());
            file.check(self.single, &self.prefixes)
                .map_err(|wrong| wrong.within(&table))?;
            self.check_path(&file.path, &table)?;
        }
        self.guard.check().map_err(|wrong| wrong.within("guard"))?;
        if let Some(check) = &self.check {
            check.check().map_err(|wrong| wrong.within("check"))?;
            if self.single {
                let why = "single files have no folder to look at; give the set a folder";
                return Err(Wrong::new("check", why));
            }
        }
        match &self.hook {
            Some(hook) => hook.check().map_err(|wrong| wrong.within("hook")),
            None => Ok(()),
        }
    }

    /// No file is another one, or a folder that another one needs.
    fn check_path(&self, path: &Path, table: &str) -> Result<(), Wrong> {
        let overlaps = |other: &&FileSettings| other.path.starts_with(path);
        match self.files.iter().filter(overlaps).count() {
            1 => Ok(()),
            _ => Err(Wrong::new(
                format!("{table}.path"),
                "another file has this path, or lies below it; move one",
            )),
        }
    }
}

impl SetName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SetName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = (1..=LONGEST_NAME).contains(&name.len())
            && !name.starts_with('.')
            && name.bytes().all(fits);
        match is_name {
            true => Ok(Self(name)),
            false => Err(D::Error::custom(format!(
                "{name:?} is no name of a set; use up to {LONGEST_NAME} letters, digits, `-`, `_` and `.`"
            ))),
        }
    }
}

const LONGEST_NAME: usize = 64;

fn default_keep() -> usize {
    2
}

fn default_folder_mode() -> Mode {
    Mode::of(0o755)
}

fn default_settle() -> Span {
    Span::of(Duration::from_millis(50))
}

fn default_inspect() -> Span {
    Span::of(Duration::from_secs(30))
}
