//! The task that opens what a mirror finds sealed, and lets go of what is gone.
//!
//! Invariants: (1) a version is opened once, by its revision, whatever the mirror has reached
//! meanwhile. (2) What a key does not hold any more is forgotten before anything is opened.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use holdfast_proto::Key;
use imbl::OrdMap;
use tokio::sync::oneshot;

use super::{MirrorView, RevealProblem, Shared};
use crate::{Client, Entry, MirrorReveal, ReadError, RevealOptions, Secret};

/// A secret that a mirror opened.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Its version, as it was told when it was opened.
    pub(crate) entry: Arc<Entry>,
    pub(crate) secret: Secret,
}

/// The secrets a mirror keeps, by key.
pub(crate) type Secrets = OrdMap<Key, Arc<Kept>>;

/// Keeps a mirror's secrets.
pub(super) struct Keeper {
    client: Client,
    reveal: MirrorReveal,
    shared: Arc<Shared>,
}

impl Keeper {
    pub(super) fn new(client: Client, reveal: MirrorReveal, shared: Arc<Shared>) -> Self {
        Self {
            client,
            reveal,
            shared,
        }
    }

    /// Follows a mirror that has its first view. Tells once whether all that it began with was opened.
    pub(super) async fn run(self, first: oneshot::Sender<Result<(), ReadError>>) {
        let mut first = Some(first);
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let view = self.shared.view.load_full();
            let opened = self.catch_up(&view).await;
            let problem = opened.as_ref().err().map(|error| RevealProblem {
                text: error.to_string(),
                is_denied: matches!(
                    error,
                    ReadError::Denied { .. } | ReadError::Unauthorized { .. }
                ),
            });
            if let Some(problem) = &problem {
                tracing::warn!(problem = problem.text, "the mirror cannot open a secret");
            }
            let again = problem.is_some();
            *self.shared.reveal_problem.lock() = problem;
            self.shared.looked.send_replace(());
            if let Some(first) = first.take() {
                // Nobody waits any more: then it is read from the mirror's problem.
                let _ = first.send(opened);
            }
            let next = changed.changed();
            let ended = match again {
                true => tokio::time::timeout(REST, next).await.unwrap_or(Ok(())),
                false => next.await,
            };
            if ended.is_err() {
                return;
            }
        }
    }

    /// Forgets and opens until what is kept is what the view has. Goes on after a failure, and
    /// returns the first.
    async fn catch_up(&self, view: &MirrorView) -> Result<(), ReadError> {
        self.forget(view);
        let kept = self.shared.secrets.load_full();
        let wanted: Vec<Arc<Entry>> = view
            .iter()
            .filter(|entry| entry.is_secret() && !holds(&kept, entry))
            .cloned()
            .collect();
        let mut opening = futures::stream::iter(wanted)
            .map(|entry| self.open(entry))
            .buffer_unordered(AT_ONCE);
        let mut failed = Ok(());
        while let Some(opened) = opening.next().await {
            match opened {
                Ok(kept) => {
                    let mut secrets = Secrets::clone(&self.shared.secrets.load());
                    secrets.insert(kept.entry.key.clone(), Arc::new(kept));
                    self.shared.secrets.store(Arc::new(secrets));
                }
                Err(error) if failed.is_ok() => failed = Err(error),
                Err(_) => {}
            }
        }
        failed
    }

    async fn open(&self, entry: Arc<Entry>) -> Result<Kept, ReadError> {
        let options = RevealOptions {
            revision: Some(entry.modified),
            reason: self.reveal.reason.clone(),
            ..RevealOptions::default()
        };
        let secrets = self.client.secrets();
        let revealed = secrets.reveal_with(entry.key.clone(), options).await?;
        Ok(Kept {
            entry,
            secret: revealed.secret,
        })
    }

    /// Lets go of what is a secret no more: the last who reads it wipes it.
    fn forget(&self, view: &MirrorView) {
        let kept = self.shared.secrets.load_full();
        let gone = |key: &&Key| {
            !view
                .get(key.as_bytes())
                .is_some_and(|entry| entry.is_secret())
        };
        let gone: Vec<&Key> = kept.keys().filter(gone).collect();
        if gone.is_empty() {
            return;
        }
        let mut secrets = Secrets::clone(&kept);
        for key in gone {
            secrets.remove(key);
        }
        self.shared.secrets.store(Arc::new(secrets));
    }
}

/// Whether this very version is kept.
fn holds(kept: &Secrets, entry: &Entry) -> bool {
    kept.get(&entry.key)
        .is_some_and(|kept| kept.entry.modified == entry.modified)
}

const AT_ONCE: usize = 8;
const REST: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use holdfast_proto::v1;
    use tonic::transport::Endpoint;

    use super::*;
    use crate::{
        ClientOptions, Mirror,
        mirror::{Secrets, Task},
    };

    fn entry(value: v1::value::Kind) -> Arc<Entry> {
        let wire = v1::Entry {
            key: "s/a".into(),
            value: Some(v1::Value { kind: Some(value) }),
            modified: 3,
            ..v1::Entry::default()
        };
        Arc::new(Entry::from_wire(wire).unwrap())
    }

    fn view(entry: &Arc<Entry>) -> MirrorView {
        MirrorView {
            entries: OrdMap::unit(entry.key.clone(), Arc::clone(entry)),
            revision: 3,
            changed: 3,
        }
    }

    /// The view decides what is read, and what it does not have is let go of.
    #[tokio::test]
    async fn what_is_a_secret_no_more_is_neither_read_nor_kept() {
        let shared = Arc::new(Shared::new());
        let sealed = entry(v1::value::Kind::Sealed(v1::Sealed {
            payload: Bytes::new(),
        }));
        let kept = Arc::new(Kept {
            entry: Arc::clone(&sealed),
            secret: Secret::from(b"hunter2".to_vec()),
        });
        let watched = Arc::downgrade(&kept);
        let secrets = Secrets::unit(sealed.key.clone(), kept);
        shared.secrets.store(Arc::new(secrets));
        shared.view.store(Arc::new(view(&sealed)));
        let mirror = Mirror {
            shared: Arc::clone(&shared),
            _following: Arc::new(Task(tokio::spawn(async {}).abort_handle())),
            _keeping: None,
        };
        let read = || mirror.secret("s/a").map(|kept| kept.is_newest);
        assert_eq!(read(), Some(true));

        let plain = view(&entry(v1::value::Kind::Text("plain".to_owned())));
        shared.view.store(Arc::new(plain.clone()));
        assert_eq!(read(), None, "it is still kept, and must not be read");
        assert!(watched.upgrade().is_some());
        let channel = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let client = Client::from_channels(vec![channel], "none", ClientOptions::default());
        let keeper = Keeper::new(client.unwrap(), MirrorReveal::default(), shared);
        keeper.catch_up(&plain).await.unwrap();
        assert!(watched.upgrade().is_none(), "nobody wiped it");
    }
}
