//! The store: the state in memory, its past and its archives, as one.
//!
//! Readers share the state behind a lock that is held for one read or one batch of commands; a
//! [`Store::view`] is a clone, O(1), for whatever takes longer. What leaves memory goes to the
//! past; what is to outlive the log goes to archives.

mod audience;
mod hashes;
mod heal;
mod job;
mod open;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use holdfast_core::{
    Command, Context, Located, Outcome, Reason, Refusal, Reply, State, StateHash, VersionId, apply,
};
use holdfast_proto::{Value, log::v1::SnapshotMeta};
use parking_lot::{Mutex, RwLock};
use prost::Message as _;
use tokio::sync::watch;

pub(crate) use self::job::archive_head;
use self::{audience::Audience, hashes::Hashes};
pub use self::{
    heal::{Replay, ReplayedCommands},
    job::ArchiveJob,
};
use crate::{
    archive::{ArchiveError, ArchiveFile, Archives, IncomingArchive},
    error::OpenError,
    log::LogState,
    past::{
        Past, PastError, PastFault, PastStatus,
        condition::{Condition, boot_id},
        keeper::Keeper,
        sled::SledPast,
    },
};

/// Opens an engine for the past.
pub(crate) type OpenPast = Arc<dyn Fn(&Path) -> Result<Box<dyn Past>, PastFault> + Send + Sync>;

/// How a store is kept.
#[derive(Clone)]
pub struct StoreOptions {
    pub(crate) open_past: OpenPast,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            open_past: Arc::new(|dir| Ok(Box::new(SledPast::open(dir)?))),
        }
    }
}

/// What was on disk.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// What consensus wrote about the archive that was loaded; `None`: there was none.
    pub meta: Option<Bytes>,
    /// The last command that the archive holds; 0: none.
    pub archive_index: u64,
}

impl Recovered {
    /// Whether the log goes on where the archive ends, or earlier. An older archive may have taken
    /// the place of a damaged one, or somebody may have removed one.
    pub fn check(&self, dir: &Path, log: &LogState) -> Result<(), OpenError> {
        let meta = self.meta.clone().map(SnapshotMeta::decode);
        let meta = meta.transpose().map_err(|error| {
            OpenError::damaged(dir, format!("its archive's description: {error}"))
        })?;
        let archive = meta.and_then(|meta| meta.last_applied).map(|id| id.index);
        match log.purged {
            Some(purged) if archive.is_none_or(|archive| archive < purged.index) => {
                Err(OpenError::Gap {
                    path: dir.to_owned(),
                    archive,
                    first: purged.index + 1,
                })
            }
            _ => Ok(()),
        }
    }
}

/// The store; clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    state: RwLock<Applied>,
    audience: Audience,
    keeper: Keeper,
    archives: Archives,
    newest: RwLock<Option<ArchiveFile>>,
    past: Arc<Mutex<PastFolder>>,
    /// The log, to put the past back from. `None`: nobody has named it yet, or it was closed.
    replay: Mutex<Option<Replay>>,
    options: StoreOptions,
}

/// The state, and how far it is.
struct Applied {
    state: State,
    index: u64,
    hashes: Hashes,
}

/// Where the past's rows are: in a folder of their own, so that a new past never meets an old one.
struct PastFolder {
    dir: PathBuf,
    generation: u64,
    covered: u64,
    /// How many engines came with an archive that was installed.
    replaced: u64,
}

impl PastFolder {
    fn rows(&self) -> PathBuf {
        self.dir.join(format!("rows-{}", self.generation))
    }

    fn note(&self, clean: bool) -> std::io::Result<()> {
        self.write(clean, boot_id())
    }

    /// The next start is not to use it.
    fn distrust(&self) -> std::io::Result<()> {
        self.write(false, "none".to_owned())
    }

    fn write(&self, clean: bool, boot: String) -> std::io::Result<()> {
        let condition = Condition {
            clean,
            boot,
            covered: self.covered,
            generation: self.generation,
        };
        condition.write(&self.dir)
    }
}

impl Store {
    /// Opens or creates `DIR/archive` and `DIR/past`, and loads the newest whole archive. The log
    /// behind it is applied by consensus. Blocks.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<(Self, Recovered), OpenError> {
        open::open(dir, options)
    }

    /// Names the log behind the archives: a past that fails is put back from both.
    pub fn replay_from(&self, replay: Replay) {
        *self.0.replay.lock() = Some(replay);
    }

    /// Applies committed commands, in order, under one lock, and answers each. A command that
    /// cannot be decoded was refused by every node alike: it changes nothing. Who waits for
    /// [`Store::revisions`] is told by [`Store::announce`].
    pub fn apply(&self, batch: impl Iterator<Item = (Context, Bytes)>) -> Vec<Reply> {
        let mut replies = Vec::with_capacity(batch.size_hint().0);
        let mut retired = Vec::new();
        let mut forgotten = Vec::new();
        let mut applied = self.0.state.write();
        let mut commands = Vec::with_capacity(batch.size_hint().0);
        commands.extend(batch.map(|(context, bytes)| (context, Command::decode(bytes))));
        applied.state.look_ahead(
            commands
                .iter()
                .filter_map(|(_, command)| command.as_ref().ok()),
        );
        let mut batch = commands.into_iter().peekable();
        while let Some((context, command)) = batch.next() {
            let reply = match command {
                Ok(command) => {
                    let outcome: Outcome = apply(&mut applied.state, context, command);
                    retired.extend(outcome.retired);
                    forgotten.extend(outcome.forgotten);
                    outcome.reply
                }
                Err(error) => {
                    tracing::error!(index = context.index, %error, "a committed command is refused");
                    Reply::refused(
                        applied.state.revision(),
                        Refusal::new(
                            Reason::Invalid,
                            format!("the command cannot be read: {error}"),
                        ),
                    )
                }
            };
            replies.push(reply);
            applied.index = context.index;
            if batch.peek().is_none() || Hashes::is_milestone(context.index) {
                let hash = applied.state.hash();
                applied.hashes.note(context.index, hash);
            }
        }
        // Kept before the lock goes: whoever is told that a value is in the past finds it there.
        self.0.keeper.keep(retired);
        self.0.keeper.forget(forgotten);
        replies
    }

    /// Who waits for [`Store::revisions`] is in so many groups.
    pub const GROUPS: usize = audience::GROUPS;

    /// Wakes one group of those who wait for [`Store::revisions`], if what was applied made one since it was
    /// last told. Whether anybody was woken.
    pub fn announce(&self, group: usize) -> bool {
        self.0.audience.tell(group, self.read(State::revision))
    }

    /// The state as it is now. Later commands do not touch it.
    pub fn view(&self) -> State {
        self.0.state.read().state.clone()
    }

    /// Reads the state under the lock: for what is quick.
    pub fn read<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        read(&self.0.state.read().state)
    }

    /// The newest revision that was announced; changes wake who waits.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.0.audience.join()
    }

    /// Log index of the newest command that was applied.
    pub fn applied(&self) -> u64 {
        self.0.state.read().index
    }

    /// The state's hash right after a command, if a batch ended there lately or its index is a multiple
    /// of 256.
    pub fn hash_at(&self, index: u64) -> Option<StateHash> {
        self.0.state.read().hashes.at(index)
    }

    /// The value of an older version. Blocks on the disk. What is handed out is what the state
    /// knows of: it is checked against the digest that is kept in memory.
    pub fn value(&self, id: &VersionId) -> Result<Value, PastError> {
        let (located, digest) = self.read(|state| {
            let known = state.history(id.key.as_bytes());
            let known = known.iter().find(|meta| meta.revision == id.revision);
            (state.locate(id), known.map(|meta| meta.digest))
        });
        match (located, digest) {
            (Some(Located::Here(entry)), _) => Ok(entry.value.clone()),
            (Some(Located::Past(_)), Some(digest)) => {
                self.0.keeper.row(id, digest).map(|row| row.value)
            }
            _ => Err(PastError::Missing),
        }
    }

    /// How the past is.
    pub fn past_status(&self) -> PastStatus {
        self.0.keeper.status()
    }

    /// The newest archive that is whole and on disk.
    pub fn newest_archive(&self) -> Option<ArchiveFile> {
        self.0.newest.read().clone()
    }

    /// An archive of this moment, to be written elsewhere. O(1).
    pub fn prepare_archive(&self, meta: Bytes) -> ArchiveJob {
        // Pinned first: what the view knows must still be there when it is written.
        let pin = self.0.keeper.pin();
        let applied = self.0.state.read();
        ArchiveJob::new(
            self.clone(),
            applied.state.clone(),
            applied.index,
            meta,
            pin,
        )
    }

    /// A file to receive another node's archive in.
    pub fn incoming(&self) -> Result<IncomingArchive, ArchiveError> {
        let temporary = self.0.archives.temporary("incoming")?;
        Ok(IncomingArchive { temporary })
    }

    /// Reads a received archive to its end and checks all of it, as [`Store::install`] will. Blocks.
    pub fn check(&self, incoming: &IncomingArchive) -> Result<(), ArchiveError> {
        open::load(incoming.temporary.path()).map(drop)
    }

    /// Puts a received archive in place of everything here, and gives what consensus wrote about
    /// it. It is checked whole first; on an error nothing was changed. Blocks.
    pub fn install(&self, incoming: IncomingArchive) -> Result<Bytes, ArchiveError> {
        let loaded = open::load(incoming.temporary.path())?;
        let file = self.0.archives.publish(incoming.temporary, loaded.index)?;
        let mut past = self.0.past.lock();
        open::restart_past(
            &mut past,
            &self.0.keeper,
            &self.0.options,
            &file.path,
            loaded.past_rows,
        )?;
        let revision = loaded.state.revision();
        {
            let mut applied = self.0.state.write();
            let mut hashes = Hashes::default();
            hashes.note(loaded.index, loaded.state.hash());
            *applied = Applied {
                state: loaded.state,
                index: loaded.index,
                hashes,
            };
        }
        *self.0.newest.write() = Some(file);
        self.0.audience.wake(revision);
        Ok(loaded.meta)
    }

    /// Ends well: the next start trusts the past as it is. Blocks.
    pub fn close(&self) {
        self.0.keeper.end();
        *self.0.replay.lock() = None;
        let mut past = self.0.past.lock();
        let noted = match self.past_status() {
            PastStatus::Ready => {
                past.covered = self.applied();
                past.note(true)
            }
            PastStatus::Rebuilding { .. } => past.note(false),
            PastStatus::Failed { .. } => past.distrust(),
        };
        if let Err(error) = noted {
            tracing::warn!(%error, "the past is not marked as closed; the next start may rebuild it");
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("applied", &self.applied())
            .finish_non_exhaustive()
    }
}
