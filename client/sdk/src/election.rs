//! Elections: one leader of a name at a time, with a value that all can see.

use holdfast_proto::{Key, Revision, Value, v1};
use tonic::{Status, Streaming};

use crate::{
    Client, Entry, Lease, LockError, LockOptions, ReadError, WatchError, WriteError,
    call::Attempt,
    entry::Unreadable,
    error::Failure,
    lock::{Contention, Hold, or_not_yet},
    node::{Route, jittered},
    reason::{self, Verdict, describe},
};

/// An election. From [`Client::election`].
#[derive(Clone, Debug)]
pub struct Election {
    client: Client,
    name: String,
}

/// An office that is held. Dropping it resigns in the background.
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
        let value = v1::Value::from(value.into());
        let lease = self.client.grant_lease(options.ttl).await?;
        let contention = Contention::new(lease, &self.name, options.wait);
        loop {
            let write = self.client.begin_write();
            let request = v1::CampaignRequest {
                request: Some(write.id().into()),
                name: self.name.clone(),
                lease: contention.lease.id().get(),
                value: Some(value.clone()),
            };
            let asked = self.client.call(contention.call(&self.client), |attempt| {
                let request = attempt.request(request.clone());
                async move { or_not_yet(attempt.lock().campaign(request).await) }
            });
            let answer = tokio::select! {
                answer = asked => answer,
                () = contention.lease.lost() => {
                    return Err(LockError::Lost { name: self.name.clone() });
                }
            };
            if let Some(answer) = contention.take_in(answer)?
                && answer.token != 0
            {
                let name = self.name.clone();
                let hold = contention.won(&self.client, name, answer.token, answer.key)?;
                return Ok(Leadership { hold });
            }
            contention.check(true)?;
        }
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
    /// The fencing token: strictly rising from leader to leader.
    pub fn token(&self) -> Revision {
        self.hold.token
    }

    /// The key that stands for this office.
    pub fn key(&self) -> &Key {
        &self.hold.key
    }

    /// The lease behind it.
    pub fn lease(&self) -> &Lease {
        &self.hold.lease
    }

    /// Whether the office is surely held now.
    pub fn is_held(&self) -> bool {
        self.hold.lease.is_alive()
    }

    /// Returns when the office is lost.
    pub async fn lost(&self) {
        self.hold.lease.lost().await;
    }

    /// Shows observers another value. Returns its revision.
    pub async fn proclaim(&self, value: impl Into<Value>) -> Result<Revision, WriteError> {
        let client = &self.hold.client;
        let write = client.begin_write();
        let request = v1::ProclaimRequest {
            request: Some(write.id().into()),
            name: self.hold.name.clone(),
            lease: self.hold.lease.id().get(),
            token: self.hold.token.get(),
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
    pub async fn resign(mut self) -> Result<(), LockError> {
        let write = self.hold.client.begin_write();
        let request = self.hold.release_request(write.id().into());
        let answer = self
            .hold
            .client
            .call(self.hold.client.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.lock().resign(request).await }
            })
            .await
            .map_err(WriteError::from)?;
        self.hold.let_go(answer.message.released)
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
            let node = client.nodes().pick(Route::Spread, &[]).ok_or_else(ended)?;
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
                    client.nodes().failed(&node);
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

const FIRST_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
const LONGEST_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
