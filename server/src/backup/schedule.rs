//! Backups that are made by themselves: by the leader, when its newest is older than the interval.
//!
//! A node that comes to lead goes by what is in its own folder, so that after a change of the leader
//! there may be one more than was due, never one less.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use holdfast_core::State;

use super::{BackupError, Backups, making::blocking};
use crate::host::Host;

/// Runs until the node stops.
pub(crate) async fn run(host: Arc<Host>, backups: Arc<Backups>) {
    let looking = backups.clone();
    if let Err(error) = blocking(move || looking.look()).await {
        tracing::warn!(%error, "the backups that are there cannot be read");
    }
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
                    backups.set_problem(String::new());
                    wait
                }
                Err(error) => {
                    tracing::warn!(%error, "a backup that was due is not there; it will be tried again");
                    backups.set_problem(format!(
                        "the backup that was due was not made: {}",
                        error.told()
                    ));
                    RETRY.min(every)
                }
            }
        } else {
            // Whoever leads now says what is wrong.
            backups.set_problem(String::new());
            LOOK.min(every)
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
    backups: &Arc<Backups>,
    every: Duration,
    keep: usize,
) -> Result<Duration, BackupError> {
    if host.read(State::revision) == 0 {
        // An empty backup would put off the first one that is of use.
        return Ok(LOOK.min(every));
    }
    let folder = backups.folder().clone();
    let newest = blocking(move || {
        let own = folder.own()?.into_iter();
        let scheduled = own.filter(|backup| backup.header().scheduled);
        Ok(scheduled.map(|backup| backup.header().at_ms).max())
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
    let in_folder = backups.clone();
    let pruned = blocking(move || {
        let pruned = in_folder.folder().prune(keep)?;
        in_folder.look()?;
        Ok(pruned)
    })
    .await?;
    tracing::info!(path = %path.display(), pruned, "a backup was made");
    Ok(every)
}

/// Between two looks at whether this node leads, and at whether there is anything to keep.
const LOOK: Duration = Duration::from_secs(60);
/// After one that failed, or sooner if they are made more often than that.
const RETRY: Duration = Duration::from_secs(60);
