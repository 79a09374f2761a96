//! Whose overrides count, as the cluster said last.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{Client, circuit::jittered};

/// The names of the administrators; `None`: the cluster never told.
pub(crate) struct Administrators {
    known: watch::Sender<Option<Arc<[String]>>>,
}

impl Administrators {
    pub(crate) fn unknown() -> Self {
        Self {
            known: watch::Sender::new(None),
        }
    }

    /// What was remembered counts until the cluster says something else.
    pub(crate) fn remember(&self, names: &[String]) {
        self.known.send_if_modified(|known| {
            let is_news = known.is_none() && !names.is_empty();
            if is_news {
                *known = Some(names.into());
            }
            is_news
        });
    }

    /// As the cluster says.
    #[cfg(test)]
    pub(crate) fn learn(&self, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        self.known.send_replace(Some(names.into()));
    }

    pub(crate) fn known(&self) -> Option<Arc<[String]>> {
        self.known.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<[String]>>> {
        self.known.subscribe()
    }

    /// Waits until they are known, but no longer than this.
    pub(crate) async fn until_known(&self, patience: Duration) {
        let mut known = self.known.subscribe();
        let waiting = known.wait_for(Option::is_some);
        drop(tokio::time::timeout(patience, waiting).await);
    }

    /// Asks the cluster again and again.
    pub(crate) async fn follow(self: Arc<Self>, client: Client) {
        loop {
            let pause = match client.fleet().administrators().await {
                Ok(names) => {
                    self.known.send_if_modified(|known| {
                        let is_news = known.as_deref() != Some(&names);
                        if is_news {
                            *known = Some(names.into());
                        }
                        is_news
                    });
                    REPEAT
                }
                Err(error) => {
                    tracing::debug!(%error, "who the administrators are is not known anew");
                    AGAIN
                }
            };
            tokio::time::sleep(pause / 2 + jittered(pause / 2, pause)).await;
        }
    }
}

const REPEAT: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(2);
