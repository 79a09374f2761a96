//! A node's folder: what belongs to one node, and to one running process at a time.
//!
//! ```text
//! node.toml           settings and the format version; written last, so it says "complete"
//! unfinished.toml     only while `kvd init` or `kvd join` is at work, or was interrupted
//! lock                held by the process that uses the folder
//! tls/                ca.crt, ca.key, node.crt, node.key; keys with mode 0600. While the authority is
//!                     rotated also next/, with the papers of the next one
//! context/            the first operator context (where `kvd init` ran)
//! keyring/            node.key, which opens the keyring of the cluster
//! backups/            backups that this node made, unless node.toml names another folder
//! data/               node (whose data this is), started, fenced (with the reason, if it is), and
//!                     the store's log/, archive/, past/
//! ```
//!
//! Invariants: (1) a folder that is not ours is never written to. (2) Data is only ever opened by
//! the node it belongs to. (3) A node whose log is gone does not start again under its old id: it
//! might vote twice in one term. (4) Nor does one that found its own state to be wrong.

mod error;
pub mod files;
mod making;
mod next;

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

pub use error::DirError;
pub use making::{Maker, Papers, UnfinishedDir};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use holdfast_seal::{self as seal, Protector};

pub use crate::keyring::file::{KeyUnlock, NodeKeyFileError};
use crate::{
    backup::Signer,
    configuration::{ConfigurationError, NodeConfiguration},
    identity::{AuthorityError, CertificateAuthority, KeyError, NodeKey, authority::to_pem},
    keyring,
    tls::NodeTls,
};

/// The folder of a complete node, locked for this process.
pub struct NodeDir {
    path: PathBuf,
    configuration: NodeConfiguration,
    unlock: KeyUnlock,
    _lock: DirLock,
}

impl NodeDir {
    /// Opens the folder of a node and locks it until this value is dropped.
    pub fn open(path: &Path) -> Result<Self, DirError> {
        match inspect(path)? {
            Found::Nothing => {
                return Err(DirError::Missing {
                    path: path.to_owned(),
                });
            }
            Found::Unfinished(maker) => {
                return Err(DirError::Unfinished {
                    path: path.to_owned(),
                    maker,
                });
            }
            Found::Foreign(names) => return Err(foreign(path, names)),
            Found::Node => {}
        }
        let dir = Self::open_without_data(path)?;
        dir.check_data()?;
        dir.settle_if_begun()?;
        Ok(dir)
    }

    /// Takes a folder for its keys: its data may be lost or damaged, and nothing is run on it.
    pub(crate) fn open_without_data(path: &Path) -> Result<Self, DirError> {
        // First, so that no lock is left in the folder of something else.
        let configuration = read_configuration(path)?;
        let lock = DirLock::take(path)?;
        Ok(Self {
            path: path.to_owned(),
            configuration,
            unlock: KeyUnlock::Nothing,
            _lock: lock,
        })
    }

    /// The settings of its node.
    pub fn configuration(&self) -> &NodeConfiguration {
        &self.configuration
    }

    /// Changes settings for this run; the file stays as it is.
    pub fn configure(
        &mut self,
        change: impl FnOnce(&mut NodeConfiguration),
    ) -> Result<(), DirError> {
        change(&mut self.configuration);
        self.configuration
            .check()
            .map_err(|source| self.configuration_error(source))
    }

    /// Gives what opens the node key, if it is protected.
    pub fn unlock_with(&mut self, unlock: KeyUnlock) {
        self.unlock = unlock;
    }

    /// The node key, which is made on the first start.
    pub(crate) fn open_node_key(&self) -> Result<(seal::NodeKey, Protector), NodeKeyFileError> {
        keyring::file::open_or_make(self, &self.unlock)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the store keeps its log, archives and past.
    pub fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Where the node keeps its node key.
    pub(crate) fn keyring(&self) -> PathBuf {
        self.path.join(KEYRING)
    }

    /// Where the node keeps its audit log.
    pub(crate) fn audit(&self) -> PathBuf {
        self.path.join(AUDIT)
    }

    /// Where the node keeps its backups.
    pub(crate) fn backups(&self) -> PathBuf {
        let folder = self.configuration.backup.folder.clone();
        folder.map_or_else(|| self.path.join(BACKUPS), |folder| self.path.join(folder))
    }

    /// What signs the node's backups.
    pub(crate) fn signer(&self) -> Result<Signer, DirError> {
        let tls = self.path.join(TLS);
        let read = |name| -> Result<CertificateDer<'static>, DirError> {
            let pem = files::read(&tls.join(name))?;
            let read = CertificateDer::from_pem_slice(pem.as_bytes());
            let read = read.map_err(|error| AuthorityError::Certificate(error.to_string()));
            read.map_err(|error| self.authority_error(error))
        };
        Ok(Signer {
            key: self.node_key()?,
            certificate: read(NODE_CERTIFICATE)?,
            authority: read(CA_CERTIFICATE)?,
        })
    }

    /// The operator context that `kvd init` wrote, if it ran here.
    pub fn context(&self) -> Option<PathBuf> {
        let path = self.path.join(CONTEXT).join("admin.toml");
        path.is_file().then_some(path)
    }

    /// Whether the node never ran to the point where it served. Only then may a founder form a cluster.
    pub fn is_first_start(&self) -> bool {
        !self.data().join(STARTED).exists()
    }

    /// Notes that the node has served: from now on, missing data is lost data.
    pub fn mark_started(&self) -> Result<(), DirError> {
        if !self.is_first_start() {
            return Ok(());
        }
        files::write_atomically(&self.data().join(STARTED), b"", files::Mode::Private)
    }

    /// Notes that the node's state is wrong: it is not to start again.
    pub fn mark_fenced(&self, why: &str) -> Result<(), DirError> {
        let path = self.data().join(FENCED);
        files::write_atomically(&path, why.as_bytes(), files::Mode::Private)
    }

    /// Whether the node can let others in: every node that votes can.
    pub fn holds_authority(&self) -> bool {
        self.path.join(TLS).join(CA_KEY).is_file()
    }

    /// The cluster's authority, whose key every voter holds.
    pub fn authority(&self) -> Result<CertificateAuthority, DirError> {
        let certificate = files::read(&self.path.join(TLS).join(CA_CERTIFICATE))?;
        let key = files::read(&self.path.join(TLS).join(CA_KEY))?;
        CertificateAuthority::load(&certificate, &key)
            .map_err(|source| self.authority_error(source))
    }

    /// This node's TLS: who it is, and whom it trusts. A certificate that is soon to expire, or does
    /// not name the advertised address, is renewed first.
    pub fn tls(&self, now: SystemTime) -> Result<NodeTls, DirError> {
        let tls = self.load_tls(now)?;
        let is_good = tls.names_address(&self.configuration.advertise) && !tls.is_due(now);
        if is_good || !self.holds_authority() {
            return Ok(tls);
        }
        self.renew(now)?;
        self.load_tls(now)
    }

    /// Puts a new certificate into a running node's TLS if the old one is soon to expire.
    pub fn renew_if_due(&self, tls: &NodeTls, now: SystemTime) -> Result<bool, DirError> {
        if !tls.is_due(now) || !self.holds_authority() {
            return Ok(false);
        }
        self.renew(now)?;
        tls.take_over(&self.load_tls(now)?);
        Ok(true)
    }

    /// Keeps the authority's key (PKCS#8, DER), for a node that is to vote, if it belongs to the
    /// authority's certificate.
    pub fn keep_authority(&self, key: &[u8]) -> Result<CertificateAuthority, DirError> {
        let tls = self.path.join(TLS);
        let key = NodeKey::from_der(key).map_err(|error| self.authority_error(error.into()))?;
        let pem = key.to_pem();
        let certificate = files::read(&tls.join(CA_CERTIFICATE))?;
        let authority = CertificateAuthority::load(&certificate, &pem)
            .map_err(|source| self.authority_error(source))?;
        files::write_atomically(&tls.join(CA_KEY), pem.as_bytes(), files::Mode::Private)?;
        Ok(authority)
    }

    /// Puts a certificate that a voter signed in place of the old one, also in a running node's TLS,
    /// if it is for this node, its key and its cluster.
    pub fn replace_certificate(
        &self,
        tls: &NodeTls,
        certificate: &CertificateDer<'static>,
        now: SystemTime,
    ) -> Result<(), DirError> {
        let pem = to_pem(certificate);
        let renewed = self.check_tls(&pem, now)?;
        let path = self.path.join(TLS).join(NODE_CERTIFICATE);
        files::write_atomically(&path, pem.as_bytes(), files::Mode::Private)?;
        tls.take_over(&renewed);
        Ok(())
    }

    fn load_tls(&self, now: SystemTime) -> Result<NodeTls, DirError> {
        let certificate = files::read(&self.path.join(TLS).join(NODE_CERTIFICATE))?;
        self.check_tls(&certificate, now)
    }

    /// The node's TLS with this certificate (PEM).
    fn check_tls(&self, certificate: &str, now: SystemTime) -> Result<NodeTls, DirError> {
        self.check_papers(&self.path.join(TLS), certificate, now)
    }

    /// The node's TLS with this certificate (PEM) and the authority in a folder.
    fn check_papers(
        &self,
        folder: &Path,
        certificate: &str,
        now: SystemTime,
    ) -> Result<NodeTls, DirError> {
        let authority = files::read(&folder.join(CA_CERTIFICATE))?;
        NodeTls::load(&authority, certificate, &self.node_key()?, now)
            .and_then(|tls| {
                tls.expect_node(&self.configuration.cluster_id, &self.configuration.name)
            })
            .map_err(|source| DirError::Tls {
                path: folder.to_owned(),
                source,
            })
    }

    fn renew(&self, now: SystemTime) -> Result<(), DirError> {
        let NodeConfiguration {
            name, advertise, ..
        } = &self.configuration;
        let certificate = self
            .authority()?
            .sign_node(name, &self.node_key()?.public_key(), advertise, now)
            .map_err(|source| self.authority_error(source))?;
        let pem = to_pem(&certificate);
        let path = self.path.join(TLS).join(NODE_CERTIFICATE);
        files::write_atomically(&path, pem.as_bytes(), files::Mode::Private)
    }

    fn node_key(&self) -> Result<NodeKey, DirError> {
        let pem = zeroize::Zeroizing::new(files::read(&self.path.join(TLS).join(NODE_KEY))?);
        NodeKey::from_pem(&pem).map_err(|error: KeyError| self.authority_error(error.into()))
    }

    fn check_data(&self) -> Result<(), DirError> {
        let data = self.data();
        let NodeConfiguration {
            cluster_id,
            name,
            id,
            ..
        } = &self.configuration;
        let lost = || DirError::LostData {
            path: data.clone(),
            name: name.to_string(),
            id: id.0,
        };
        let expected = data_mark(&self.configuration);
        let mark = data.join(DATA_MARK);
        if !mark.is_file() {
            return Err(lost());
        }
        let found = files::read(&mark)?;
        if found != expected {
            let mut words = found.split_whitespace().skip(3);
            let (cluster, node) = (words.next().unwrap_or("?"), words.next().unwrap_or("?"));
            return Err(DirError::ForeignData {
                path: data,
                found: format!("{node} of cluster {cluster}"),
                expected: format!("{id} of cluster {cluster_id}"),
            });
        }
        let fenced = data.join(FENCED);
        if fenced.is_file() {
            return Err(DirError::Fenced {
                why: files::read(&fenced)?,
                path: data,
            });
        }
        let log_is_there = fs::read_dir(data.join("log")).is_ok_and(|mut log| log.next().is_some());
        if !self.is_first_start() && !log_is_there {
            return Err(lost());
        }
        Ok(())
    }

    fn authority_error(&self, source: AuthorityError) -> DirError {
        DirError::Authority {
            path: self.path.join(TLS),
            source,
        }
    }

    fn configuration_error(&self, source: ConfigurationError) -> DirError {
        DirError::Configuration {
            path: self.path.join(CONFIGURATION),
            source,
        }
    }
}

/// What a folder turned out to be.
enum Found {
    Nothing,
    Unfinished(Maker),
    Node,
    Foreign(Vec<String>),
}

fn inspect(path: &Path) -> Result<Found, DirError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(source) => return Err(files::failed("could not look into", path)(source)),
    };
    if path.join(CONFIGURATION).is_file() {
        return Ok(Found::Node);
    }
    if let Some(maker) = making::unfinished(path)? {
        return Ok(Found::Unfinished(maker));
    }
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "lost+found" && name != LOCK)
        .take(4)
        .collect();
    names.sort_unstable();
    Ok(if names.is_empty() {
        Found::Nothing
    } else {
        Found::Foreign(names)
    })
}

fn foreign(path: &Path, names: Vec<String>) -> DirError {
    DirError::Foreign {
        path: path.to_owned(),
        names,
    }
}

fn read_configuration(path: &Path) -> Result<NodeConfiguration, DirError> {
    let file = path.join(CONFIGURATION);
    let text = files::read(&file)?;
    NodeConfiguration::parse(&text).map_err(|source| DirError::Configuration { path: file, source })
}

fn data_mark(configuration: &NodeConfiguration) -> String {
    format!(
        "holdfast data 1\n{}\n{}\n",
        configuration.cluster_id, configuration.id
    )
}

/// Holds a folder for this process; the operating system lets go of it however the process ends.
struct DirLock(#[allow(dead_code, reason = "held, never read")] File);

impl DirLock {
    fn take(dir: &Path) -> Result<Self, DirError> {
        let path = dir.join(LOCK);
        let failed = |source| files::failed("could not lock", &path)(source);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file
                    .read_to_string(&mut text)
                    .ok()
                    .and_then(|_| text.trim().parse().ok());
                return Err(DirError::InUse {
                    path: dir.to_owned(),
                    pid,
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self(file))
    }
}

const CONFIGURATION: &str = "node.toml";
const LOCK: &str = "lock";
const TLS: &str = "tls";
const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const NODE_CERTIFICATE: &str = "node.crt";
const NODE_KEY: &str = "node.key";
const CONTEXT: &str = "context";
const AUDIT: &str = "audit";
const KEYRING: &str = "keyring";
const BACKUPS: &str = "backups";
const DATA: &str = "data";
const DATA_MARK: &str = "node";
const STARTED: &str = "started";
const FENCED: &str = "fenced";

#[cfg(test)]
mod tests;
