//! Where values come from: a mirror for each prefix, shared by all who want it, and kept on this node's disk.
//!
//! Kept sealed, so that an agent that starts with every server down has what there was: mirrors with secrets
//! and those without are in a folder each, `cache/revealed` and `cache/plain` in the agent's state.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use holdfast_client::{
    Client, KeptMirror, KeptMirrorError, Mirror, MirrorOptions, MirrorReveal, ReadError,
    StartPolicy,
};
use tokio::sync::{Mutex, OnceCell};

/// The mirrors of this agent.
pub(crate) struct Sources {
    client: Client,
    /// Where they are kept; `None`: nowhere, for who asks once.
    caches: Option<PathBuf>,
    mirrors: Mutex<BTreeMap<Wanted, Arc<OnceCell<Source>>>>,
}

/// What a mirror has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    prefix: String,
    /// Whether it opens secrets.
    reveals: bool,
}

/// A mirror, and who keeps it.
enum Source {
    Kept(KeptMirror),
    /// There is no place to keep it.
    Unkept(Mirror),
}

impl Sources {
    /// Keeps them in the agent's state.
    pub(crate) fn new(client: Client, state: &Path) -> Self {
        Self {
            caches: Some(state.join("cache")),
            ..Self::unkept(client)
        }
    }

    /// Neither reads nor writes what is kept.
    pub(crate) fn unkept(client: Client) -> Self {
        Self {
            client,
            caches: None,
            mirrors: Mutex::default(),
        }
    }

    /// The mirror of a prefix; where it reveals, with its secrets open. The first time it begins with what
    /// the cluster says within a short time, or with what was kept; if there is neither, that is tried
    /// again the next time. What the cluster does not let this agent have is not had from what was kept.
    pub(crate) async fn mirror(&self, prefix: &str, reveals: bool) -> Result<Mirror, ReadError> {
        let wanted = Wanted {
            prefix: prefix.to_owned(),
            reveals,
        };
        let cell = Arc::clone(self.mirrors.lock().await.entry(wanted.clone()).or_default());
        let source = cell.get_or_try_init(|| self.open(&wanted)).await?;
        Ok(source.mirror().clone())
    }

    async fn open(&self, wanted: &Wanted) -> Result<Source, ReadError> {
        let Some(caches) = &self.caches else {
            return self.open_unkept(wanted).await;
        };
        let folder = caches.join(if wanted.reveals { "revealed" } else { "plain" });
        let mut kept = self
            .client
            .kept_mirror(wanted.prefix.clone(), folder)
            .start(StartPolicy::ServerThenCache { wait: A_WORD });
        if wanted.reveals {
            kept = kept.reveal(REASON);
        }
        match kept.open().await {
            Ok(kept) => Ok(Source::Kept(kept)),
            Err(KeptMirrorError::Read(error)) => Err(error),
            Err(KeptMirrorError::Offline { why, cache }) => Err(match why {
                ReadError::Unreachable { waited, last } => ReadError::Unreachable {
                    waited,
                    last: format!("{last}; and {cache}"),
                },
                other => other,
            }),
            // As long as servers answer, files are of more use than the cache.
            Err(error) => {
                let prefix = &wanted.prefix;
                tracing::warn!(prefix, %error, "what is under a prefix is not kept on this node");
                self.open_unkept(wanted).await
            }
        }
    }

    async fn open_unkept(&self, wanted: &Wanted) -> Result<Source, ReadError> {
        let options = MirrorOptions {
            reveal: wanted.reveals.then(|| MirrorReveal {
                reason: REASON.to_owned(),
            }),
            ..MirrorOptions::default()
        };
        let mirror = self.client.mirror_with(wanted.prefix.clone(), options);
        Ok(Source::Unkept(mirror.await?))
    }
}

impl Source {
    fn mirror(&self) -> &Mirror {
        match self {
            Self::Kept(kept) => kept.mirror(),
            Self::Unkept(mirror) => mirror,
        }
    }
}

/// For the audit log.
const REASON: &str = "files of this node";
/// How long a server's word is waited for.
const A_WORD: Duration = Duration::from_secs(2);
