//! The audit log: who revealed what, and who did what to the cluster.

use std::{sync::Arc, time::Instant};

use holdfast_proto::{NodeId, Timestamp, v1};
use tonic::{Status, Streaming};

use crate::{
    Client, ReadError,
    attempt::Attempt,
    circuit::jittered,
    error::Failure,
    node::{Needs, Node, Route},
    reason::{Verdict, describe},
};

/// Reads and checks the nodes' audit logs. From [`Client::audit`].
#[derive(Clone, Debug)]
pub struct AuditClient {
    client: Client,
}

/// One recorded act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Whose log it stands in.
    pub member: NodeId,
    /// 1, 2, 3 … of that member.
    pub sequence: u64,
    /// By that member's clock.
    pub at: Timestamp,
    /// `client/NAME`, `node/NAME` or `nobody`; empty: the log speaks of itself.
    pub identity: String,
    /// The method's full name; `audit/…`: the log speaks of itself.
    pub act: String,
    /// A key, or in words.
    pub target: Vec<u8>,
    /// Of the version that is concerned; 0: none.
    pub revision: u64,
    /// Whether it was let happen; `None`: nobody asked for anything.
    pub allowed: Option<bool>,
    /// Which rule decided.
    pub rule: String,
    /// As the caller gave it.
    pub reason: String,
    /// `SESSION:SEQUENCE` of a write.
    pub request: String,
    /// Where the caller connected from; empty: the node's own process.
    pub address: String,
    /// Denied attempts before it that were too many to record.
    pub unrecorded: u64,
}

/// Which records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditFrom {
    /// All that are kept.
    #[default]
    Oldest,
    /// From this one on.
    Sequence(u64),
    /// So many of the newest.
    Last(u64),
}

/// What a member's audit log turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// Whose.
    pub member: NodeId,
    /// Its name.
    pub name: String,
    /// The oldest record that is kept; 0: there is none.
    pub first: u64,
    /// The newest.
    pub last: u64,
    /// The chain's hash after it.
    pub head: Vec<u8>,
    /// Records that were checked.
    pub records: u64,
    /// Files that were checked.
    pub segments: u64,
    /// Anchors that match.
    pub anchors: u64,
    /// The newest record that is anchored; 0: none is.
    pub anchored: u64,
    /// What is wrong; empty: nothing.
    pub damages: Vec<AuditDamage>,
    /// Why it could not be looked at; empty: it was.
    pub unchecked: String,
}

/// One thing that is wrong with an audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditDamage {
    /// `truncated`, `edited`, `missing`, `newer`, `unreadable`.
    pub kind: &'static str,
    /// The first record that is concerned.
    pub sequence: u64,
    /// In which file; empty: in none.
    pub segment: String,
    /// In words.
    pub message: String,
}

/// Records as they come. Goes on behind the last one when servers come and go.
pub struct AuditTail {
    client: Client,
    request: v1::AuditTailRequest,
    stream: Option<(Arc<Node>, Streaming<v1::AuditTailResponse>)>,
    failing_since: Option<Instant>,
}

impl Client {
    /// Reads and checks the nodes' audit logs.
    pub fn audit(&self) -> AuditClient {
        AuditClient {
            client: self.clone(),
        }
    }
}

impl AuditClient {
    /// The records of one member; with `follow` also those that are still to come.
    pub fn tail(&self, member: NodeId, from: AuditFrom, follow: bool) -> AuditTail {
        let (from, last) = match from {
            AuditFrom::Oldest => (0, 0),
            AuditFrom::Sequence(from) => (from, 0),
            AuditFrom::Last(last) => (0, last),
        };
        AuditTail {
            client: self.client.clone(),
            request: v1::AuditTailRequest {
                member: member.0,
                from,
                follow,
                last,
            },
            stream: None,
            failing_since: None,
        }
    }

    /// Whether the log of a member (`None`: of each) is whole, and is the one that was anchored.
    pub async fn verify(&self, member: Option<NodeId>) -> Result<Vec<AuditReport>, ReadError> {
        let mut call = self.client.reading();
        // Chains of some hundred MiB may have to go from node to node.
        call.attempt_timeout = call.timeout;
        call.hedge = false;
        let answer = self
            .client
            .call(call, |attempt| {
                let request = attempt.request(v1::AuditVerifyRequest {
                    member: member.map_or(0, |member| member.0),
                });
                async move { attempt.audit().verify(request).await }
            })
            .await?;
        let reports = answer.message.reports.into_iter();
        Ok(reports.map(AuditReport::from_wire).collect())
    }
}

impl AuditTail {
    /// The next records; `None`: there are no more, and none are waited for.
    pub async fn next(&mut self) -> Result<Option<Vec<AuditRecord>>, ReadError> {
        loop {
            match self.receive().await {
                Ok(None) => return Ok(None),
                Ok(Some(answer)) => {
                    self.failing_since = None;
                    let member = NodeId(answer.member);
                    if let Some(last) = answer.records.last() {
                        (self.request.from, self.request.last) = (last.sequence + 1, 0);
                    }
                    let records = answer.records.into_iter();
                    let records: Vec<_> = records
                        .map(|record| AuditRecord::from_wire(member, record))
                        .collect();
                    return Ok(Some(records));
                }
                Err(status) => self.recover(status).await?,
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<v1::AuditTailResponse>, Status> {
        if self.stream.is_none() {
            let nodes = self.client.nodes();
            let node = nodes
                .pick(Route::Spread, Needs::Node, None)
                .ok_or_else(|| Status::unavailable("there is no node to ask"))?;
            let limit = self.client.options().attempt_timeout;
            let mut audit = Attempt::new(&node, limit).audit();
            // No time limit in the request: it would end the stream.
            let opening = audit.tail(self.request);
            let stream = tokio::time::timeout(limit, opening)
                .await
                .unwrap_or_else(|_| Err(Status::unavailable(format!("silent for {limit:?}"))));
            let stream = match stream {
                Ok(stream) => stream.into_inner(),
                Err(status) => {
                    nodes.unreachable(&node, Instant::now());
                    return Err(status);
                }
            };
            nodes.answered(&node, Needs::Node);
            self.stream = Some((node, stream));
        }
        match &mut self.stream {
            Some((_, stream)) => stream.message().await,
            None => Ok(None),
        }
    }

    /// Waits a little and tries elsewhere, unless that is of no use.
    async fn recover(&mut self, status: Status) -> Result<(), ReadError> {
        let node = self.stream.take().map(|(node, _)| node);
        let verdict = match &node {
            Some(node) => node.judge(&status),
            None => crate::reason::judge(&status),
        };
        match verdict {
            Verdict::Final => return Err(Failure::Refused(status).into()),
            Verdict::Untrusted => {
                let message = describe(&status);
                return Err(Failure::Untrusted { message }.into());
            }
            _ => {}
        }
        let waited = self
            .failing_since
            .get_or_insert_with(Instant::now)
            .elapsed();
        if waited > self.client.timeout() {
            let last = describe(&status);
            return Err(Failure::Unreachable { waited, last }.into());
        }
        tokio::time::sleep(jittered(PAUSE, PAUSE)).await;
        Ok(())
    }
}

impl AuditRecord {
    fn from_wire(member: NodeId, wire: v1::AuditRecord) -> Self {
        Self {
            member,
            allowed: match wire.decision() {
                v1::AuditDecision::Allowed => Some(true),
                v1::AuditDecision::Denied => Some(false),
                v1::AuditDecision::Unspecified => None,
            },
            sequence: wire.sequence,
            at: Timestamp::from_millis(wire.at_ms),
            identity: wire.identity,
            act: wire.act,
            target: wire.target.to_vec(),
            revision: wire.revision,
            rule: wire.rule,
            reason: wire.reason,
            request: wire.request,
            address: wire.address,
            unrecorded: wire.unrecorded,
        }
    }
}

impl AuditReport {
    fn from_wire(wire: v1::AuditReport) -> Self {
        Self {
            member: NodeId(wire.member),
            name: wire.name,
            first: wire.first,
            last: wire.last,
            head: wire.head.to_vec(),
            records: wire.records,
            segments: wire.segments,
            anchors: wire.anchors,
            anchored: wire.anchored,
            damages: wire.damages.into_iter().map(damage).collect(),
            unchecked: wire.unchecked,
        }
    }

    /// Whether it was looked at, and nothing is wrong with it.
    pub fn is_whole(&self) -> bool {
        self.damages.is_empty() && self.unchecked.is_empty()
    }
}

fn damage(wire: v1::AuditDamage) -> AuditDamage {
    use v1::audit_damage::Kind;
    AuditDamage {
        kind: match wire.kind() {
            Kind::Truncated => "truncated",
            Kind::Edited => "edited",
            Kind::Missing => "missing",
            Kind::Newer => "newer",
            Kind::Unreadable => "unreadable",
            Kind::Unspecified => "damaged",
        },
        sequence: wire.sequence,
        segment: wire.segment,
        message: wire.message,
    }
}

const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);
