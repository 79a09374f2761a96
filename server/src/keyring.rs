//! The keyring of this node: what its node key opens, and what follows from that.
//!
//! The replicated state holds ciphertext only: epochs wrapped for each member, data keys sealed by
//! epochs. Here the two meet. A node opens its own wrap of the newest epoch with its node key, walks
//! down the chain, and keeps the keys in memory for as long as it runs; nothing of them is written.
//!
//! * [`file`] keeps the node key on disk, under its protector.
//! * [`epochs`] makes new epochs, for just the members that hold keys.
//! * [`duty`] does in the background what has to be done again and again: it tells the cluster this
//!   node's public half, opens what is new, wraps for members that joined, seals data keys anew after
//!   a rotation (the leader), and proves that all this works before somebody needs it.
//! * [`service`] answers `Keyring`; secrets themselves are in [`crate::secrets`].
//!
//! Invariant: a node that cannot open the newest epoch says so, and neither seals nor reveals.

mod duty;
mod epochs;
pub(crate) mod file;
mod service;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;
use holdfast_core::{EpochInfo, State};
use holdfast_proto::NodeId;
use holdfast_seal::{Check, Epoch, EpochRecord, Keyring, Lineage, NodeKey, Protector};
use parking_lot::Mutex;
use tonic::Status;

pub(crate) use self::{duty::run, epochs::pause, service::KeyringService};
use crate::status::Reason;

/// The keys that this node holds.
pub(crate) struct Keys {
    /// None on a witness, which never has one.
    node: Option<NodeKey>,
    protector: Protector,
    opened: ArcSwapOption<Keyring>,
    /// When it was last shown that the newest epoch opens, cluster time in milliseconds; 0: never.
    shown_at_ms: AtomicU64,
    problem: Mutex<String>,
}

impl Keys {
    /// Of a node key that was just opened; `None`: the node is a witness.
    pub(crate) fn new(key: Option<(NodeKey, Protector)>) -> Self {
        let (node, protector) = match key {
            Some((node, protector)) => (Some(node), protector),
            None => (None, Protector::File),
        };
        Self {
            node,
            protector,
            opened: ArcSwapOption::empty(),
            shown_at_ms: AtomicU64::new(0),
            problem: Mutex::default(),
        }
    }

    /// The keyring, if it is open up to the newest epoch of `state`.
    pub(crate) fn opened(&self, state: &State) -> Result<Arc<Keyring>, Status> {
        let newest = state.newest_epoch().map_or(0, |epoch| epoch.epoch);
        match self.opened.load_full() {
            Some(keyring) if keyring.newest().epoch().number() == newest => Ok(keyring),
            _ if newest == 0 => Err(Reason::NoKeyring.status(
                "this cluster has no keyring yet, so it takes no secrets; make its recovery shares \
                 with `kvctl keyring init-recovery`",
            )),
            _ => Err(Reason::KeyringClosed.status(format!(
                "this node does not open epoch {newest} of the keyring{}; go on at another node",
                match self.problem() {
                    problem if problem.is_empty() => " yet".to_owned(),
                    problem => format!(": {problem}"),
                }
            ))),
        }
    }

    /// The public half of the node key.
    fn public(&self) -> Option<&holdfast_seal::PublicKey> {
        self.node.as_ref().map(NodeKey::public)
    }

    /// The node key; none on a witness.
    pub(crate) fn node(&self) -> Option<&NodeKey> {
        self.node.as_ref()
    }

    /// How the node key is kept on disk.
    pub(crate) fn protector(&self) -> Protector {
        self.protector
    }

    /// The newest epoch that this node opened; 0: none.
    pub(crate) fn epoch(&self) -> u64 {
        let opened = self.opened.load();
        opened
            .as_ref()
            .map_or(0, |keyring| keyring.newest().epoch().number())
    }

    /// When this node last showed that it opens the newest epoch, cluster time in milliseconds.
    pub(crate) fn shown_at_ms(&self) -> u64 {
        self.shown_at_ms.load(Ordering::Relaxed)
    }

    /// What keeps this node from opening the keyring, in words; empty: nothing.
    pub(crate) fn problem(&self) -> String {
        self.problem.lock().clone()
    }

    /// Opens everything that the state has for this node.
    fn open(
        &self,
        own: NodeId,
        lineage: &Lineage,
        epochs: &[Arc<EpochInfo>],
    ) -> Result<(), String> {
        let Some(newest) = epochs.last() else {
            return Ok(());
        };
        let Some(wrap) = newest.wrap_of(own) else {
            return Err(format!(
                "epoch {} is not wrapped for this node yet; another node that holds it does that",
                newest.epoch
            ));
        };
        let records = epochs
            .iter()
            .map(|epoch| record(epoch))
            .collect::<Option<Vec<_>>>();
        let records = records.ok_or("an epoch in the state has no form that is known here")?;
        let last = records.last().ok_or("there is no epoch")?;
        let node = self.node.as_ref().ok_or("a witness has no node key")?;
        let key = node
            .open_epoch(lineage, last.epoch, own.0, &wrap.wrap, &last.check)
            .map_err(|error| error.to_string())?;
        let keyring = Keyring::open(key, records).map_err(|error| error.to_string())?;
        self.opened.store(Some(Arc::new(keyring)));
        Ok(())
    }

    /// Notes how an attempt to open the keyring went. True: it goes better or worse than before.
    fn note(&self, went: &Result<(), String>, now_ms: u64) -> bool {
        let problem = match went {
            Ok(()) => String::new(),
            Err(why) => why.clone(),
        };
        if went.is_ok() {
            self.shown_at_ms.store(now_ms, Ordering::Relaxed);
        }
        let mut before = self.problem.lock();
        let changed = *before != problem;
        *before = problem;
        changed
    }
}

/// What envelopes of this cluster are bound to.
pub(crate) fn lineage(state: &State) -> Option<Lineage> {
    Lineage::new(&state.cluster()?.lineage)
}

/// An epoch as `seal` reads it.
pub(crate) fn record(epoch: &EpochInfo) -> Option<EpochRecord<'_>> {
    Some(EpochRecord {
        epoch: Epoch::new(epoch.epoch)?,
        check: Check::from_bytes(<[u8; 32]>::try_from(&*epoch.check).ok()?),
        sealed_previous: &epoch.sealed_previous,
    })
}
