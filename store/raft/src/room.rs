//! Room on the disk. Consensus treats an append that fails as the end of the node, so nothing is
//! given to a log that has no room for it; reads go on, and writes do as soon as there is room.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

/// What the disk had room for a moment ago.
#[derive(Clone)]
pub(crate) struct Room(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    reserve_bytes: u64,
    free_bytes: AtomicU64,
}

/// Between two looks at the disk.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Room {
    pub(crate) fn new(dir: PathBuf, reserve_bytes: u64) -> Self {
        let room = Self(Arc::new(Inner {
            dir,
            reserve_bytes,
            free_bytes: AtomicU64::new(u64::MAX),
        }));
        room.look();
        room
    }

    /// Why nothing more may be written, if nothing may.
    pub(crate) fn lacking(&self) -> Option<String> {
        let free = self.0.free_bytes.load(Ordering::Relaxed);
        (free < self.0.reserve_bytes).then(|| {
            format!(
                "the disk of this node is full: {free} bytes are free and {} are kept in reserve; \
                 make room and writes go on by themselves",
                self.0.reserve_bytes
            )
        })
    }

    /// So much is about to be written; the next look at the disk sees it for itself.
    pub(crate) fn spend(&self, bytes: usize) {
        let spent = bytes as u64;
        let free = &self.0.free_bytes;
        let less = |now: u64| Some(now.saturating_sub(spent));
        // Never fails: `less` always has an answer.
        free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok();
    }

    /// Looks again and again.
    pub(crate) async fn keep_looking(self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look();
        }
    }

    fn look(&self) {
        let was_full = self.lacking().is_some();
        let Ok(disk) = rustix::fs::statvfs(&self.0.dir) else {
            // Whoever cannot be asked is not kept from writing: the log says so itself.
            return;
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        self.0.free_bytes.store(free, Ordering::Relaxed);
        match (was_full, self.lacking()) {
            (false, Some(why)) => tracing::warn!("{why}"),
            (true, None) => tracing::info!("the disk has room again: {free} bytes are free"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_to_be_written_is_no_longer_free() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room::new(dir.path().to_owned(), 1);
        assert_eq!(room.lacking(), None);
        room.spend(usize::MAX);
        assert!(room.lacking().is_some());
    }

    #[test]
    fn a_disk_with_less_than_the_reserve_refuses_and_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let plenty = Room::new(dir.path().to_owned(), 0);
        assert_eq!(plenty.lacking(), None);
        let none = Room::new(dir.path().to_owned(), u64::MAX);
        assert!(none.lacking().unwrap().contains("make room"));
    }
}
