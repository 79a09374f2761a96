//! The cluster itself: its members, how they are, and who leads.

use std::{sync::Arc, time::Duration};

use holdfast_proto::{NodeId, Timestamp, v1};

use crate::{
    Client, ReadError, WriteError,
    attempt::Attempt,
    call::Answer,
    error::Failure,
    node::Node,
    reason::{Verdict, describe},
    removal::Removal,
    rotation::{Removed, Rotation},
};

/// What an operator does with the cluster. From [`Client::cluster`].
#[derive(Clone, Debug)]
pub struct ClusterClient {
    client: Client,
}

/// What a member is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Votes, and counts for the majority.
    Voter,
    /// Follows, and does not vote.
    Learner,
    /// Votes and keeps ciphertext, holds no key and takes no clients.
    Witness,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number, never reused.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// `HOST:PORT` for clients and peers.
    pub address: String,
    /// What it is for.
    pub role: Role,
    /// When it came, in cluster time.
    pub joined_at: Timestamp,
}

/// All members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// By id.
    pub members: Vec<Member>,
    /// Who leads; `None`: not known.
    pub leader: Option<NodeId>,
    /// Those that once were members, by id.
    pub removed: Vec<Member>,
}

/// How one member is, as the answering node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Who.
    pub member: Member,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it answered.
    pub reachable: bool,
    /// The last log index it applied.
    pub applied: u64,
    /// Entries behind the leader's last.
    pub lag: u64,
    /// Its newest revision.
    pub revision: u64,
    /// The hash of its state at `applied`.
    pub state_hash: Vec<u8>,
    /// The version of its program.
    pub version: String,
    /// What is wrong with it, in words; empty: nothing.
    pub problem: String,
    /// When its newest backup was made, in cluster time; `None`: it has none.
    pub backup_at: Option<Timestamp>,
}

/// A limit and how much of it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Of what.
    pub name: String,
    /// 0 where it is the size of one thing.
    pub used: u64,
    /// The most that is allowed.
    pub most: u64,
    /// Of both numbers.
    pub unit: String,
}

/// How the cluster is, as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The cluster, as the node names it.
    pub cluster: String,
    /// The node that answered.
    pub node: NodeId,
    /// Its term.
    pub term: u64,
    /// Its newest revision; 0: nothing was ever written.
    pub revision: u64,
    /// Who leads; `None`: not known.
    pub leader: Option<NodeId>,
    /// How each member is.
    pub members: Vec<MemberStatus>,
    /// Limits and what is used of them.
    pub limits: Vec<Limit>,
    /// Keys there are.
    pub keys: u64,
    /// History below this revision is compacted.
    pub compacted: u64,
    /// Leases there are.
    pub leases: u64,
    /// Bytes of state in memory.
    pub state_bytes: u64,
    /// Older versions kept on disk.
    pub past_rows: u64,
    /// How the past is: "ready", "rebuilding 42 %".
    pub past: String,
    /// First log index on disk.
    pub log_first: u64,
    /// Last log index on disk.
    pub log_last: u64,
    /// Log index of the newest archive.
    pub snapshot: u64,
    /// What is wrong, in words, worst first.
    pub problems: Vec<String>,
    /// Cluster time.
    pub cluster_time: Timestamp,
}

/// A token that lets one new node in.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// What to give to `kvd join --token`. A secret.
    pub token: String,
    /// When it stops working, in cluster time.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinToken")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// What an operator does with the cluster.
    pub fn cluster(&self) -> ClusterClient {
        ClusterClient {
            client: self.clone(),
        }
    }
}

impl ClusterClient {
    /// How the cluster is, as the first node to answer sees it. Needs no majority.
    pub async fn status(&self) -> Result<Status, ReadError> {
        let answer = self
            .client
            .call(self.client.reading(), |attempt| {
                let request = attempt.request(v1::StatusRequest { local: false });
                async move { attempt.cluster().status(request).await }
            })
            .await?;
        Ok(Status::from_wire(answer.message))
    }

    /// What one node knows of itself, without asking its peers. The endpoint is one of
    /// [`Client::endpoints`].
    pub async fn status_local(&self, endpoint: &str) -> Result<Status, ReadError> {
        let all = self.client.nodes().all();
        let node = all.iter().find(|node| node.address() == endpoint);
        let node = node.ok_or_else(|| ReadError::Invalid {
            message: format!("{endpoint} is not an endpoint of this cluster"),
        })?;
        self.ask_local(node).await
    }

    /// What each known node says of itself, all asked at once.
    pub async fn status_each(&self) -> Vec<(String, Result<Status, ReadError>)> {
        let nodes = self.client.nodes().all();
        let asking = nodes.iter().map(|node| async {
            let status = self.ask_local(node).await;
            (node.address().to_owned(), status)
        });
        futures::future::join_all(asking).await
    }

    async fn ask_local(&self, node: &Arc<Node>) -> Result<Status, ReadError> {
        let limit = self.client.options().attempt_timeout;
        let timeout = limit.min(self.client.timeout());
        let attempt = Attempt::new(node, timeout);
        let request = attempt.request(v1::StatusRequest { local: true });
        let mut cluster = attempt.cluster();
        let asked = tokio::time::timeout(timeout, cluster.status(request)).await;
        match asked {
            Ok(Ok(answer)) => Ok(Status::from_wire(answer.into_inner())),
            Ok(Err(status)) => Err(match node.judge(&status) {
                Verdict::Final => Failure::Refused(status),
                Verdict::Untrusted => Failure::Untrusted {
                    message: describe(&status),
                },
                _ => Failure::Unreachable {
                    waited: timeout,
                    last: describe(&status),
                },
            }
            .into()),
            Err(_) => Err(ReadError::Unreachable {
                waited: timeout,
                last: "no answer".to_owned(),
            }),
        }
    }

    /// The members.
    pub async fn member_list(&self) -> Result<Members, ReadError> {
        let answer = self
            .client
            .call(self.client.reading(), |attempt| {
                let request = attempt.request(v1::MemberListRequest {});
                async move { attempt.cluster().member_list(request).await }
            })
            .await?
            .message;
        self.client.nodes().learn_members(&answer);
        Ok(Members {
            members: answer.members.into_iter().map(Member::from_wire).collect(),
            leader: (answer.leader != 0).then_some(NodeId(answer.leader)),
            removed: answer.removed.into_iter().map(Member::from_wire).collect(),
        })
    }

    /// A token for one new node: of this role, within `ttl` (at most 7 days; zero: one hour), and
    /// only for a node of this name if one is given.
    pub async fn create_token(
        &self,
        role: Role,
        ttl: Duration,
        name: Option<&str>,
    ) -> Result<JoinToken, WriteError> {
        let write = self.client.begin_write();
        let request = v1::CreateTokenRequest {
            request: Some(write.id().into()),
            role: role.to_wire().into(),
            ttl_ms: ttl.as_millis() as u64,
            name: name.unwrap_or_default().to_owned(),
        };
        let answer = self
            .client
            .call(self.client.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.cluster().create_token(request).await }
            })
            .await?
            .message;
        Ok(JoinToken {
            token: answer.token,
            expires_at: Timestamp::from_millis(answer.expires_at_ms),
        })
    }

    /// Makes a learner a voter.
    pub async fn promote(&self, id: NodeId) -> Result<(), WriteError> {
        let write = self.client.begin_write();
        let request = v1::PromoteRequest {
            request: Some(write.id().into()),
            id: id.0,
        };
        self.change(|attempt| {
            let request = attempt.request(request.clone());
            async move { attempt.cluster().promote(request).await }
        })
        .await
        .map(drop)
    }

    /// Removes a member for good: its id never comes back.
    pub async fn remove(&self, id: NodeId) -> Result<Option<Removal>, WriteError> {
        let write = self.client.begin_write();
        let request = v1::RemoveRequest {
            request: Some(write.id().into()),
            id: id.0,
            compromised: false,
        };
        Ok(self.removed(request).await?.removal.map(Removal::from_wire))
    }

    /// The same for a member whose disk may be in wrong hands: the cluster's authority is rotated,
    /// too. Returns once every member that answers has a certificate of the next authority, which is
    /// trusted beside the old one until [`ClusterClient::retire_authority`]. May be asked again.
    pub async fn remove_compromised(&self, id: NodeId) -> Result<Removed, WriteError> {
        let write = self.client.begin_write();
        let request = v1::RemoveRequest {
            request: Some(write.id().into()),
            id: id.0,
            compromised: true,
        };
        let answer = self.removed(request).await?;
        Ok(Removed {
            removal: answer.removal.map(Removal::from_wire),
            rotation: Rotation::from_wire(answer.rotation.unwrap_or_default()),
        })
    }

    /// Ends a rotation: the authority before this generation is trusted no more. Refused unless this
    /// client shows a certificate of the new one. Returns when that was, in cluster time.
    pub async fn retire_authority(&self, generation: u64) -> Result<Timestamp, WriteError> {
        let write = self.client.begin_write();
        let request = v1::RetireAuthorityRequest {
            request: Some(write.id().into()),
            generation,
        };
        let answer = self
            .change(|attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.cluster().retire_authority(request).await }
            })
            .await?;
        Ok(Timestamp::from_millis(answer.message.retired_at_ms))
    }

    async fn removed(&self, request: v1::RemoveRequest) -> Result<v1::RemoveResponse, WriteError> {
        let answer = self
            .change(|attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.cluster().remove(request).await }
            })
            .await?;
        Ok(answer.message)
    }

    /// Hands leadership over; `None`: to whoever is most up to date. Returns who leads then.
    pub async fn transfer_leader(&self, to: Option<NodeId>) -> Result<NodeId, WriteError> {
        let request = v1::TransferLeaderRequest {
            to: to.map_or(0, |id| id.0),
        };
        let answer = self
            .change(|attempt| {
                let request = attempt.request(request);
                async move { attempt.cluster().transfer_leader(request).await }
            })
            .await?;
        Ok(NodeId(answer.message.leader))
    }

    /// A change of the membership or of the leader: it may take long, and asking twice at the same
    /// time gains nothing.
    async fn change<T, A, F>(&self, attempt: A) -> Result<Answer<T>, WriteError>
    where
        T: crate::call::Answered,
        A: Fn(Attempt) -> F,
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let mut call = self.client.writing();
        call.attempt_timeout = call.timeout;
        call.hedge = false;
        Ok(self.client.call(call, attempt).await?)
    }
}

impl Role {
    fn to_wire(self) -> v1::Role {
        match self {
            Self::Voter => v1::Role::Voter,
            Self::Learner => v1::Role::Learner,
            Self::Witness => v1::Role::Witness,
        }
    }
}

impl Member {
    pub(crate) fn from_wire(wire: v1::Member) -> Self {
        Self {
            id: NodeId(wire.id),
            role: match wire.role() {
                v1::Role::Learner => Role::Learner,
                v1::Role::Witness => Role::Witness,
                v1::Role::Voter | v1::Role::Unspecified => Role::Voter,
            },
            name: wire.name,
            address: wire.address,
            joined_at: Timestamp::from_millis(wire.joined_at_ms),
        }
    }
}

impl Status {
    fn from_wire(wire: v1::StatusResponse) -> Self {
        let header = wire.header.unwrap_or_default();
        Self {
            cluster: header.cluster,
            node: NodeId(header.member),
            term: header.term,
            revision: header.revision,
            leader: (wire.leader != 0).then_some(NodeId(wire.leader)),
            members: wire.members.into_iter().map(member_status).collect(),
            limits: wire.limits.into_iter().map(limit).collect(),
            keys: wire.keys,
            compacted: wire.compacted,
            leases: wire.leases,
            state_bytes: wire.state_bytes,
            past_rows: wire.past_rows,
            past: wire.past,
            log_first: wire.log_first,
            log_last: wire.log_last,
            snapshot: wire.snapshot,
            problems: wire.problems,
            cluster_time: Timestamp::from_millis(wire.cluster_time_ms),
        }
    }
}

fn member_status(wire: v1::MemberStatus) -> MemberStatus {
    MemberStatus {
        member: Member::from_wire(wire.member.unwrap_or_default()),
        leader: wire.leader,
        reachable: wire.reachable,
        applied: wire.applied,
        lag: wire.lag,
        revision: wire.revision,
        state_hash: wire.state_hash.to_vec(),
        version: wire.version,
        problem: wire.problem,
        backup_at: (wire.backup_at_ms != 0).then(|| Timestamp::from_millis(wire.backup_at_ms)),
    }
}

fn limit(wire: v1::Limit) -> Limit {
    Limit {
        name: wire.name,
        used: wire.used,
        most: wire.most,
        unit: wire.unit,
    }
}
