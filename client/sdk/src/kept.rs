//! Mirrors that outlive every server: kept on this node's disk, sealed, and begun with that.
//!
//! What a [`crate::Config`] is for a service's own type, a [`KeptMirror`] is for who makes something else
//! of a prefix: files, an environment. It keeps each state that it reaches, whole: where it opens secrets,
//! only once all secrets of that state are open. A prefix with nothing under it is such a state, too.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    CacheError, CacheStatus, Client, Mirror, MirrorOptions, MirrorReveal, ReadError, Secret,
    StartPolicy,
    cache::{Asked, CachePlace, Job, Saved, Saver, StartError, Starter},
    tasks::Tasks,
};

/// A mirror that is kept on this node's disk. Clones share it; when the last is dropped, nothing is kept any
/// more, and clones of its [`KeptMirror::mirror`] go on.
#[derive(Clone)]
pub struct KeptMirror {
    mirror: Mirror,
    keeping: Arc<Keeping>,
}

/// What a kept mirror is to be. From [`Client::kept_mirror`].
#[must_use = "nothing is read before `open`"]
pub struct KeptMirrorBuilder {
    client: Client,
    prefix: String,
    options: MirrorOptions,
    place: CachePlace,
    start: StartPolicy,
}

/// Why there is no kept mirror.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeptMirrorError {
    /// The cluster did not answer, or refused, and nothing was kept yet; or it says that this client may
    /// not, and what was kept is no way around that.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The cluster did not answer, or refused, and what was kept is of no use.
    #[error("{why}; and the cache is of no use: {cache}")]
    Offline {
        /// Why there is nothing from a server.
        why: ReadError,
        /// Why there is nothing from the cache.
        cache: CacheError,
    },
    /// There is no place to keep it. A [`Client::mirror_with`] needs none.
    #[error(transparent)]
    Cache(CacheError),
}

struct Keeping {
    _tasks: Tasks,
    status: Arc<watch::Sender<CacheStatus>>,
    /// It began with what was kept.
    was_kept: bool,
}

impl Client {
    /// A mirror of every key that begins with `prefix`, which is kept in a folder of this node, sealed so
    /// that only who has this client's private key opens it. A folder has one file for each cluster and
    /// prefix; each belongs to one kept mirror, or one [`crate::Config`], at a time. Make the client with
    /// [`Client::lazy`], which needs no server either.
    pub fn kept_mirror(
        &self,
        prefix: impl Into<String>,
        folder: impl Into<PathBuf>,
    ) -> KeptMirrorBuilder {
        KeptMirrorBuilder {
            client: self.clone(),
            prefix: prefix.into(),
            options: MirrorOptions::default(),
            place: CachePlace {
                folder: folder.into(),
                key: None,
            },
            start: StartPolicy::default(),
        }
    }
}

impl KeptMirrorBuilder {
    /// Opens the secrets under the prefix, see [`MirrorOptions::reveal`], and keeps them, too. `reason`
    /// goes into the audit log.
    pub fn reveal(mut self, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        self.options.reveal = Some(MirrorReveal { reason });
        self
    }

    /// How often to ask the cluster whether it is current, see [`MirrorOptions::check`].
    pub fn check_every(mut self, check: Duration) -> Self {
        self.options.check = check;
        self
    }

    /// Seals with a key of the caller's, such as a credential of the service manager.
    pub fn cache_with_key(mut self, key: Secret<[u8; 32]>) -> Self {
        self.place.key = Some(key);
        self
    }

    /// What to start with. Default: a server's word within 5 seconds, else what was kept.
    pub fn start(mut self, policy: StartPolicy) -> Self {
        self.start = policy;
        self
    }

    /// Begins with what the cluster has or with what was kept, as the policy says, and follows the cluster
    /// from then on. An error where there is neither.
    pub async fn open(self) -> Result<KeptMirror, KeptMirrorError> {
        let Self {
            client,
            prefix,
            options,
            place,
            start,
        } = self;
        let cache = place.open(&client, &prefix).await;
        let cache = Arc::new(cache.map_err(KeptMirrorError::Cache)?);
        let saved = cache.recall(&client).await;
        let status = Arc::new(watch::Sender::new(CacheStatus {
            refused: match &saved {
                Ok(_) | Err(CacheError::Missing) => None,
                Err(refused) => Some(refused.to_string()),
            },
            ..CacheStatus::default()
        }));
        let mut opening = Opening {
            client: &client,
            prefix: &prefix,
            options: &options,
        };
        let started = start.start(&mut opening, &client, &cache, saved).await?;
        let Started { mirror, is_kept } = started;
        let mut tasks = Tasks::default();
        let (jobs, to_do) = watch::channel(None);
        let saver = Saver {
            serial: cache.newest(),
            cache,
            client,
            mirror: mirror.clone(),
            jobs: to_do,
            status: Arc::clone(&status),
            // Overrides are of configurations.
            administrators: watch::channel(None).1,
        };
        tasks.spawn(saver.run());
        tasks.spawn(keep(mirror.clone(), is_kept, jobs));
        let keeping = Arc::new(Keeping {
            _tasks: tasks,
            status,
            was_kept: is_kept,
        });
        Ok(KeptMirror { mirror, keeping })
    }
}

impl KeptMirror {
    /// The mirror. Its [`Mirror::origin`] is [`crate::Origin::Disk`], and its age counted from when what was
    /// kept was known to be current, until a server answered.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// How it is with what is on the disk.
    pub fn cache_status(&self) -> CacheStatus {
        self.keeping.status.borrow().clone()
    }

    /// Whether what it began with, or something newer, is on the disk, and nothing keeps it from being
    /// replaced there.
    pub fn is_kept(&self) -> bool {
        let status = self.keeping.status.borrow();
        (self.keeping.was_kept || status.revision > 0) && status.problem.is_none()
    }

    /// Waits until what it began with, or something newer, is on the disk: for who ends soon after the start.
    /// Returns as well when something keeps it from being written, see [`CacheStatus::problem`].
    pub async fn until_kept(&self) {
        let mut status = self.keeping.status.subscribe();
        let is_kept = |status: &CacheStatus| status.revision > 0 || status.problem.is_some();
        if !self.keeping.was_kept {
            // Only what writes it being dropped ends this early, and this holds it.
            let _ = status.wait_for(is_kept).await;
        }
    }
}

impl fmt::Debug for KeptMirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptMirror")
            .field("mirror", &self.mirror)
            .field("cache", &self.cache_status())
            .finish()
    }
}

impl fmt::Debug for KeptMirrorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptMirrorBuilder")
            .field("prefix", &self.prefix)
            .field("folder", &self.place.folder)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

/// A kept mirror that is being opened.
struct Opening<'a> {
    client: &'a Client,
    prefix: &'a str,
    options: &'a MirrorOptions,
}

struct Started {
    mirror: Mirror,
    /// What it began with is on the disk already.
    is_kept: bool,
}

impl Starter for Opening<'_> {
    type Started = Started;
    type Error = KeptMirrorError;

    async fn with_server(&mut self, asked: Asked) -> Result<Started, KeptMirrorError> {
        let mirror = asked.mirror(self.client, self.prefix, self.options.clone());
        Ok(Started {
            mirror: mirror.await?,
            is_kept: false,
        })
    }

    fn with_cache(
        &mut self,
        saved: &Saved,
        _instead: Option<KeptMirrorError>,
    ) -> Result<Started, KeptMirrorError> {
        let options = self.options.clone();
        Ok(Started {
            mirror: self
                .client
                .mirror_from(self.prefix.to_owned(), options, saved),
            is_kept: true,
        })
    }

    fn failed(&self, error: ReadError) -> KeptMirrorError {
        KeptMirrorError::Read(error)
    }
}

impl StartError for KeptMirrorError {
    fn is_denied(&self) -> bool {
        matches!(self, Self::Read(ReadError::Denied { .. }))
    }

    fn and_cache(self, cache: CacheError) -> Self {
        match self {
            Self::Read(why) => Self::Offline { why, cache },
            other => other,
        }
    }
}

/// Hands each whole state on, to be kept.
async fn keep(mirror: Mirror, mut is_kept: bool, jobs: watch::Sender<Option<Job>>) {
    let mut changes = mirror.watch_from(0);
    let mut newest = None;
    loop {
        let now = mirror.moment();
        let changed = now.view.changed();
        // What a server says after the start is kept even if it is the same: then it is known to be.
        if !std::mem::take(&mut is_kept) && newest != Some(changed) && now.is_whole() {
            jobs.send_replace(Some(Job::of(&now)));
            newest = Some(changed);
        }
        if !changes.changed().await {
            return;
        }
    }
}
