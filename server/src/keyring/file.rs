//! The node key on disk: `keyring/node.key` in the node's folder, mode 0600, under its protector.
//!
//! `node.toml` says which protector it has to be (`key_protector`), and the file says which it is. If
//! they differ nothing is opened: a key that lost its protection is not taken for one that has it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use holdfast_seal::{
    NodeKey, NodeKeyError, OsRandom, PassphraseCost, Protect, Protector, SecretBytes, Unlock,
};

use crate::dir::{
    DirError, NodeDir,
    files::{self, Mode},
};

/// What opens a node key that is protected.
#[derive(Debug, Default)]
pub enum KeyUnlock {
    /// Nothing was given: for a key whose only protection is its file's mode.
    #[default]
    Nothing,
    /// A passphrase.
    Passphrase(SecretBytes),
    /// What systemd handed over.
    Credential(SecretBytes),
}

/// Why a node does not have its node key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeKeyFileError {
    /// Its file cannot be read or written.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// It does not open.
    #[error("{path}: {source}", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: NodeKeyError,
    },
    /// What opens it was not given.
    #[error(
        "the node key is protected by a {protector}, and none was given; {how}. Nothing was opened",
        how = how_to_unlock(*protector)
    )]
    Locked {
        /// What protects it.
        protector: Protector,
    },
    /// A new passphrase was not typed twice.
    #[error("the two passphrases differ; no node key was made: start the node again")]
    Mistyped,
    /// What should have given the key to it cannot be read.
    #[error("{what} cannot be read: {source}")]
    Source {
        /// What.
        what: String,
        /// Why.
        source: io::Error,
    },
}

/// Opens the node key of a folder; makes it if there is none yet, which is so on the first start
/// and on the first one of a version that knows node keys.
pub(crate) fn open_or_make(
    dir: &NodeDir,
    unlock: &KeyUnlock,
) -> Result<(NodeKey, Protector), NodeKeyFileError> {
    let protector = dir.configuration().key_protector;
    let key = match open(dir, unlock)? {
        Some(key) => key,
        None => {
            let key = NodeKey::generate(&mut OsRandom);
            keep(&dir.keyring(), &key, protector, unlock)?;
            key
        }
    };
    Ok((key, protector))
}

/// Opens the node key of a folder, if there is one.
pub(crate) fn open(dir: &NodeDir, unlock: &KeyUnlock) -> Result<Option<NodeKey>, NodeKeyFileError> {
    let protector = dir.configuration().key_protector;
    let path = dir.keyring().join(NODE_KEY);
    let failed = |source| NodeKeyFileError::Key {
        path: path.clone(),
        source,
    };
    let file = match fs::read(&path) {
        Ok(file) => SecretBytes::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(files::failed("could not read", &path)(source).into()),
    };
    let found = NodeKey::protector_of(file.expose()).map_err(failed)?;
    if found != protector {
        return Err(failed(NodeKeyError::OtherProtector {
            found,
            expected: protector,
        }));
    }
    let key = match (protector, unlock) {
        (Protector::File, _) => NodeKey::open(file.expose(), &Unlock::File),
        (Protector::Passphrase, KeyUnlock::Passphrase(passphrase)) => {
            NodeKey::open(file.expose(), &Unlock::Passphrase(passphrase))
        }
        (Protector::SystemdCredential, KeyUnlock::Credential(credential)) => {
            NodeKey::open(file.expose(), &Unlock::SystemdCredential(credential))
        }
        _ => return Err(NodeKeyFileError::Locked { protector }),
    };
    key.map(Some).map_err(failed)
}

/// Keeps a new node key in a folder, under its protector.
pub(crate) fn keep(
    folder: &Path,
    key: &NodeKey,
    protector: Protector,
    unlock: &KeyUnlock,
) -> Result<(), NodeKeyFileError> {
    let path = folder.join(NODE_KEY);
    let protect = match (protector, unlock) {
        (Protector::File, _) => Protect::File,
        (Protector::Passphrase, KeyUnlock::Passphrase(passphrase)) => {
            Protect::Passphrase(passphrase, PassphraseCost::DEFAULT)
        }
        (Protector::SystemdCredential, KeyUnlock::Credential(credential)) => {
            Protect::SystemdCredential(credential)
        }
        _ => return Err(NodeKeyFileError::Locked { protector }),
    };
    let file = key.protect(&mut OsRandom, &protect);
    let file = file.map_err(|source| NodeKeyFileError::Key {
        path: path.clone(),
        source,
    })?;
    files::create_private_folder(folder)?;
    files::write_atomically(&path, file.expose(), Mode::Private)?;
    Ok(())
}

/// Gets what opens the node key of a folder, from where the operator keeps it: for a passphrase
/// `passphrase_fd`, else `$HOLDFAST_PASSPHRASE`, else a prompt on the terminal, twice for a new key;
/// for systemd its credentials folder.
pub(crate) fn unlock(
    dir: &NodeDir,
    passphrase_fd: Option<u32>,
) -> Result<KeyUnlock, NodeKeyFileError> {
    let is_new = !dir.keyring().join(NODE_KEY).exists();
    unlock_as(dir.configuration().key_protector, is_new, passphrase_fd)
}

/// As [`unlock`], of a key whose folder may not be there yet.
pub(crate) fn unlock_as(
    protector: Protector,
    is_new: bool,
    passphrase_fd: Option<u32>,
) -> Result<KeyUnlock, NodeKeyFileError> {
    match protector {
        Protector::File => Ok(KeyUnlock::Nothing),
        Protector::Passphrase => match passphrase(passphrase_fd, is_new)? {
            Some(passphrase) => Ok(KeyUnlock::Passphrase(passphrase)),
            None => Err(NodeKeyFileError::Locked { protector }),
        },
        Protector::SystemdCredential => {
            let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
                return Err(NodeKeyFileError::Locked { protector });
            };
            let path = PathBuf::from(folder).join(CREDENTIAL);
            let credential = read(path.display().to_string(), || fs::read(&path))?;
            Ok(KeyUnlock::Credential(credential))
        }
        _ => Err(NodeKeyFileError::Locked { protector }),
    }
}

fn passphrase(fd: Option<u32>, is_new: bool) -> Result<Option<SecretBytes>, NodeKeyFileError> {
    if let Some(fd) = fd {
        let text = read(format!("file descriptor {fd}"), || {
            fs::read(format!("/dev/fd/{fd}"))
        })?;
        return Ok(Some(without_newline(text)));
    }
    if let Ok(text) = std::env::var(PASSPHRASE) {
        return Ok(Some(SecretBytes::new(text.into_bytes())));
    }
    if !io::IsTerminal::is_terminal(&io::stdin()) {
        return Ok(None);
    }
    let typed = prompt("Passphrase of the node key: ")?;
    // A slip of the finger would lock the node's key for good.
    if is_new && prompt("Once more: ")?.expose() != typed.expose() {
        return Err(NodeKeyFileError::Mistyped);
    }
    Ok(Some(typed))
}

fn prompt(words: &str) -> Result<SecretBytes, NodeKeyFileError> {
    match rpassword::prompt_password(words) {
        Ok(typed) => Ok(SecretBytes::new(typed.into_bytes())),
        Err(source) => Err(NodeKeyFileError::Source {
            what: "the terminal".to_owned(),
            source,
        }),
    }
}

fn read(
    what: String,
    read: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Result<SecretBytes, NodeKeyFileError> {
    match read() {
        Ok(bytes) => Ok(SecretBytes::new(bytes)),
        Err(source) => Err(NodeKeyFileError::Source { what, source }),
    }
}

/// A passphrase that was written with `echo` is the one that was meant.
fn without_newline(text: SecretBytes) -> SecretBytes {
    let trimmed = text.expose();
    let trimmed = trimmed.strip_suffix(b"\n").unwrap_or(trimmed);
    SecretBytes::new(trimmed.strip_suffix(b"\r").unwrap_or(trimmed).to_vec())
}

fn how_to_unlock(protector: Protector) -> &'static str {
    match protector {
        Protector::Passphrase => {
            "start `kvd run` at a terminal, or give --passphrase-fd N, or set HOLDFAST_PASSPHRASE"
        }
        Protector::SystemdCredential => {
            "let systemd start the node with LoadCredentialEncrypted=holdfast-node-key:FILE"
        }
        _ => "nothing is needed",
    }
}

const NODE_KEY: &str = "node.key";
const PASSPHRASE: &str = "HOLDFAST_PASSPHRASE";
const CREDENTIAL: &str = "holdfast-node-key";
