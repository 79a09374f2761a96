//! A node's folder while it is being made, by `kvd init` or `kvd join`.
//!
//! `unfinished.toml` is written first and deleted after `node.toml` is in place, so an interruption
//! is always recognised. `kvd init` then starts over: nobody outside has seen its keys. `kvd join`
//! goes on with the same key and the same request id, for the cluster may have used the token up
//! already; the repeat is answered and not applied again.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use holdfast_proto::{RequestId, SessionId};
use holdfast_seal::Protector;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::{
    CA_CERTIFICATE, CA_KEY, CONFIGURATION, CONTEXT, DATA, DATA_MARK, DirError, DirLock, Found,
    KEYRING, KeyUnlock, NODE_CERTIFICATE, NODE_KEY, NodeDir, NodeKeyFileError, TLS, data_mark,
    files, foreign, inspect, read_configuration,
};
use crate::{
    configuration::NodeConfiguration,
    identity::{JoinToken, NodeKey, authority::to_pem},
    keyring,
};

/// The command that makes a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Maker {
    /// `kvd init`: a new cluster of one.
    Init,
    /// `kvd join`: a new node of a cluster.
    Join,
    /// `kvd restore`: a new cluster of one, out of a backup.
    Restore,
}

/// A folder that is becoming a node's, locked for this process.
pub struct UnfinishedDir {
    path: PathBuf,
    lock: DirLock,
    key: NodeKey,
}

/// What the cluster gives a node.
pub struct Papers<'a> {
    /// The authority's certificate.
    pub authority: &'a CertificateDer<'static>,
    /// Its key. None: this node admits nobody and renews no certificate.
    pub authority_key: Option<&'a NodeKey>,
    /// The node's own certificate.
    pub certificate: &'a CertificateDer<'static>,
}

impl UnfinishedDir {
    /// Takes a new, empty or interrupted folder. Anything else is refused and left alone.
    pub fn begin(path: &Path, maker: Maker) -> Result<Self, DirError> {
        match inspect(path)? {
            Found::Foreign(names) => return Err(foreign(path, names)),
            Found::Unfinished(other) if other != maker => {
                return Err(DirError::Unfinished {
                    path: path.to_owned(),
                    maker: other,
                });
            }
            Found::Node => {
                let configuration = read_configuration(path)?;
                return Err(DirError::Occupied {
                    path: path.to_owned(),
                    name: configuration.name.to_string(),
                    cluster: configuration.cluster_name,
                });
            }
            Found::Nothing | Found::Unfinished(_) => {}
        }
        files::create_private_folder(path)?;
        let lock = DirLock::take(path)?;
        let key_path = path.join(TLS).join(NODE_KEY);
        let resumed = maker == Maker::Join && read_note(path)?.is_some() && key_path.is_file();
        let key = if resumed {
            read_key(&key_path)?
        } else {
            let note = toml::to_string(&Note { maker }).expect("one word is TOML");
            write(&path.join(UNFINISHED), note.as_bytes())?;
            write_key(path)?
        };
        Ok(Self {
            path: path.to_owned(),
            lock,
            key,
        })
    }

    /// The node's key, already on disk.
    pub fn key(&self) -> &NodeKey {
        &self.key
    }

    /// The id under which this folder asks to be let in with a token: after an interruption the
    /// same, so that a repeat is known for one; with another token another.
    pub fn request(&self, token: &JoinToken) -> RequestId {
        let mut hasher = blake3::Hasher::new_derive_key("holdfast join request");
        hasher
            .update(self.key.public_key().der())
            .update(&token.digest());
        let mut session = [0; 16];
        hasher.finalize_xof().fill(&mut session);
        RequestId {
            session: SessionId::from_bytes(session),
            sequence: 1,
            first_incomplete: 1,
        }
    }

    /// Refuses settings that cannot be, before anybody is asked for anything.
    pub fn check(&self, configuration: &NodeConfiguration) -> Result<(), DirError> {
        configuration
            .check()
            .map_err(|source| DirError::Configuration {
                path: self.path.join(CONFIGURATION),
                source,
            })
    }

    /// An empty folder for the first archive of its store.
    pub(crate) fn data(&self) -> Result<PathBuf, DirError> {
        let data = self.path.join(DATA);
        match std::fs::remove_dir_all(&data) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(files::failed("could not empty", &data)(error));
            }
            _ => {}
        }
        files::create_private_folder(&data)?;
        Ok(data)
    }

    /// Keeps the key that opens the keyring, under its protector.
    pub(crate) fn keep_node_key(
        &self,
        key: &holdfast_seal::NodeKey,
        protector: Protector,
        unlock: &KeyUnlock,
    ) -> Result<(), NodeKeyFileError> {
        keyring::file::keep(&self.path.join(KEYRING), key, protector, unlock)
    }

    /// Where an operator context goes.
    pub fn context(&self) -> PathBuf {
        self.path.join(CONTEXT)
    }

    /// Writes all that is left, `node.toml` last.
    pub fn finish(
        self,
        configuration: NodeConfiguration,
        papers: &Papers<'_>,
    ) -> Result<NodeDir, DirError> {
        self.check(&configuration)?;
        let tls = self.path.join(TLS);
        write(
            &tls.join(CA_CERTIFICATE),
            to_pem(papers.authority).as_bytes(),
        )?;
        if let Some(key) = papers.authority_key {
            write(&tls.join(CA_KEY), key.to_pem().as_bytes())?;
        }
        write(
            &tls.join(NODE_CERTIFICATE),
            to_pem(papers.certificate).as_bytes(),
        )?;
        let data = self.path.join(DATA);
        files::create_private_folder(&data)?;
        write(&data.join(DATA_MARK), data_mark(&configuration).as_bytes())?;
        let file = self.path.join(CONFIGURATION);
        write(&file, configuration.to_toml().as_bytes())?;
        files::remove(&self.path.join(UNFINISHED))?;
        Ok(NodeDir {
            path: self.path,
            configuration,
            unlock: KeyUnlock::Nothing,
            _lock: self.lock,
        })
    }
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Init => "init",
            Self::Join => "join",
            Self::Restore => "restore",
        })
    }
}

/// Who was at work in a folder, if somebody was.
pub(super) fn unfinished(path: &Path) -> Result<Option<Maker>, DirError> {
    Ok(read_note(path)?.map(|note| note.maker))
}

/// `unfinished.toml`.
#[derive(Serialize, Deserialize)]
struct Note {
    maker: Maker,
}

fn read_note(path: &Path) -> Result<Option<Note>, DirError> {
    let file = path.join(UNFINISHED);
    if !file.is_file() {
        return Ok(None);
    }
    let text = files::read(&file)?;
    // The note is replaced whole, so one that cannot be read is not ours.
    toml::from_str(&text)
        .map(Some)
        .map_err(|_| foreign(path, vec![UNFINISHED.to_owned()]))
}

fn read_key(path: &Path) -> Result<NodeKey, DirError> {
    let pem = zeroize::Zeroizing::new(files::read(path)?);
    NodeKey::from_pem(&pem).map_err(|error| DirError::Authority {
        path: path.to_owned(),
        source: error.into(),
    })
}

fn write_key(path: &Path) -> Result<NodeKey, DirError> {
    let tls = path.join(TLS);
    let key = NodeKey::generate().map_err(|error| DirError::Authority {
        path: tls.clone(),
        source: error.into(),
    })?;
    files::create_private_folder(&tls)?;
    write(&tls.join(NODE_KEY), key.to_pem().as_bytes())?;
    Ok(key)
}

fn write(path: &Path, content: &[u8]) -> Result<(), DirError> {
    files::write_atomically(path, content, files::Mode::Private)
}

const UNFINISHED: &str = "unfinished.toml";
