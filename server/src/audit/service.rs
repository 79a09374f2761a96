//! `holdfast.v1.Audit`, and what a node gives other nodes of its audit log.

use std::{pin::Pin, sync::Arc, time::Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use holdfast_core::State;
use holdfast_proto::{
    NodeId,
    peer::v1::{AuditChainPart, AuditChainRequest, audit_chain_part::Part},
    v1::{self, AuditReport, audit_server},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    format::Hash,
    read::{self, Tail},
    segment,
    verify::Checker,
};
use crate::{
    deadline,
    host::Host,
    kv::on_blocking_thread,
    peers::request_until,
    status::{Reason, invalid},
};

/// `holdfast.v1.Audit` of one node.
pub(crate) struct AuditService {
    host: Arc<Host>,
}

impl AuditService {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self { host }
    }
}

/// Records as they are streamed.
pub(crate) type Records = Pin<Box<dyn Stream<Item = Result<v1::AuditTailResponse, Status>> + Send>>;

#[tonic::async_trait]
impl audit_server::Audit for AuditService {
    type TailStream = Records;

    async fn tail(
        &self,
        request: Request<v1::AuditTailRequest>,
    ) -> Result<Response<Records>, Status> {
        let request = request.into_inner();
        let member = NodeId(request.member);
        if request.member == 0 || member == self.host.id {
            return Ok(Response::new(tail(&self.host, &request)?));
        }
        let mut peer = self.host.peers.client(&self.peer(member)?)?;
        let there = peer.audit_tail(request).await?.into_inner();
        let closing = self.host.closing.clone();
        let records = there.take_until(closing.cancelled_owned());
        Ok(Response::new(Box::pin(records)))
    }

    async fn verify(
        &self,
        request: Request<v1::AuditVerifyRequest>,
    ) -> Result<Response<v1::AuditVerifyResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let wanted = request.into_inner().member;
        // What is anchored by now must be known here before any chain is looked at.
        self.host.barrier(deadline).await?;
        let state = self.host.replica.store().view();
        let members = state.members().filter(|member| match wanted {
            0 => !member.removed,
            wanted => member.id.0 == wanted,
        });
        let checks: Vec<_> = members
            .map(|member| self.check(&state, member.id, member.name.to_string(), deadline))
            .collect();
        if checks.is_empty() {
            return Err(Reason::MemberMissing.status(format!(
                "there is no member {wanted}; list the members to see who there is"
            )));
        }
        let reports = futures::future::join_all(checks).await;
        Ok(Response::new(v1::AuditVerifyResponse {
            header: self.host.header(state.revision()),
            reports,
        }))
    }
}

impl AuditService {
    fn peer(&self, member: NodeId) -> Result<holdfast_raft::PeerNode, Status> {
        self.host.peer(member).ok_or_else(|| {
            Reason::MemberMissing.status(format!(
                "there is no member {member} to ask; list the members to see who there is"
            ))
        })
    }

    /// Holds the chain of a member against the anchors that this node knows.
    async fn check(
        &self,
        state: &State,
        member: NodeId,
        name: String,
        deadline: Instant,
    ) -> AuditReport {
        let anchors = state.anchors(member);
        let checker =
            Checker::new(anchors.map(|anchor| (anchor.sequence, *anchor.hash.as_bytes())));
        let anchored = state.anchors(member).next_back();
        let checked = match member == self.host.id {
            true => gather(checker, chain(&self.host)).await,
            false => self.check_there(checker, member, deadline).await,
        };
        let report = checked.unwrap_or_else(|status| AuditReport {
            anchored: anchored.map_or(0, |anchor| anchor.sequence),
            unchecked: status.message().to_owned(),
            ..AuditReport::default()
        });
        AuditReport {
            member: member.0,
            name,
            ..report
        }
    }

    async fn check_there(
        &self,
        checker: Checker,
        member: NodeId,
        deadline: Instant,
    ) -> Result<AuditReport, Status> {
        let mut peer = self.host.peers.client(&self.peer(member)?)?;
        let request = request_until(AuditChainRequest {}, deadline);
        let parts = peer.audit_chain(request).await?.into_inner();
        gather(checker, parts).await
    }
}

/// The records of this node.
pub(crate) fn tail(host: &Arc<Host>, request: &v1::AuditTailRequest) -> Result<Records, Status> {
    if request.from != 0 && request.last != 0 {
        return Err(invalid(
            "ask for records from a sequence on, or for the last ones; not for both",
        ));
    }
    let heads = host.audit.heads();
    let newest = heads.borrow().sequence;
    let from = match request.last {
        0 => request.from.max(1),
        last => (newest + 1).saturating_sub(last).max(1),
    };
    let follows = request.follow;
    let state = (host.clone(), heads, Tail::new(host.audit.folder(), from));
    let records = stream::try_unfold(state, move |(host, mut heads, mut tail)| async move {
        loop {
            let head = *heads.borrow_and_update();
            let read;
            (tail, read) = on_blocking_thread(move || {
                let read = tail.read(head);
                Ok((tail, read))
            })
            .await?;
            let records = read.map_err(|error| {
                Reason::Internal.status(format!("the audit log cannot be read: {error}"))
            })?;
            if !records.is_empty() {
                let answer = v1::AuditTailResponse {
                    member: host.id.0,
                    records,
                };
                return Ok(Some((answer, (host, heads, tail))));
            }
            if !follows {
                return Ok(None);
            }
            tokio::select! {
                changed = heads.changed() => if changed.is_err() { return Ok(None) },
                () = host.closing.cancelled() => return Err(crate::host::closing()),
            }
        }
    });
    Ok(Box::pin(records))
}

/// The files of this node's log.
pub(crate) fn chain(
    host: &Arc<Host>,
) -> impl Stream<Item = Result<AuditChainPart, Status>> + Send + use<> {
    let (parts, receiver) = mpsc::channel(PARTS);
    let (folder, head) = (host.audit.folder().to_owned(), *host.audit.heads().borrow());
    tokio::task::spawn_blocking(move || {
        read::chain(&folder, head, |part| parts.blocking_send(Ok(part)).is_ok());
    });
    ReceiverStream::new(receiver)
}

/// Checks a chain as it comes, one segment in memory at a time.
async fn gather(
    mut checker: Checker,
    parts: impl Stream<Item = Result<AuditChainPart, Status>> + Send,
) -> Result<AuditReport, Status> {
    let mut parts = std::pin::pin!(parts);
    let mut head = (0, Hash::default());
    let mut segment: Option<Gathered> = None;
    while let Some(part) = parts.next().await {
        match part?.part {
            Some(Part::Head(found)) => {
                let hash = found.hash[..].try_into().unwrap_or_default();
                head = (found.sequence, hash);
            }
            Some(Part::Segment(name)) => {
                let first = segment::first_of(&name)
                    .ok_or_else(|| invalid("that node names a file that is no segment"))?;
                checker = check(checker, segment.replace(Gathered::new(first))).await?;
            }
            Some(Part::Data(data)) => {
                if let Some(segment) = &mut segment {
                    segment.add(&data)?;
                }
            }
            Some(Part::Unreadable(why)) => {
                if let Some(segment) = &mut segment {
                    segment.unreadable = Some(why);
                }
            }
            None => return Err(invalid("that node is of a newer version; ask it itself")),
        }
    }
    Ok(check(checker, segment).await?.finish(head))
}

/// A segment as far as it came.
struct Gathered {
    first: u64,
    bytes: Vec<u8>,
    unreadable: Option<String>,
}

impl Gathered {
    fn new(first: u64) -> Self {
        Self {
            first,
            bytes: Vec::new(),
            unreadable: None,
        }
    }

    fn add(&mut self, data: &Bytes) -> Result<(), Status> {
        if self.bytes.len() + data.len() > SEGMENT_BYTES {
            return Err(invalid("that node gives a segment larger than any can be"));
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

async fn check(mut checker: Checker, segment: Option<Gathered>) -> Result<Checker, Status> {
    let Some(segment) = segment else {
        return Ok(checker);
    };
    on_blocking_thread(move || {
        checker.segment(segment.first, &segment.bytes, segment.unreadable.as_deref());
        Ok(checker)
    })
    .await
}

/// Parts that wait for a slow network.
const PARTS: usize = 4;
/// No segment is larger: full at 8 MiB, and one sync more.
const SEGMENT_BYTES: usize = 64 * 1024 * 1024;
