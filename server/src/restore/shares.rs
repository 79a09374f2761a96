//! Where the holder's key comes from: shares in a file or typed, or a node's folder.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use holdfast_seal::{Gathered, RecoveryError, SecretBytes, Share, ShareTextError};

use super::Holder;
use crate::{
    dir::{DirError, NodeDir, NodeKeyFileError},
    keyring::file,
};

/// Why nobody's key is there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HolderError {
    /// The shares cannot be read.
    #[error("the recovery shares cannot be read from {from}: {source}")]
    Read {
        /// From where.
        from: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line is no share.
    #[error("share {number} was not taken: {source}")]
    Text {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        source: ShareTextError,
    },
    /// They do not make the key.
    #[error("the recovery shares do not open the backup; nothing was restored")]
    Shares(#[from] RecoveryError),
    /// There is no key in the node's folder.
    #[error("there is no node key in {path}, so it opens no backup; use the recovery shares")]
    NoKey {
        /// The folder.
        path: PathBuf,
    },
    /// The node's folder.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The node's key.
    #[error(transparent)]
    NodeKey(#[from] NodeKeyFileError),
}

impl Holder {
    /// Of shares in a file, one a line; `-` is standard input.
    pub fn of_shares_file(path: &Path) -> Result<Self, HolderError> {
        let mut text = Vec::new();
        let read = match path == Path::new("-") {
            true => std::io::stdin().lock().read_to_end(&mut text),
            false => std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut text)),
        };
        // Wiped in any case.
        let text = SecretBytes::new(text);
        read.map_err(|source| HolderError::Read {
            from: path.display().to_string(),
            source,
        })?;
        let mut gathered = Gathered::default();
        let lines = text.expose().split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.trim_ascii().is_empty() && !line.starts_with(b"#"));
        for (line, number) in lines.zip(1..) {
            // What is not text is no share either: the parser says so.
            let line = std::str::from_utf8(line).unwrap_or_default();
            gathered.add(parse(line, number)?)?;
        }
        Ok(Self::Recovery(gathered.combine()?))
    }

    /// Of shares that are typed, without showing them.
    pub fn of_typed_shares() -> Result<Self, HolderError> {
        let mut gathered = Gathered::default();
        for number in 1.. {
            let typed = rpassword::prompt_password(format!("Recovery share {number}: "));
            let typed = typed.map_err(|source| HolderError::Read {
                from: "the terminal".to_owned(),
                source,
            })?;
            let typed = zeroize::Zeroizing::new(typed);
            if gathered.add(parse(&typed, number)?)? == 0 {
                break;
            }
        }
        Ok(Self::Recovery(gathered.combine()?))
    }

    /// Of a node that was a member: of its folder its keys and node.toml are read, and it is kept from
    /// running meanwhile.
    pub fn of_folder(path: &Path) -> Result<Self, HolderError> {
        let dir = NodeDir::open_without_data(path)?;
        let unlock = file::unlock(&dir, None)?;
        let key = file::open(&dir, &unlock)?.ok_or_else(|| HolderError::NoKey {
            path: path.to_owned(),
        })?;
        Ok(Self::Member(dir.configuration().id, key))
    }
}

fn parse(text: &str, number: usize) -> Result<Share, HolderError> {
    Share::parse(text.trim()).map_err(|source| HolderError::Text { number, source })
}
