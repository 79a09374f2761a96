//! Backups that are made by themselves: by the leader, when its newest is older than the interval.
//!
//! A node that comes to lead goes by what is in its own folder, so that after a change of the leader
//! there may be one more than was due, never one less.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{BackupError, Backups};
use crate::host::Host;

/// Runs until the node stops.
pub(crate) async fn run(host: Arc<Host>, backups: Arc<Backups>) {
    let settings = backups.dir().configuration().backup.clone();
    let Some(every) = settings.every() else {
        return;
    };
    let mut leaderships = host.replica.leadership();
    loop {
        let leads = leaderships.borrow_and_update().is_self_ready && host.founded().is_ok();
        let wait = if leads {
            match make_if_due(&host, &backups, every, settings.keep).await {
                Ok(wait) => {
                    backups.set_problem(None);
                    wait
                }
                Err(error) => {
                    tracing::warn!(%error, "a backup that was due is not there; it will be tried again");
                    backups.set_problem(Some(format!(
                        "the last backup that was due failed: {error}"
                    )));
                    RETRY
                }
            }
        } else {
            // Whoever leads now says what is wrong.
            backups.set_problem(None);
            LOOK
        };
        tokio::select! {
            changed = leaderships.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
            () = host.closing.cancelled() => return,
        }
    }
}

/// Returns how long it is until the next one is due.
async fn make_if_due(
    host: &Host,
    backups: &Backups,
    every: Duration,
    keep: usize,
) -> Result<Duration, BackupError> {
    let folder = backups.folder();
    let in_folder = folder.clone();
    let newest = blocking(move || {
        let listed = in_folder.list()?;
        let times = listed.iter().filter_map(|listed| {
            let header = listed.read.as_ref().ok()?.header();
            header.scheduled.then_some(header.at_ms)
        });
        Ok(times.max())
    })
    .await?;
    // A clock that went back must not put backups off.
    let age = newest.and_then(|at_ms| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms);
        host.now().duration_since(at).ok()
    });
    if let Some(age) = age.filter(|age| *age < every) {
        return Ok(every - age);
    }
    let path = backups.make(host, true).await?;
    let pruned = blocking(move || folder.prune(keep)).await?;
    tracing::info!(path = %path.display(), pruned, "a backup was made");
    Ok(every)
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, BackupError> + Send + 'static,
) -> Result<R, BackupError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| BackupError::Thread(error.to_string()))?
}

/// Between two looks at whether this node leads.
const LOOK: Duration = Duration::from_secs(60);
/// After one that failed.
const RETRY: Duration = Duration::from_secs(60);
