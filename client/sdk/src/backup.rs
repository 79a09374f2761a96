//! Backups: made, listed, checked and fetched. A cluster is not restored from here: `kvd restore` makes
//! a new one.

use std::time::Duration;

use bytes::Bytes;
use holdfast_proto::{NodeId, Timestamp, v1};
use tonic::Streaming;

use crate::{
    Client, ReadError, WriteError,
    attempt::Attempt,
    call::{Answer, Answered, Call},
    error::Failure,
    node::{Needs, Route},
    reason::{Verdict, describe},
};

/// What is done with backups. From [`Client::backups`].
#[derive(Clone, Debug)]
pub struct BackupClient {
    client: Client,
}

/// One backup, as its head describes it. Only [`BackupClient::verify`] says whether that is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFile {
    /// The member whose folder it is in.
    pub member: NodeId,
    /// That member's name.
    pub member_name: String,
    /// The name of the file.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// When it was made, in cluster time.
    pub at: Timestamp,
    /// The last log index in it.
    pub index: u64,
    /// The newest revision in it; 0: nothing was ever written.
    pub revision: u64,
    /// Keys in it.
    pub keys: u64,
    /// Whether it takes a key to read it.
    pub sealed: bool,
    /// Whether it was made by itself; else somebody asked for it.
    pub scheduled: bool,
    /// The newest epoch of the keyring in it; 0: there is none.
    pub epoch: u64,
    /// The hash of the state in it.
    pub state_hash: Vec<u8>,
    /// The cluster that made it.
    pub cluster: String,
    /// Why its head cannot be read, in words; empty: it can.
    pub problem: String,
}

/// All backups that are known of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backups {
    /// The id of this cluster: those of another are from before it was restored.
    pub cluster: String,
    /// The newest first.
    pub backups: Vec<BackupFile>,
    /// Members that did not answer, in words.
    pub problems: Vec<String>,
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeBackup {
    /// The file.
    pub backup: BackupFile,
    /// How long it took.
    pub took: Duration,
}

/// A backup that was looked through, and is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedBackup {
    /// The file.
    pub backup: BackupFile,
    /// Keys that are in it.
    pub keys: u64,
    /// Older values that are in it.
    pub past_rows: u64,
    /// The hash of what was read, or restored: the same as the head's.
    pub state_hash: Vec<u8>,
    /// How long it took.
    pub took: Duration,
}

/// A backup on its way here. One whose bytes are fewer than [`BackupFile::bytes`] is not whole.
#[derive(Debug)]
pub struct FetchedBackup {
    stream: Streaming<v1::BackupPart>,
}

impl Client {
    /// What is done with backups.
    pub fn backups(&self) -> BackupClient {
        BackupClient {
            client: self.clone(),
        }
    }
}

impl BackupClient {
    /// Makes one now, in the folder of this member (`None`: of the one that is asked). After
    /// [`WriteError::Unknown`] it may be there: [`BackupClient::list`] tells.
    pub async fn create(&self, member: Option<NodeId>) -> Result<MadeBackup, WriteError> {
        let request = v1::CreateBackupRequest {
            member: member.map_or(0, |member| member.0),
        };
        let answer = self
            .call(self.client.writing(), |attempt| {
                let request = attempt.request(request);
                async move { attempt.backup().create(request).await }
            })
            .await?
            .message;
        Ok(MadeBackup {
            backup: BackupFile::from_wire(answer.backup.unwrap_or_default()),
            took: Duration::from_millis(answer.took_ms),
        })
    }

    /// Those of all members that answer.
    pub async fn list(&self) -> Result<Backups, ReadError> {
        let answer = self
            .client
            .call(self.client.reading(), |attempt| {
                let request = attempt.request(v1::ListBackupsRequest {});
                async move { attempt.backup().list(request).await }
            })
            .await?
            .message;
        Ok(Backups {
            cluster: answer.header.unwrap_or_default().cluster,
            backups: answer
                .backups
                .into_iter()
                .map(BackupFile::from_wire)
                .collect(),
            problems: answer.problems,
        })
    }

    /// Has a member check one of its backups: its signature, every byte of it, and that its rows make
    /// the state that its head promises. As a drill it is also restored into a scratch folder there.
    /// Takes the memory of the state once more on that member.
    pub async fn verify(
        &self,
        member: NodeId,
        name: &str,
        drill: bool,
    ) -> Result<VerifiedBackup, ReadError> {
        let request = v1::VerifyBackupRequest {
            member: member.0,
            name: name.to_owned(),
            drill,
        };
        let answer = self
            .call(self.client.reading(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.backup().verify(request).await }
            })
            .await?
            .message;
        Ok(VerifiedBackup {
            backup: BackupFile::from_wire(answer.backup.unwrap_or_default()),
            keys: answer.keys,
            past_rows: answer.past_rows,
            state_hash: answer.state_hash.to_vec(),
            took: Duration::from_millis(answer.took_ms),
        })
    }

    /// Begins to fetch one of a member's backups, through whichever node answers.
    pub async fn fetch(&self, member: NodeId, name: &str) -> Result<FetchedBackup, ReadError> {
        let request = v1::FetchBackupRequest {
            member: member.0,
            name: name.to_owned(),
        };
        let nodes = self.client.nodes();
        let limit = self.client.options().attempt_timeout;
        let mut last = String::from("there is no node to ask");
        let begun = std::time::Instant::now();
        for _ in 0..nodes.len() {
            let Some(node) = nodes.pick(Route::Spread, Needs::Node, None) else {
                break;
            };
            let mut backup = Attempt::new(&node, limit).backup();
            // No time limit in the request: it would end the stream.
            let opened = tokio::time::timeout(limit, backup.fetch(request.clone())).await;
            let status = match opened {
                Ok(Ok(stream)) => {
                    nodes.answered(&node, Needs::Node);
                    let stream = stream.into_inner();
                    return Ok(FetchedBackup { stream });
                }
                Ok(Err(status)) => status,
                Err(_) => tonic::Status::unavailable(format!("silent for {limit:?}")),
            };
            match node.judge(&status) {
                Verdict::Final => return Err(Failure::Refused(status).into()),
                Verdict::Untrusted => {
                    let message = describe(&status);
                    return Err(Failure::Untrusted { message }.into());
                }
                _ => nodes.unreachable(&node, begun),
            }
            last = format!("{}: {}", node.address(), describe(&status));
        }
        let waited = begun.elapsed();
        Err(Failure::Unreachable { waited, last }.into())
    }

    /// A call that may take long: the time limit is that of the largest state, and asking a second
    /// node at the same time gains nothing.
    async fn call<T, A, F>(&self, mut call: Call, attempt: A) -> Result<Answer<T>, Failure>
    where
        T: Answered,
        A: Fn(Attempt) -> F,
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        call.timeout = call.timeout.max(LONG);
        call.attempt_timeout = call.timeout;
        call.hedge = false;
        self.client.call(call, attempt).await
    }
}

impl FetchedBackup {
    /// The next bytes; `None`: that was all that came.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        match self.stream.message().await {
            Ok(part) => Ok(part.map(|part| part.data)),
            Err(status) => Err(Failure::Refused(status).into()),
        }
    }
}

impl BackupFile {
    fn from_wire(wire: v1::BackupFile) -> Self {
        Self {
            member: NodeId(wire.member),
            member_name: wire.member_name,
            name: wire.name,
            bytes: wire.bytes,
            at: Timestamp::from_millis(wire.at_ms),
            index: wire.index,
            revision: wire.revision,
            keys: wire.keys,
            sealed: wire.sealed,
            scheduled: wire.scheduled,
            epoch: wire.epoch,
            state_hash: wire.state_hash.to_vec(),
            cluster: wire.cluster_id,
            problem: wire.problem,
        }
    }
}

/// For a state of the largest size, on a slow disk.
const LONG: Duration = Duration::from_secs(600);
