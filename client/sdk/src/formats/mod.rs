//! Files as typed parameters: `.reg`, `.json`, `.yaml`, `.toml` and `.env`.
//!
//! [`read`] turns a file into a [`Document`]: parameters with keys relative to the top of the file
//! and, for `.reg`, what the file deletes. [`write()`] is its inverse: whatever it writes reads back
//! as the very same parameters, or it refuses and names the key. [`plan`] says what a
//! document would change in a cluster, and [`ImportPlan::apply`] does it.
//!
//! **Names.** Each name of the file becomes one part of the key; parts are joined by `/`. What
//! clashes is percent-encoded: `/`, `@`, `%` and control characters as `%2F`, `%40`, `%25`, `%0A`;
//! an empty name is a lone `%`. A key that is no such encoding (`a//b`, `a@node`) belongs to no
//! file and [`write()`] refuses it by name.
//!
//! **Types** by format:
//!
//! | value | json, yaml, toml | env | reg |
//! |---|---|---|---|
//! | text | string | quoted where it looks like another type | `REG_SZ` (read: `REG_EXPAND_SZ` too) |
//! | integer | integer | `30` | `REG_DWORD`, else `REG_QWORD`, signed |
//! | float | float, always with `.` or `e` | `0.75` | refused |
//! | boolean | boolean | `true`, `false` | refused |
//! | list | array of strings, also the empty array | `list:["a","b"]` | `REG_MULTI_SZ` |
//! | bytes | `{"$bytes": BASE64}` | `bytes:BASE64` | `REG_BINARY` (read: `REG_NONE` too) |
//! | json | any other array, `{}`, or `{"$json": TEXT}` | `json:TEXT` | refused |
//!
//! An infinite float is `{"$float": "inf"}` in json and `float:inf` in env. `null`, dates and NaN
//! have no type here and are refused with their line. A name that is itself `$bytes`, `$json` or
//! `$float` is written with one more `$`.
//!
//! ```no_run
//! use holdfast_client::{Client, formats};
//!
//! # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let document = formats::read(&std::fs::read("service.reg")?, formats::Format::Reg)?;
//! let plan = formats::plan(&client, "config/service", &document).await?;
//! plan.apply(&client, "moved from the registry").await?;
//! # Ok(()) }
//! ```
//!
//! Absent on purpose: files. Callers read and write those; this module sees bytes.

mod env;
mod error;
mod import;
mod json;
mod name;
mod node;
mod plan;
mod reg;
mod toml;
mod tree;
mod yaml;

use std::{fmt, path::Path, str::FromStr};

use holdfast_proto::{Key, Value, limits};

pub use error::{FormatError, PlanError, Problem, RenderError};
pub use import::{ImportError, Imported, plan};
pub use plan::{Change, Current, ImportPlan, import_prefix};

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A registry export, "Windows Registry Editor Version 5.00".
    Reg,
    /// JSON, RFC 8259.
    Json,
    /// YAML, one document.
    Yaml,
    /// TOML 1.0.
    Toml,
    /// `NAME=value` lines; `__` stands between the parts of a key.
    Env,
}

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// What to set, in the order of the file.
    pub entries: Vec<Parameter>,
    /// What to delete before that. Only `.reg` files say such a thing.
    pub deletions: Vec<Deletion>,
}

/// One parameter of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Relative to the top of the file.
    pub key: String,
    /// Its typed value.
    pub value: Value,
    /// Where it stands, counted from 1, where the format's reader knows.
    pub line: Option<usize>,
}

/// What a file deletes. A key that the same file sets is not deleted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deletion {
    /// One key.
    Key(String),
    /// Every key that begins so: empty, or with `/` at its end.
    Tree(String),
}

/// Reads a file.
pub fn read(bytes: &[u8], format: Format) -> Result<Document, FormatError> {
    let document = match format {
        Format::Reg => reg::read(&reg::decode(bytes)?)?,
        Format::Json => json::read(text(bytes)?)?,
        Format::Yaml => yaml::read(text(bytes)?)?,
        Format::Toml => toml::read(text(bytes)?)?,
        Format::Env => env::read(text(bytes)?)?,
    };
    document.entries.iter().try_for_each(within_limits)?;
    Ok(document)
}

/// Writes parameters, keys relative to the top of the file. What comes out reads back as the very
/// same parameters; where the format cannot say one, nothing is written and the key is named. No
/// format says a secret.
pub fn write(entries: &[(String, Value)], format: Format) -> Result<Vec<u8>, RenderError> {
    let is_secret = |(_, value): &&(String, Value)| matches!(value, Value::Sealed(_));
    if let Some((key, _)) = entries.iter().find(is_secret) {
        return Err(RenderError::Secret { key: key.clone() });
    }
    let written = match format {
        Format::Reg => reg::write(entries)?,
        Format::Json => json::write(entries)?.into_bytes(),
        Format::Yaml => yaml::write(entries)?.into_bytes(),
        Format::Toml => toml::write(entries)?.into_bytes(),
        Format::Env => env::write(entries)?.into_bytes(),
    };
    reads_back(entries, &written, format)?;
    Ok(written)
}

/// The names that a key, relative to the top of a file, is made of: the inverse of what [`read`] does
/// with nested names.
pub fn names(key: &str) -> Result<Vec<String>, RenderError> {
    tree::names(key)
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Reg, Self::Json, Self::Yaml, Self::Toml, Self::Env];

    /// Its name on the command line, and its file extension.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reg => "reg",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Toml => "toml",
            Self::Env => "env",
        }
    }

    /// The format that a file's name tells: by extension, or a name such as `.env`.
    pub fn of_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        match extension {
            "yml" => Some(Self::Yaml),
            _ if name.starts_with(".env.") => Some(Self::Env),
            _ => extension.parse().ok(),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why text is not the name of a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a format; use reg, json, yaml, toml or env")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == name)
            .ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// UTF-8, with or without its byte order mark.
fn text(bytes: &[u8]) -> Result<&str, FormatError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count();
        FormatError::at(line, Problem::Encoding { expected: "UTF-8" })
    })
}

fn within_limits(parameter: &Parameter) -> Result<(), FormatError> {
    let refused = |problem| Err(FormatError::maybe_at(parameter.line, problem));
    if let Err(source) = Key::try_from(parameter.key.as_str()) {
        let name = parameter.key.clone();
        return refused(Problem::Key { name, source });
    }
    match parameter.value.size() {
        bytes if bytes > limits::VALUE_BYTES => refused(Problem::TooLarge {
            name: parameter.key.clone(),
            bytes,
        }),
        _ => Ok(()),
    }
}

/// The promise of [`write()`], kept by reading: no file leaves here that would import as something else.
fn reads_back(
    entries: &[(String, Value)],
    written: &[u8],
    format: Format,
) -> Result<(), RenderError> {
    let mut read: std::collections::BTreeMap<_, _> = read(written, format)
        .map(|document| document.entries)
        .unwrap_or_default()
        .into_iter()
        .map(|parameter| (parameter.key, parameter.value))
        .collect();
    for (key, value) in entries {
        if read.remove(key).as_ref() != Some(value) {
            return Err(RenderError::unsayable(key, format, "this value"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
