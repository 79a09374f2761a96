//! Mirrors: a prefix in the memory of this process, always at exactly one revision.
//!
//! Reading one takes no lock, waits for nobody and needs no server. It follows the cluster over a
//! [`crate::Watch`]; when every server is gone it keeps what it has, and catches up afterwards.
//!
//! Its age is honest: it is counted from before a linearizable read was sent whose revision the
//! mirror has reached since. A node that is cut off from the others cannot make it look young; and
//! where the mirror does not reach what the cluster says it should, it changes the node it follows.
//!
//! Of a secret it tells that there is one, and which version. It keeps the plaintext only when it
//! is told to ([`crate::MirrorOptions::reveal`]), apart from the entries.

mod begin;
mod follower;
mod keeper;
mod opened;
mod view;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};

pub use self::view::{MirrorRead, MirrorView};
pub(crate) use self::{
    keeper::{Kept, Secrets},
    opened::{AnyChange, Moment, OpenedSecrets},
};
use crate::{Entry, Origin, Secret, WatchError, entry::Told};

/// A prefix held in memory. Clones share it; when the last is dropped, it stops following.
#[derive(Clone)]
pub struct Mirror {
    shared: Arc<Shared>,
    _following: Arc<Task>,
    _keeping: Option<Arc<Task>>,
}

/// What a mirror has under a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirrored {
    /// The key's version.
    pub entry: Arc<Entry>,
    /// The mirror's revision.
    pub revision: u64,
    /// [`Origin::Cache`], or [`Origin::Disk`] until a server answered.
    pub origin: Origin,
    /// How long ago the mirror was known to be current, at most; `Duration::MAX`: never yet.
    pub age: Duration,
}

/// A secret that a mirror keeps in the open. Wiped when the mirror has let go of it and this is
/// dropped.
#[derive(Debug)]
pub struct MirroredSecret {
    kept: Arc<Kept>,
    /// Whether it is the version that the mirror has; if not, that one is being opened.
    pub is_newest: bool,
    /// How long ago the mirror was known to be current, at most.
    pub age: Duration,
}

/// Tells when a mirror changes. From [`Mirror::changes`].
#[derive(Debug)]
pub struct MirrorChanges(AnyChange);

/// What keeps a mirror from opening a secret.
struct RevealProblem {
    text: String,
    /// The cluster says that the client may not.
    is_denied: bool,
}

struct Shared {
    view: ArcSwap<MirrorView>,
    /// Microseconds since `start`, before it if an agent said so; [`NEVER`]: never known to be current.
    current_at_us: AtomicI64,
    start: Instant,
    /// A majority of the servers said so.
    is_confirmed: AtomicBool,
    /// The newest word is the agent's of this node, for itself: no server answered it.
    of_agent: AtomicBool,
    /// The agent has it from its own disk.
    of_agents_disk: AtomicBool,
    /// An agent told what it has, and not how old that is.
    of_unknown_age: AtomicBool,
    /// How long ago what it began with, from a disk, was current at its start. Counted on by a clock that
    /// nobody sets.
    seeded_age: Option<Duration>,
    /// When what it had before the last change was known to be current last.
    superseded: Mutex<Option<SystemTime>>,
    /// The revision of the last change.
    changed: watch::Sender<u64>,
    /// The revision that was reached.
    reached: watch::Sender<u64>,
    /// Somebody waits for a revision.
    hurry: Notify,
    /// What keeps it from following, if anything.
    problem: watch::Sender<Option<Arc<WatchError>>>,
    /// What was opened, of those that it was told to open.
    secrets: ArcSwap<Secrets>,
    /// What keeps it from opening one, if anything.
    reveal_problem: Mutex<Option<RevealProblem>>,
    /// It was tried to open what there was to open.
    looked: watch::Sender<()>,
}

/// Ends with the last clone of its mirror.
struct Task(AbortHandle);

impl Mirror {
    /// The mirrored keys, to read now. Wait-free, a few nanoseconds.
    pub fn read(&self) -> MirrorRead {
        MirrorRead(self.shared.view.load())
    }

    /// The mirrored keys at this moment, to keep.
    pub fn view(&self) -> Arc<MirrorView> {
        self.shared.view.load_full()
    }

    /// What is under a key (the whole key, with the prefix), with revision and age.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Mirrored> {
        // First: what is read after them is of then, or newer.
        let (origin, age) = (self.origin(), self.age());
        let view = self.shared.view.load();
        let entry = Arc::clone(view.entries.get(key.as_ref())?);
        Some(Mirrored {
            entry,
            revision: view.revision,
            origin,
            age,
        })
    }

    /// The secret under a key (the whole key, with the prefix). `None`: there is none, or it was
    /// not opened: see [`crate::MirrorOptions::reveal`] and [`Mirror::problem`]. While a newer version is
    /// being opened, the one before it is still here, and says so.
    pub fn secret(&self, key: impl AsRef<[u8]>) -> Option<MirroredSecret> {
        let key = key.as_ref();
        let age = self.age();
        // The entry decides: what is a secret no more is not read even if it is kept.
        let entry = Arc::clone(self.shared.view.load().entries.get(key)?);
        let kept = self.shared.secrets.load().get(key).cloned();
        let kept = kept.filter(|_| entry.is_secret())?;
        Some(MirroredSecret {
            is_newest: kept.entry.modified == entry.modified,
            kept,
            age,
        })
    }

    /// What it has now, with what of it is open.
    pub(crate) fn moment(&self) -> Moment {
        // First: what is read after it is the state that was current then, or a newer one.
        let confirmed_at = self.shared.confirmed_at();
        Moment {
            view: self.view(),
            secrets: Arc::new(self.opened()),
            confirmed_at,
        }
    }

    /// Whether what it has is the agent's word alone, and no server's.
    pub(crate) fn is_of_agent(&self) -> bool {
        self.shared.of_agent.load(Ordering::Acquire)
    }

    /// When what it had before the last change was known to be current last; `None`: never.
    pub(crate) fn superseded(&self) -> Option<SystemTime> {
        *self.shared.superseded.lock()
    }

    fn opened(&self) -> OpenedSecrets {
        OpenedSecrets {
            kept: self.shared.secrets.load_full(),
            opens: self._keeping.is_some(),
        }
    }

    /// The revision of the last change.
    pub(crate) fn last_change(&self) -> u64 {
        *self.shared.changed.borrow()
    }

    /// Tells of changes after a revision, of secrets too.
    pub(crate) fn watch_from(&self, revision: u64) -> AnyChange {
        let mut changed = self.shared.changed.subscribe();
        if *changed.borrow_and_update() > revision {
            changed.mark_changed();
        }
        AnyChange {
            changed,
            looked: self.shared.looked.subscribe(),
        }
    }

    /// The revision the mirror is at.
    pub fn revision(&self) -> u64 {
        self.shared.view.load().revision
    }

    /// How long ago the mirror was known to be current, at most; `Duration::MAX`: never yet.
    pub fn age(&self) -> Duration {
        self.shared.age()
    }

    /// Whether a majority of the servers has said, since this mirror began, that it was current: then
    /// its age counts from such a word, and not from what was kept on a disk.
    pub fn is_confirmed(&self) -> bool {
        self.shared.is_confirmed.load(Ordering::Acquire)
    }

    /// Where its answers come from: memory, or the disk of this node until a server answered (this
    /// process or the agent of this node).
    pub fn origin(&self) -> Origin {
        match self.shared.seeded_age {
            Some(_) if *self.shared.reached.borrow() == 0 => Origin::Disk,
            _ if self.shared.of_agents_disk.load(Ordering::Acquire) => Origin::Disk,
            _ => Origin::Cache,
        }
    }

    /// What keeps it from following the cluster, if the cluster said so, or from opening a secret;
    /// `None`: nothing, or only that no server answers (then its age grows).
    pub fn problem(&self) -> Option<String> {
        let following = self
            .shared
            .problem
            .borrow()
            .as_ref()
            .map(ToString::to_string);
        let opening = self.shared.reveal_problem.lock();
        following.or_else(|| Some(opening.as_ref()?.text.clone()))
    }

    /// Whether the cluster's last word is that this client may not have what the mirror has. The mirror
    /// keeps it, for a service goes on with what it knows; who hands it on to others should not.
    pub fn is_denied(&self) -> bool {
        let following = self.shared.problem.borrow().as_deref().is_some_and(|why| {
            matches!(
                why,
                WatchError::Denied { .. } | WatchError::Unauthorized { .. }
            )
        });
        let opening = self.shared.reveal_problem.lock();
        following || opening.as_ref().is_some_and(|why| why.is_denied)
    }

    /// Tells when a mirrored key changes; with [`crate::MirrorOptions::reveal`] also when its secrets were
    /// opened, or could not be.
    pub fn changes(&self) -> MirrorChanges {
        MirrorChanges(AnyChange {
            changed: self.shared.changed.subscribe(),
            looked: self.shared.looked.subscribe(),
        })
    }

    /// Waits until the mirror has reached a revision, such as that of a write of one's own. `false`:
    /// it has not within `timeout`.
    pub async fn wait_for(&self, revision: u64, timeout: Duration) -> bool {
        let mut reached = self.shared.reached.subscribe();
        if *reached.borrow_and_update() >= revision {
            return true;
        }
        let waiting = async {
            loop {
                self.shared.hurry.notify_one();
                let change = reached.wait_for(|reached| *reached >= revision);
                match tokio::time::timeout(HURRY_AGAIN, change).await {
                    Ok(Ok(_)) => return true,
                    Ok(Err(_)) => return false,
                    Err(_) => {}
                }
            }
        };
        tokio::time::timeout(timeout, waiting)
            .await
            .unwrap_or(false)
    }
}

impl MirroredSecret {
    /// The plaintext.
    pub fn secret(&self) -> &Secret {
        &self.kept.secret
    }

    /// The version that it is of.
    pub fn entry(&self) -> &Entry {
        &self.kept.entry
    }
}

impl MirrorChanges {
    /// Waits for the next change; returns the revision of the last. `None`: the mirror is gone. Changes
    /// that come while nobody waits are told once, together.
    pub async fn changed(&mut self) -> Option<u64> {
        let changed = self.0.changed().await;
        changed.then(|| *self.0.changed.borrow_and_update())
    }
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror")
            .field("keys", &self.read().len())
            .field("revision", &self.revision())
            .field("age", &self.age())
            .finish_non_exhaustive()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            view: ArcSwap::from_pointee(MirrorView::default()),
            current_at_us: AtomicI64::new(NEVER),
            start: Instant::now(),
            is_confirmed: AtomicBool::new(false),
            of_agent: AtomicBool::new(false),
            of_agents_disk: AtomicBool::new(false),
            of_unknown_age: AtomicBool::new(false),
            seeded_age: None,
            superseded: Mutex::new(None),
            changed: watch::Sender::new(0),
            reached: watch::Sender::new(0),
            hurry: Notify::new(),
            problem: watch::Sender::new(None),
            secrets: ArcSwap::default(),
            reveal_problem: Mutex::new(None),
            looked: watch::Sender::new(()),
        }
    }

    fn age(&self) -> Duration {
        match self.current_at_us.load(Ordering::Acquire) {
            NEVER => {
                let seeded = self.seeded_age.unwrap_or(Duration::MAX);
                seeded.saturating_add(self.start.elapsed())
            }
            at => {
                let now = self.start.elapsed().as_micros() as i64;
                Duration::from_micros(now.saturating_sub(at).max(0) as u64)
            }
        }
    }

    /// When what is there was known to be current last.
    fn confirmed_at(&self) -> Option<SystemTime> {
        SystemTime::now().checked_sub(self.age())
    }

    /// What is there was current then.
    fn was_current(&self, at: Instant, age: Duration) {
        let since_start = match at.checked_duration_since(self.start) {
            Some(later) => later.as_micros() as i64,
            None => -(self.start.saturating_duration_since(at).as_micros() as i64),
        };
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let at_us = since_start.saturating_sub(age).max(NEVER + 1);
        self.current_at_us.fetch_max(at_us, Ordering::Release);
    }

    /// The agent of this node answered for itself: that is how old it is.
    fn note_agent(&self, told: Told) {
        let is_of_disk = told.origin == Origin::Disk;
        self.of_agent.store(true, Ordering::Release);
        self.of_agents_disk.store(is_of_disk, Ordering::Release);
        match told.age {
            Duration::MAX => self.of_unknown_age.store(true, Ordering::Release),
            age => self.was_current(Instant::now(), age),
        }
    }

    /// A server answered.
    fn note_server(&self) {
        self.of_agent.store(false, Ordering::Release);
        self.of_agents_disk.store(false, Ordering::Release);
    }
}

/// Of a mirror that was never known to be current.
const NEVER: i64 = i64::MIN;
const HURRY_AGAIN: Duration = Duration::from_millis(50);
