//! What a mirror has in the open, for who makes something whole of a view and its secrets.

use std::{sync::Arc, time::SystemTime};

use holdfast_proto::Key;
use tokio::sync::watch;

use super::{Kept, MirrorView, Secrets};
use crate::{Entry, Secret};

/// The secrets that a mirror has in the open, at one moment.
pub(crate) struct OpenedSecrets {
    pub(super) kept: Arc<Secrets>,
    /// Whether the mirror was told to open any.
    pub(super) opens: bool,
}

/// What a mirror has at one moment.
#[derive(Clone)]
pub(crate) struct Moment {
    pub(crate) view: Arc<MirrorView>,
    pub(crate) secrets: Arc<OpenedSecrets>,
    /// The cluster had nothing newer then, by this node's clock; `None`: that is not known.
    pub(crate) confirmed_at: Option<SystemTime>,
}

/// Tells when a mirrored key changes, or a secret was opened, or could not be.
#[derive(Debug)]
pub(crate) struct AnyChange {
    pub(super) changed: watch::Receiver<u64>,
    pub(super) looked: watch::Receiver<()>,
}

impl OpenedSecrets {
    /// The plaintext of this very version, if it is open.
    pub(crate) fn get(&self, entry: &Entry) -> Option<&Secret> {
        let kept = self.kept.get(&entry.key)?;
        (kept.entry.modified == entry.modified).then_some(&kept.secret)
    }

    /// Those of a view's own versions.
    pub(crate) fn of(&self, view: &MirrorView) -> Secrets {
        let belongs = |(key, kept): (&Key, &Arc<Kept>)| {
            let entry = view.get(key.as_bytes())?;
            (entry.modified == kept.entry.modified).then(|| (key.clone(), Arc::clone(kept)))
        };
        self.kept.iter().filter_map(belongs).collect()
    }

    /// Whether the mirror is still to open something of a view.
    pub(crate) fn is_awaited(&self, view: &MirrorView) -> bool {
        let is_closed = |entry: &Arc<Entry>| entry.is_secret() && self.get(entry).is_none();
        self.opens && view.iter().any(is_closed)
    }
}

impl Moment {
    /// Whether nothing of it is to be opened yet.
    pub(crate) fn is_whole(&self) -> bool {
        !self.secrets.is_awaited(&self.view)
    }
}

impl AnyChange {
    /// Waits for the next one. `false`: the mirror is gone.
    pub(crate) async fn changed(&mut self) -> bool {
        tokio::select! {
            changed = self.changed.changed() => changed.is_ok(),
            looked = self.looked.changed() => looked.is_ok(),
        }
    }
}
