//! Where values come from: a mirror for each prefix, shared by all who want it, and kept on this node's disk.
//!
//! Kept sealed, so that an agent that starts with every server down has what there was: mirrors with secrets
//! and those without are in a folder each, `cache/revealed` and `cache/plain` in the agent's state.

use std::{
    collections::BTreeMap,
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use holdfast_client::{
    Client, KeptMirror, KeptMirrorError, Mirror, MirrorOptions, MirrorReveal, ReadError,
    StartPolicy,
};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// The mirrors of this agent.
pub(crate) struct Sources {
    client: Client,
    /// Where they are kept; `None`: nowhere, for who asks once.
    state: Option<PathBuf>,
    mirrors: Mutex<BTreeMap<Wanted, Arc<OnceCell<Source>>>>,
}

/// What a mirror has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    prefix: String,
    /// Whether it opens secrets.
    reveals: bool,
}

/// How many mirrors there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Followed {
    /// This node's disk has what they have: the agent can start with that.
    pub(crate) kept: usize,
    /// It has not, or cannot be written.
    pub(crate) unkept: usize,
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
            state: Some(state.to_owned()),
            ..Self::unkept(client)
        }
    }

    /// Neither reads nor writes what is kept.
    pub(crate) fn unkept(client: Client) -> Self {
        Self {
            client,
            state: None,
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
        let cell = Arc::clone(self.mirrors.lock().entry(wanted.clone()).or_default());
        let source = cell.get_or_try_init(|| self.open(&wanted)).await?;
        Ok(source.mirror().clone())
    }

    /// Waits until what there is of every mirror is on the disk, or cannot be written there.
    pub(crate) async fn until_kept(&self) {
        for cell in self.cells() {
            if let Some(Source::Kept(kept)) = cell.get() {
                kept.until_kept().await;
            }
        }
    }

    /// How many there are now.
    pub(crate) fn followed(&self) -> Followed {
        let mut followed = Followed::default();
        for cell in self.cells() {
            match cell.get() {
                Some(Source::Kept(kept)) if kept.is_kept() => followed.kept += 1,
                Some(_) => followed.unkept += 1,
                None => {}
            }
        }
        followed
    }

    fn cells(&self) -> Vec<Arc<OnceCell<Source>>> {
        self.mirrors.lock().values().cloned().collect()
    }

    async fn open(&self, wanted: &Wanted) -> Result<Source, ReadError> {
        let Some(state) = &self.state else {
            return self.open_unkept(wanted).await;
        };
        let start = StartPolicy::ServerThenCache { wait: A_WORD };
        let opened = match self.open_kept(wanted, state, start).await {
            // There is nothing else to begin with, and much takes longer to come over.
            Err(
                KeptMirrorError::Read(ReadError::Unreachable { .. })
                | KeptMirrorError::Offline { .. },
            ) => {
                let start = StartPolicy::ServerOnly;
                self.open_kept(wanted, state, start).await
            }
            opened => opened,
        };
        match opened {
            Ok(kept) => Ok(Source::Kept(kept)),
            Err(KeptMirrorError::Read(why) | KeptMirrorError::Offline { why, .. }) => Err(why),
            // As long as servers answer, files are of more use than the cache.
            Err(error) => {
                let prefix = &wanted.prefix;
                tracing::warn!(prefix, %error, "what is under a prefix is not kept on this node");
                self.open_unkept(wanted).await
            }
        }
    }

    async fn open_kept(
        &self,
        wanted: &Wanted,
        state: &Path,
        start: StartPolicy,
    ) -> Result<KeptMirror, KeptMirrorError> {
        // Services may read what is beside the cache. If it cannot be made, the cache cannot.
        let _ = DirBuilder::new().recursive(true).mode(0o755).create(state);
        let folder = match wanted.reveals {
            true => "cache/revealed",
            false => "cache/plain",
        };
        let kept = self
            .client
            .kept_mirror(wanted.prefix.clone(), state.join(folder))
            .start(start);
        match wanted.reveals {
            true => kept.reveal(REASON).open().await,
            false => kept.open().await,
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
const REASON: &str = "the agent of this node has it for services";
/// How long a server's word is waited for.
const A_WORD: Duration = Duration::from_secs(2);
