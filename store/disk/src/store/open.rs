//! Opening a store: the newest whole archive, and a past that can be trusted.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, OnceLock},
};

use bytes::{Buf, Bytes};
use holdfast_core::State;
use parking_lot::{Mutex, RwLock};

use super::{
    Applied, Audience, Hashes, Inner, PastFolder, Recovered, Store, StoreOptions, heal::Healer,
};
use crate::{
    archive::{ArchiveError, ArchiveFile, ArchiveReader, Archives, Item},
    error::OpenError,
    marker::{self, Kind},
    past::{
        Past, PastFault,
        condition::{Condition, boot_id},
        keeper::{Anew, Beginning, Keeper, Refill},
        memory::MemoryPast,
    },
};

/// An archive, read and checked to its end.
pub(super) struct Loaded {
    pub(super) state: State,
    pub(super) index: u64,
    pub(super) meta: Bytes,
    pub(super) past_rows: u64,
}

/// Reads an archive whole.
pub(super) fn load(path: &Path) -> Result<Loaded, ArchiveError> {
    let mut reader = ArchiveReader::open(path)?;
    let mut meta = reader.meta();
    if meta.len() < 8 {
        return Err(ArchiveError::damaged(path, "its description is cut off"));
    }
    let index = meta.get_u64();
    let mut past_rows = 0;
    let mut fault = None;
    let rows = std::iter::from_fn(|| match reader.next() {
        Ok(Some(Item::Row(row))) => Some(row),
        Ok(Some(Item::Past(_))) => {
            past_rows += 1;
            None
        }
        Ok(None) => None,
        Err(error) => {
            fault = Some(error);
            None
        }
    });
    // `fuse` is not needed: after the first `None` nothing is asked any more.
    let state = State::from_rows(rows);
    if let Some(error) = fault {
        return Err(error);
    }
    let state = state.map_err(|error| ArchiveError::damaged(path, error.to_string()))?;
    while let Some(item) = reader.next()? {
        match item {
            Item::Past(_) => past_rows += 1,
            Item::Row(_) => {
                return Err(ArchiveError::damaged(
                    path,
                    "a row of the state comes after the past",
                ));
            }
        }
    }
    Ok(Loaded {
        state,
        index,
        meta,
        past_rows,
    })
}

pub(super) fn open(dir: &Path, options: StoreOptions) -> Result<(Store, Recovered), OpenError> {
    let archives = Archives::open(dir)?;
    let loaded = newest(&archives)?;
    let (state, index, recovered, file, past_rows) = match loaded {
        Some((file, loaded)) => {
            let recovered = Recovered {
                meta: Some(loaded.meta),
                archive_index: loaded.index,
            };
            (
                loaded.state,
                loaded.index,
                recovered,
                Some(file),
                loaded.past_rows,
            )
        }
        None => (State::new(), 0, Recovered::default(), None, 0),
    };
    let (healer, keeper) = open_past(dir, &options, file.as_ref(), index, past_rows)?;
    let mut hashes = Hashes::default();
    hashes.note(index, state.hash());
    let store = Store(Arc::new(Inner {
        audience: Audience::new(state.revision()),
        state: RwLock::new(Applied {
            state,
            index,
            hashes,
        }),
        keeper,
        archives,
        newest: RwLock::new(file),
        past: Arc::clone(&healer.past),
        replay: Mutex::new(None),
        options,
    }));
    // Nobody else sets it.
    healer.store.get_or_init(|| Arc::downgrade(&store.0));
    Ok((store, recovered))
}

/// The newest archive that is whole. A damaged one is set aside, with a warning, if an older one
/// is whole; whether the log reaches back that far is for consensus to say.
fn newest(archives: &Archives) -> Result<Option<(ArchiveFile, Loaded)>, OpenError> {
    let mut damaged = Vec::new();
    for file in archives.list()? {
        match load(&file.path) {
            Ok(loaded) => {
                for (bad, error) in damaged {
                    tracing::warn!(%error, "an older archive is used instead");
                    archives.set_aside(&bad);
                }
                return Ok(Some((file, loaded)));
            }
            Err(ArchiveError::Newer {
                path,
                found,
                supported,
            }) => {
                return Err(OpenError::Newer {
                    path,
                    found,
                    supported,
                });
            }
            Err(ArchiveError::Io {
                path,
                action,
                source,
            }) => {
                return Err(OpenError::Io {
                    path,
                    action,
                    source,
                });
            }
            Err(error) => damaged.push((file, error)),
        }
    }
    match damaged.into_iter().next() {
        Some((file, ArchiveError::Damaged { why, .. })) => Err(OpenError::damaged(&file.path, why)),
        Some((file, error)) => Err(OpenError::damaged(&file.path, error.to_string())),
        None => Ok(None),
    }
}

fn open_past(
    dir: &Path,
    options: &StoreOptions,
    archive: Option<&ArchiveFile>,
    index: u64,
    past_rows: u64,
) -> Result<(Arc<Healer>, Keeper), OpenError> {
    let dir = dir.join("past");
    marker::ensure(&dir, Kind::Past)?;
    let condition = Condition::read(&dir);
    let generation = condition
        .as_ref()
        .map_or(0, |condition| condition.generation);
    let mut past = PastFolder {
        dir,
        generation,
        covered: index,
        replaced: 0,
    };
    let trusted = match &condition {
        // A first start has nothing to lose.
        None if archive.is_none() && !past.rows().exists() => Ok(()),
        None => Err("nothing says how it was left"),
        Some(_) if !past.rows().exists() => Err("its rows are gone"),
        Some(condition) => condition.doubt(&boot_id(), index).map_or(Ok(()), Err),
    };
    let opened = trusted
        .map_err(str::to_owned)
        .and_then(|()| open_engine(options, &past.rows()).map_err(|PastFault(why)| why));
    let rows = || match archive {
        Some(file) => refill(&file.path),
        None => Box::new(std::iter::empty()),
    };
    let opened = match opened {
        Ok(engine) => Ok(engine),
        Err(why) => Err(begin_anew(&mut past, options, &why)),
    };
    // Until an archive or a clean stop says otherwise, a rebuild that was cut off starts again.
    past.covered = if opened.is_ok() { index } else { 0 };
    past.note(false)
        .map_err(|error| OpenError::io(&past.dir, "written", error))?;
    let dir = past.dir.clone();
    let past = Arc::new(Mutex::new(past));
    let expected = past_rows;
    let (engine, beginning) = match (opened, archive) {
        (Ok(engine), None) => (engine, Beginning::Whole),
        (Ok(engine), Some(file)) => {
            let (past, options) = (Arc::clone(&past), options.clone());
            let path = file.path.clone();
            let anew: Anew = Box::new(move |fault| {
                let mut past = past.lock();
                past.covered = 0;
                let engine = begin_anew(&mut past, &options, &fault.0);
                if let Err(error) = past.note(false) {
                    tracing::warn!(%error, "the past is not marked; the next start may rebuild it");
                }
                (engine, refill(&path))
            });
            let rows = rows();
            (
                engine,
                Beginning::Check {
                    rows,
                    expected,
                    anew,
                },
            )
        }
        (Err(engine), _) => {
            let rows = rows();
            (engine, Beginning::Refill { rows, expected })
        }
    };
    let failing = Arc::clone(&past);
    let on_failure = Box::new(move || {
        if let Err(error) = failing.lock().distrust() {
            tracing::warn!(%error, "the past is not marked as damaged; remove its folder before the next start");
        }
    });
    let healer = Arc::new(Healer {
        past,
        options: options.clone(),
        store: OnceLock::new(),
    });
    let healing = Arc::clone(&healer);
    let heal = Box::new(move |replaced| healing.heal(replaced));
    let keeper = Keeper::start(engine, beginning, heal, on_failure)
        .map_err(|error| OpenError::io(&dir, "kept by a thread", error))?;
    Ok((healer, keeper))
}

/// Opens an engine, whose damage may show itself as a panic.
fn open_engine(options: &StoreOptions, rows: &Path) -> Result<Box<dyn Past>, PastFault> {
    catch_unwind(AssertUnwindSafe(|| (options.open_past)(rows)))
        .unwrap_or_else(|_| Err(PastFault("opening it panicked".to_owned())))
}

/// A new, empty past in a folder of its own; the folder before it is kept aside until the next time.
fn begin_anew(past: &mut PastFolder, options: &StoreOptions, why: &str) -> Box<dyn Past> {
    tracing::warn!(
        why,
        "older values on this node cannot be trusted; they are put back from archive and log"
    );
    start_anew(past, options)
}

fn start_anew(past: &mut PastFolder, options: &StoreOptions) -> Box<dyn Past> {
    match renew_engine(past, options) {
        Ok(engine) => engine,
        Err(fault) => {
            tracing::warn!(%fault, "older values are kept in memory only until the next start");
            Box::new(MemoryPast::default())
        }
    }
}

/// An empty engine in a folder of its own.
pub(super) fn renew_engine(
    past: &mut PastFolder,
    options: &StoreOptions,
) -> Result<Box<dyn Past>, PastFault> {
    let old = past.rows();
    past.generation += 1;
    let rows = past.rows();
    let aside = past.dir.join("aside");
    // Best effort: what cannot be moved is in nobody's way.
    drop(fs::remove_dir_all(&aside));
    drop(fs::rename(&old, &aside));
    drop(fs::remove_dir_all(&rows));
    open_engine(options, &rows)
}

/// The values of an archive's past, one by one.
pub(super) fn refill(path: &Path) -> Refill {
    let reader = ArchiveReader::open(path).map_err(|error| error.to_string());
    match reader {
        Ok(mut reader) => Box::new(std::iter::from_fn(move || {
            loop {
                match reader.next() {
                    Ok(Some(Item::Row(_))) => {}
                    Ok(Some(Item::Past(row))) => return Some(Ok(row)),
                    Ok(None) => return None,
                    Err(error) => return Some(Err(error.to_string())),
                }
            }
        })),
        Err(why) => Box::new(std::iter::once(Err(why))),
    }
}

/// Starts the past anew from an archive that is being installed.
pub(super) fn restart_past(
    past: &mut PastFolder,
    keeper: &Keeper,
    options: &StoreOptions,
    archive: &Path,
    rows: u64,
) -> Result<(), ArchiveError> {
    let engine = start_anew(past, options);
    past.covered = 0;
    past.note(false)
        .map_err(|error| ArchiveError::io(&past.dir, "written", error))?;
    past.replaced += 1;
    keeper.replace(engine, refill(archive), rows);
    Ok(())
}
