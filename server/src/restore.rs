//! `kvd restore`: a new cluster of one that begins with what is in a backup. Nothing is started.
//!
//! It is a new cluster: its id, its authority and its operator's context are new, so no node and no
//! client of the old one is let in, and none of them takes it for the old one. What it holds is the
//! same; `holdfast_core::restore` says what changes.

mod keyring;
mod shares;

use std::{path::PathBuf, time::SystemTime};

use holdfast_core::Restoring;
use holdfast_proto::{NodeId, NodeName};
use holdfast_raft::PeerNode;
use holdfast_seal::{NodeKey, OsRandom, Protector};

pub use self::{
    keyring::{Holder, KeyringError},
    shares::HolderError,
};
use crate::{
    backup::{BackupError, BackupReader, Lock, Trust},
    configuration::NodeConfiguration,
    dir::{DirError, KeyUnlock, Maker, NodeDir, NodeKeyFileError, Papers, UnfinishedDir},
    identity::{AuthorityError, CertificateAuthority, new_cluster_id},
    operator::{self, OperatorError},
};

/// What is restored, and where.
pub struct RestoreOptions {
    /// The backup.
    pub from: PathBuf,
    /// The folder of the new cluster's first node: new, empty, or left by an interrupted `kvd restore`.
    pub dir: PathBuf,
    /// The node's name.
    pub name: NodeName,
    /// Where it listens, `HOST:PORT`.
    pub listen: String,
    /// Where others reach it, if elsewhere.
    pub advertise: Option<String>,
    /// Where its HTTP port is, if it has one.
    pub http: Option<String>,
    /// Where it serves etcd's clients, if it does.
    pub etcd: Option<String>,
    /// Whose backup it must be.
    pub trust: Trust,
    /// Who opens it, and the secrets in it.
    pub holder: Option<Holder>,
    /// How the node key is kept on disk.
    pub key_protector: Protector,
    /// What protects it there.
    pub unlock: KeyUnlock,
}

/// What was restored.
pub struct Restored {
    /// The folder of the node.
    pub dir: NodeDir,
    /// The cluster that the backup was made in.
    pub old_cluster: String,
    /// The revision of the backup.
    pub old_revision: u64,
    /// The revision that the new cluster begins with.
    pub revision: u64,
    /// How many keys there are.
    pub keys: u64,
    /// How many versions of secrets can be opened.
    pub secrets: u64,
    /// How many older values there are.
    pub past_rows: u64,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The secrets in it.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The node key could not be kept.
    #[error("no node key was made")]
    NodeKey(#[from] NodeKeyFileError),
    /// The folder cannot be used, or a setting cannot be.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// No certificate could be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The operator's context could not be written.
    #[error(transparent)]
    Operator(#[from] OperatorError),
}

impl From<holdfast_disk::ArchiveError> for RestoreError {
    fn from(error: holdfast_disk::ArchiveError) -> Self {
        Self::Backup(error.into())
    }
}

/// Checks the backup, then makes the authority, the node's folder and an operator's context. The old
/// folder, if one is there, is not touched: it is refused.
pub fn restore(options: &RestoreOptions, now: SystemTime) -> Result<Restored, RestoreError> {
    let mut backup = BackupReader::open(&options.from)?;
    backup.check(&options.trust)?;
    let header = backup.header().clone();
    let lock = match &options.holder {
        Some(holder) => Lock::Key(holder.unlock()),
        None => Lock::None,
    };
    let archive = backup.archive(&lock)?;
    // Before this, what is not to be used or does not open has left nothing behind.
    let making = UnfinishedDir::begin(&options.dir, Maker::Restore)?;
    let cluster_id = new_cluster_id();
    let advertise = options.advertise.as_ref().unwrap_or(&options.listen);
    let node_key = NodeKey::generate(&mut OsRandom);
    let protector = options.key_protector;
    let (mut founder, mut revision, mut keys, mut secrets) = (None, 0, 0, 0);
    let restored = holdfast_raft::restore(&options.from, archive, &making.data()?, |state| {
        let damaged = |why: &str| BackupError::damaged(&options.from, why);
        if state.hash().as_bytes()[..] != header.state_hash[..] {
            return Err(RestoreError::from(damaged(
                "its rows do not make the state that its head promises",
            )));
        }
        let opened = keyring::open(&state, options.holder.as_ref())?;
        let id: NodeId = state.restored_founder();
        let mut state = state
            .restored(Restoring {
                cluster_id: cluster_id.as_str().into(),
                name: options.name.clone(),
                address: advertise.as_str().into(),
                public_key: making.key().public_key().der().clone(),
            })
            .ok_or_else(|| BackupError::NoCluster {
                path: options.from.clone(),
            })?;
        if let Some(opened) = opened {
            keyring::begin(&mut state, opened.newest(), id, &node_key, protector)?;
        }
        (founder, revision, keys) = (Some(id), state.revision(), state.usage().keys);
        secrets = state.wraps_by_epoch().map(|(_, versions)| versions).sum();
        let node = PeerNode {
            id,
            name: options.name.to_string(),
            address: advertise.clone(),
        };
        Ok((state, node))
    })?;
    let id = founder.ok_or_else(|| BackupError::NoCluster {
        path: options.from.clone(),
    })?;
    let mut configuration = NodeConfiguration::new(
        &cluster_id,
        &header.cluster_name,
        options.name.clone(),
        id,
        &options.listen,
    );
    configuration.advertise = advertise.clone();
    configuration.http = options.http.clone();
    configuration.etcd = options.etcd.clone();
    configuration.key_protector = protector;
    making.check(&configuration)?;
    making.keep_node_key(&node_key, protector, &options.unlock)?;
    let authority = CertificateAuthority::create(&cluster_id, now)?;
    let public_key = making.key().public_key();
    let certificate = authority.sign_node(&options.name, &public_key, advertise, now)?;
    operator::write_context(
        &making.context(),
        &authority,
        operator::ADMIN,
        std::slice::from_ref(advertise),
        now,
    )?;
    let papers = Papers {
        authority: authority.certificate(),
        authority_key: Some(authority.key()),
        certificate: &certificate,
    };
    Ok(Restored {
        dir: making.finish(configuration, &papers)?,
        old_cluster: header.cluster_id,
        old_revision: header.revision,
        revision,
        keys,
        secrets,
        past_rows: restored.past_rows,
    })
}
