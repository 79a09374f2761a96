//! Where values come from: a mirror for each prefix, shared by all who want it.

use std::{collections::BTreeMap, sync::Arc};

use holdfast_client::{Client, Mirror, MirrorOptions, MirrorReveal, ReadError};
use tokio::sync::{Mutex, OnceCell};

/// The mirrors of this agent.
pub(crate) struct Sources {
    client: Client,
    mirrors: Mutex<BTreeMap<Wanted, Arc<OnceCell<Mirror>>>>,
}

/// What a mirror has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    prefix: String,
    /// Whether it opens secrets.
    reveals: bool,
}

impl Sources {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            mirrors: Mutex::default(),
        }
    }

    /// The mirror of a prefix; where it reveals, with its secrets open. Asks the cluster the first time,
    /// and again if that failed.
    pub(crate) async fn mirror(&self, prefix: &str, reveals: bool) -> Result<Mirror, ReadError> {
        let wanted = Wanted {
            prefix: prefix.to_owned(),
            reveals,
        };
        let cell = Arc::clone(self.mirrors.lock().await.entry(wanted).or_default());
        let mirror = cell.get_or_try_init(|| {
            let reveal = reveals.then(|| MirrorReveal {
                reason: "files of this node".to_owned(),
            });
            let options = MirrorOptions {
                reveal,
                ..MirrorOptions::default()
            };
            self.client.mirror_with(prefix.to_owned(), options)
        });
        mirror.await.cloned()
    }
}
