//! How a mirror begins: with what the cluster has, or with what was kept on this node's disk.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use holdfast_proto::KeyRange;
use tokio::sync::{oneshot, watch};

use super::{Mirror, Shared, Task, follower::Follower, keeper::Keeper};
use crate::{
    Client, MirrorOptions, MirrorReveal, ReadError, WatchError, WatchOptions, cache::Saved,
};

impl Client {
    /// Mirrors every key that begins with `prefix`. Returns once the mirror has all that was
    /// acknowledged before the call; without a majority, once it has what some node has, after this
    /// client's timeout.
    pub async fn mirror(&self, prefix: impl Into<Bytes>) -> Result<Mirror, ReadError> {
        self.mirror_with(prefix, MirrorOptions::default()).await
    }

    /// As [`Client::mirror`], with options. With [`MirrorOptions::reveal`] it returns once every
    /// secret under the prefix is open, and fails if one cannot be opened.
    pub async fn mirror_with(
        &self,
        prefix: impl Into<Bytes>,
        options: MirrorOptions,
    ) -> Result<Mirror, ReadError> {
        self.mirror_within(prefix, options, self.timeout()).await
    }

    /// The same, but waits no longer than this for the first state.
    pub(crate) async fn mirror_within(
        &self,
        prefix: impl Into<Bytes>,
        options: MirrorOptions,
        wait: Duration,
    ) -> Result<Mirror, ReadError> {
        let (mut mirror, problem) = self.begin_mirror(prefix, &options, Shared::new());
        mirror.until_current(problem, wait).await?;
        if let Some(opened) = mirror.keep_secrets(self, options.reveal) {
            // Each reveal has this client's deadline. Only a runtime that ends drops the task.
            opened.await.unwrap_or(Ok(()))?;
        }
        Ok(mirror)
    }

    /// A mirror that begins with what was saved, and waits for nobody.
    pub(crate) fn mirror_from(
        &self,
        prefix: impl Into<Bytes>,
        options: MirrorOptions,
        saved: &Saved,
    ) -> Mirror {
        let seeded = Shared {
            seeded_age: Some(saved.age()),
            ..Shared::new()
        };
        seeded.view.store(Arc::new(saved.view.clone()));
        seeded.secrets.store(Arc::new(saved.secrets.clone()));
        let (mut mirror, _) = self.begin_mirror(prefix, &options, seeded);
        drop(mirror.keep_secrets(self, options.reveal));
        mirror
    }

    fn begin_mirror(
        &self,
        prefix: impl Into<Bytes>,
        options: &MirrorOptions,
        shared: Shared,
    ) -> (Mirror, watch::Receiver<Option<Arc<WatchError>>>) {
        let shared = Arc::new(shared);
        let check = options.check.max(SHORTEST_CHECK);
        let watch = WatchOptions {
            snapshot: true,
            progress: check,
            ..WatchOptions::default()
        };
        let prefix = prefix.into();
        let follower = Follower::new(
            self.with_timeout(self.timeout().min(check * 2)),
            prefix.clone(),
            self.watch(KeyRange::prefix(prefix), watch),
            Arc::clone(&shared),
        );
        let problem = shared.problem.subscribe();
        let mirror = Mirror {
            _following: Arc::new(Task(tokio::spawn(follower.run(check)).abort_handle())),
            _keeping: None,
            shared,
        };
        (mirror, problem)
    }
}

impl Mirror {
    /// Waits until it has all that was acknowledged before; without a majority, what some node has.
    async fn until_current(
        &self,
        mut problem: watch::Receiver<Option<Arc<WatchError>>>,
        wait: Duration,
    ) -> Result<(), ReadError> {
        let mut reached = self.shared.reached.subscribe();
        let current = async {
            while self.age() == Duration::MAX && !self.shared.of_unknown_age.load(Ordering::Acquire)
            {
                tokio::select! {
                    _ = reached.changed() => {}
                    _ = problem.changed() => {
                        let problem = problem.borrow_and_update().clone();
                        if let (Some(problem), 0) = (problem, self.revision()) {
                            return Err(refused(&problem));
                        }
                    }
                }
            }
            Ok(())
        };
        match tokio::time::timeout(wait, current).await {
            Ok(current) => current,
            Err(_) if self.revision() > 0 => Ok(()),
            Err(_) => Err(ReadError::Unreachable {
                waited: wait,
                last: "the mirror did not get its first snapshot".to_owned(),
            }),
        }
    }

    /// Begins to open secrets, if it is told to; tells once how that went with what there is now.
    fn keep_secrets(
        &mut self,
        client: &Client,
        reveal: Option<MirrorReveal>,
    ) -> Option<oneshot::Receiver<Result<(), ReadError>>> {
        let keeper = Keeper::new(client.clone(), reveal?, Arc::clone(&self.shared));
        let (first, opened) = oneshot::channel();
        let keeping = tokio::spawn(keeper.run(first)).abort_handle();
        self._keeping = Some(Arc::new(Task(keeping)));
        Some(opened)
    }
}

/// Why a mirror has nothing to begin with.
fn refused(problem: &WatchError) -> ReadError {
    match problem {
        WatchError::Denied { message } => ReadError::Denied {
            message: message.clone(),
        },
        WatchError::Unauthorized { message } => ReadError::Unauthorized {
            message: message.clone(),
        },
        other => ReadError::Unauthorized {
            message: other.to_string(),
        },
    }
}

const SHORTEST_CHECK: Duration = Duration::from_millis(50);
