//! Elections: one leader of a name at a time, with a value that all can see.

use std::{
    ops::Deref,
    time::{Duration, Instant},
};

use bytes::Bytes;
use holdfast_proto::{Revision, Value, v1};
use tonic::{Status, Streaming};

use crate::{
    Client, Entry, Hold, LockError, LockOptions, ReadError, WatchError, WriteError,
    attempt::Attempt,
    circuit::jittered,
    entry::Unreadable,
    error::Failure,
    hold::{Claim, Granting},
    node::{Needs, Route},
    reason::{self, Verdict, describe},
};

/// An election. From [`Client::election`].
#[derive(Clone, Debug)]
pub struct Election {
    client: Client,
    name: String,
}

/// An office that is held; see [`Hold`]. Dropping it resigns in the background.
#[derive(Debug)]
pub struct Leadership {
    hold: Hold,
}

/// Tells each leader of an election. From [`Election::observe`].
pub struct Observer {
    election: Election,
    answers: Option<Streaming<v1::LeaderResponse>>,
    /// The version that was delivered last: `None` before the first answer.
    seen: Option<Option<Revision>>,
    failures: u32,
}

impl Client {
    /// The election of this name.
    pub fn election(&self, name: impl Into<String>) -> Election {
        Election {
            client: self.clone(),
            name: name.into(),
        }
    }
}

impl Election {
    /// Runs for leader with a value that observers see; waits as long as `options.wait` allows.
    pub async fn campaign(
        &self,
        value: impl Into<Value>,
        options: LockOptions,
    ) -> Result<Leadership, LockError> {
        // A campaign always waits in line; who does not want to looks first.
        if options.wait == Some(Duration::ZERO) && matches!(self.leader().await, Ok(Some(_))) {
            return Err(LockError::Held {
                name: self.name.clone(),
                waited: Duration::ZERO,
            });
        }
        let value = v1::Value::from(value.into());
        let campaign = |claim: Claim| v1::CampaignRequest {
            request: Some(claim.request),
            name: claim.name,
            lease: claim.lease,
            value: Some(value.clone()),
        };
        let hold = self
            .client
            .hold(
                &self.name,
                options,
                campaign,
                |attempt, request| async move { attempt.lock().campaign(request).await },
            )
            .await?;
        Ok(Leadership { hold })
    }

    /// Who leads now; `created` of the entry is the token. `None`: nobody.
    pub async fn leader(&self) -> Result<Option<Entry>, ReadError> {
        let request = v1::LeaderRequest {
            name: self.name.clone(),
        };
        let answer = self
            .client
            .call(self.client.reading(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.lock().leader(request).await }
            })
            .await?;
        Ok(answer.message.leader.map(Entry::from_wire).transpose()?)
    }

    /// Tells the leader now and each one after it.
    pub fn observe(&self) -> Observer {
        Observer {
            election: self.clone(),
            answers: None,
            seen: None,
            failures: 0,
        }
    }
}

impl Leadership {
    /// Shows observers another value. Returns its revision.
    pub async fn proclaim(&self, value: impl Into<Value>) -> Result<Revision, WriteError> {
        let client = self.hold.client();
        let write = client.begin_write();
        let request = v1::ProclaimRequest {
            request: Some(write.id().into()),
            name: self.name().to_owned(),
            lease: self.lease().id().get(),
            token: self.token().get(),
            value: Some(value.into().into()),
        };
        let answer = client
            .call(client.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.lock().proclaim(request).await }
            })
            .await?;
        Ok(Revision::new(answer.message.revision).ok_or(Unreadable("revision"))?)
    }

    /// Gives the office up. [`LockError::Lost`]: it was lost before.
    pub async fn resign(self) -> Result<(), LockError> {
        self.hold
            .give_back(|attempt, request| async move { attempt.lock().resign(request).await })
            .await
    }
}

impl Deref for Leadership {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        &self.hold
    }
}

impl Granting for v1::CampaignResponse {
    fn won(self) -> Option<(u64, Bytes)> {
        (self.token != 0).then_some((self.token, self.key))
    }
}

impl Observer {
    /// The next leader, or the next value of the same one; `None`: nobody leads. Waits over any
    /// number of lost connections; cancel safe.
    pub async fn next(&mut self) -> Result<Option<Entry>, WatchError> {
        loop {
            let answer = match self.receive().await {
                Ok(answer) => answer,
                Err(status) => {
                    self.recover(status).await?;
                    continue;
                }
            };
            self.failures = 0;
            let leader = answer.leader.map(Entry::from_wire).transpose();
            let leader = leader.map_err(|error| WatchError::Invalid {
                message: error.to_string(),
            })?;
            let version = leader.as_ref().map(|entry| entry.modified);
            // A new connection begins with what may have been seen already.
            if self.seen != Some(version) {
                self.seen = Some(version);
                return Ok(leader);
            }
        }
    }

    async fn receive(&mut self) -> Result<v1::LeaderResponse, Status> {
        let ended = || Status::unavailable("the server ended the observation");
        if self.answers.is_none() {
            let client = &self.election.client;
            let nodes = client.nodes();
            let node = nodes.pick(Route::Spread, Needs::Majority, None);
            let node = node.ok_or_else(ended)?;
            let asked_at = Instant::now();
            let limit = client.options().attempt_timeout;
            let mut lock = Attempt::new(&node, limit).lock();
            let request = v1::LeaderRequest {
                name: self.election.name.clone(),
            };
            let answered = tokio::time::timeout(limit, lock.observe(request)).await;
            let answered = answered.unwrap_or_else(|_| Err(Status::unavailable("no answer")));
            match answered {
                Ok(answers) => self.answers = Some(answers.into_inner()),
                Err(status) => {
                    nodes.unreachable(&node, asked_at);
                    return Err(status);
                }
            }
        }
        match &mut self.answers {
            Some(answers) => answers.message().await?.ok_or_else(ended),
            None => Err(ended()),
        }
    }

    async fn recover(&mut self, status: Status) -> Result<(), WatchError> {
        self.answers = None;
        self.failures += 1;
        let nodes = self.election.client.nodes().len() as u32;
        match reason::judge(&status) {
            Verdict::Final => return Err(Failure::Refused(status).into()),
            Verdict::Untrusted if self.failures >= nodes => {
                let message = describe(&status);
                return Err(WatchError::Unauthorized { message });
            }
            _ => {}
        }
        let pause = FIRST_PAUSE * 2u32.pow(self.failures.min(6));
        tokio::time::sleep(jittered(pause, LONGEST_PAUSE)).await;
        Ok(())
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer")
            .field("election", &self.election.name)
            .finish_non_exhaustive()
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
