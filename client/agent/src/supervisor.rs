//! A task for each set: what is wrong with one harms no other.

use std::{path::Path, sync::Arc, time::Duration};

use holdfast_client::Place;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    failure::chain,
    keeper::Keeper,
    set::RecordFile,
    settings::SetSettings,
    source::Sources,
    status::{SetStatus, Statuses},
};

/// Keeps sets.
pub(crate) struct Supervisor {
    pub(crate) state: Arc<Path>,
    pub(crate) place: Place,
    pub(crate) sources: Arc<Sources>,
    pub(crate) statuses: Statuses,
}

impl Supervisor {
    /// Keeps them until it is told to end.
    pub(crate) async fn run(self, sets: Vec<Arc<SetSettings>>, stop: watch::Receiver<bool>) {
        let this = Arc::new(self);
        let mut tasks = JoinSet::new();
        for set in sets {
            tasks.spawn(Arc::clone(&this).keep(set, stop.clone()));
        }
        tasks.join_all().await;
    }

    /// Keeps one, and begins anew should that end in a panic.
    async fn keep(self: Arc<Self>, set: Arc<SetSettings>, mut stop: watch::Receiver<bool>) {
        loop {
            match self.keeper(&set) {
                Ok(keeper) => {
                    let keeping = tokio::spawn(keeper.run(stop.clone()));
                    if keeping.await.is_ok() {
                        return;
                    }
                    tracing::error!(set = %set.name, "keeping a set ended in a panic; it begins anew");
                }
                Err(why) => {
                    tracing::warn!(set = %set.name, why, "a set cannot be kept");
                    let status = SetStatus {
                        prefixes: set.prefixes.clone(),
                        problem: Some(why),
                        ..SetStatus::default()
                    };
                    self.statuses.say(set.name.as_str(), status);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// The keeper of a set, if no other process has one.
    pub(crate) fn keeper(&self, set: &Arc<SetSettings>) -> Result<Keeper, String> {
        let file = RecordFile::open(&self.state, &set.name).map_err(|error| chain(&error))?;
        Ok(Keeper::new(
            Arc::clone(set),
            self.place.clone(),
            Arc::clone(&self.sources),
            file,
            self.statuses.clone(),
        ))
    }
}

const AGAIN: Duration = Duration::from_secs(5);
