//! One call: attempts at one node after the other until there is an answer or the deadline.
//!
//! Invariants: (1) every attempt of a call sends the same message, so a write carries the same
//! request id and is applied at most once. (2) A call ends as *unreachable* only if no attempt can
//! have been applied; else it ends as *unknown*. (3) A node that is frozen, or cut off from the
//! others, costs [`ClientOptions::hedge_after`](crate::ClientOptions) and not the deadline, and that
//! one call in each period of its [circuit](crate::circuit).

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use holdfast_proto::v1;
use tonic::{Response, Status};

use crate::{
    Client,
    attempt::Attempt,
    circuit::jittered,
    entry::{Origin, Told},
    error::Failure,
    node::{Needs, Node, Route},
    reason::{self, Reason, Verdict, describe},
};

/// How a call is made.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) route: Route,
    /// Who must be well for an answer.
    pub(crate) needs: Needs,
    /// All attempts together.
    pub(crate) timeout: Duration,
    /// One attempt.
    pub(crate) attempt_timeout: Duration,
    /// Ask a second node when the first is silent. Not for calls that wait on purpose.
    pub(crate) hedge: bool,
}

/// An answer and where it came from.
pub(crate) struct Answer<T> {
    pub(crate) message: T,
    pub(crate) origin: Origin,
    /// How long ago it was current, at most.
    pub(crate) age: Duration,
}

/// An answer that says where it comes from.
pub(crate) trait Answered {
    fn header(&self) -> Option<&v1::Header>;
}

/// One attempt that is under way.
#[derive(Clone)]
struct Flight {
    node: Arc<Node>,
    launched: Instant,
}

/// What became of one attempt.
struct Landed<T> {
    flight: Flight,
    result: Result<Response<T>, Status>,
}

/// What is known of a call while it goes on.
struct Progress {
    started: Instant,
    failures: u32,
    distrusted: usize,
    may_be_applied: bool,
    last: String,
}

impl Client {
    /// Makes a call; `attempt` sends the same message each time.
    pub(crate) async fn call<T, A, F>(&self, call: Call, attempt: A) -> Result<Answer<T>, Failure>
    where
        T: Answered,
        A: Fn(Attempt) -> F,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let nodes = self.nodes();
        let hedge_after = self.options().hedge_after;
        let started = Instant::now();
        let deadline = started + call.timeout;
        let mut progress = Progress::new(started);
        // Two at most, kept in place.
        let (mut first, mut second) = (pin!(None), pin!(None));
        let mut flying: [Option<Flight>; 2] = [None, None];
        let mut launch_at = Some(started);
        let mut timer = pin!(tokio::time::sleep_until(deadline.into()));

        loop {
            let now = Instant::now();
            if now >= deadline {
                if progress.last.is_empty() {
                    progress.last = nodes.why_none();
                }
                return Err(progress.give_up(flying.iter().any(Option::is_some)));
            }
            // What came back by now is surer than what could still be under way at the end.
            if progress.failures > 0 && deadline - now < TOO_LATE {
                launch_at = None;
            }
            if launch_at.is_some_and(|at| at <= now) {
                // With two under way none is launched.
                let other = flying.iter().flatten().next();
                let is_silent = other
                    .is_none_or(|one| !nodes.answered_since(&one.node, call.needs, one.launched));
                launch_at = if !is_silent {
                    // It is busy, not frozen: asking another would only add to the load.
                    Some(now + hedge_after)
                } else {
                    if let Some(other) = other
                        && now - other.launched >= hedge_after
                    {
                        nodes.silent(&other.node, call.needs, other.launched);
                    }
                    let busy = other.map(|other| &other.node);
                    let is_hedge = other.is_some();
                    nodes
                        .pick(call.route, call.needs, busy)
                        .and_then(|node| {
                            let timeout = call.attempt_timeout.min(deadline - now);
                            let sending = attempt(Attempt::new(&node, timeout));
                            let flight = Flight {
                                node,
                                launched: now,
                            };
                            let landing = land(flight.clone(), timeout, sending);
                            if flying[0].is_none() {
                                first.set(Some(landing));
                                flying[0] = Some(flight);
                            } else {
                                second.set(Some(landing));
                                flying[1] = Some(flight);
                            }
                            (call.hedge && !is_hedge).then_some(now + hedge_after)
                        })
                        .or_else(|| (nodes.len() == 0).then_some(now + FIRST_PAUSE))
                };
            }
            let wake = launch_at.map_or(deadline, |at| at.min(deadline));
            timer.as_mut().reset(wake.into());

            let (place, landed) = tokio::select! {
                biased;
                landed = either(first.as_mut(), second.as_mut()) => landed,
                () = &mut timer => continue,
            };
            flying[place] = None;
            let flight = landed.flight;
            match landed.result {
                Ok(response) => {
                    return Ok(self.answer(call.needs, &flight.node, started, response));
                }
                Err(status) => {
                    self.settle(&mut progress, call.needs, &flight, status)?;
                    launch_at = Some(Instant::now() + progress.pause(nodes.len()));
                }
            }
        }
    }

    fn answer<T: Answered>(
        &self,
        needs: Needs,
        node: &Arc<Node>,
        started: Instant,
        response: Response<T>,
    ) -> Answer<T> {
        self.nodes().answered(node, needs);
        let leader = reason::leader_hint(response.metadata());
        let message = response.into_inner();
        let header = message.header();
        if let Some(header) = header
            && self.nodes().learn(node, header, leader)
        {
            self.look_up_leader(node);
        }
        if let Some(header) = header {
            self.note_cluster(header);
        }
        let told = Told::of(header);
        Answer {
            origin: told.origin,
            age: told.age.saturating_add(started.elapsed()),
            message,
        }
    }

    /// Takes in a failed attempt. An error: the call is over.
    fn settle(
        &self,
        progress: &mut Progress,
        needs: Needs,
        Flight { node, launched }: &Flight,
        status: Status,
    ) -> Result<(), Failure> {
        let (nodes, launched) = (self.nodes(), *launched);
        progress.failures += 1;
        let verdict = node.judge(&status);
        if Reason::of(&status) == Reason::Witness {
            node.note_witness(true);
        }
        match verdict {
            Verdict::Final if progress.may_be_applied && is_about_trust(&status) => {}
            // The store forgot what it had answered: nobody can tell any more.
            Verdict::Final
                if progress.may_be_applied && Reason::of(&status) == Reason::RequestForgotten =>
            {
                return Err(Failure::Unknown {
                    waited: progress.started.elapsed(),
                    last: describe(&status),
                });
            }
            Verdict::Final => {
                nodes.answered(node, needs);
                return Err(Failure::Refused(status));
            }
            _ if reason::node_is_well(&status) => nodes.answered(node, Needs::Node),
            _ if timed_out(&status) => {
                if !nodes.answered_since(node, needs, launched) {
                    nodes.silent(node, needs, launched);
                }
            }
            _ => nodes.unreachable(node, launched),
        }
        progress.may_be_applied |= verdict == Verdict::RetryUnknown;
        // A timeout tells less than whatever was said before it.
        if progress.last.is_empty() || !timed_out(&status) {
            progress.last = format!("{}: {}", node.address(), describe(&status));
        }
        tracing::debug!(last = progress.last, ?verdict, "attempt failed");
        if verdict == Verdict::Untrusted {
            progress.distrusted += 1;
            // One node may be misconfigured; all of them are not.
            if progress.distrusted as u32 == progress.failures && progress.distrusted >= nodes.len()
            {
                let message = std::mem::take(&mut progress.last);
                return Err(Failure::Untrusted { message });
            }
        }
        Ok(())
    }
}

/// Waits for one attempt, not longer than it may take.
async fn land<T>(
    flight: Flight,
    timeout: Duration,
    sending: impl Future<Output = Result<Response<T>, Status>>,
) -> Landed<T> {
    // The transport enforces the limit as well, from the same header; this one holds while the
    // connection is still being made.
    let result = tokio::time::timeout(timeout + GRACE, sending)
        .await
        .unwrap_or_else(|_| Err(Status::cancelled(format!("no answer within {timeout:?}"))));
    Landed { flight, result }
}

/// The first of two futures to end, of those that are there; its place is empty then.
async fn either<F: Future>(
    mut first: Pin<&mut Option<F>>,
    mut second: Pin<&mut Option<F>>,
) -> (usize, F::Output) {
    poll_fn(|context| {
        for (place, slot) in [&mut first, &mut second].into_iter().enumerate() {
            if let Some(future) = slot.as_mut().as_pin_mut()
                && let Poll::Ready(output) = future.poll(context)
            {
                slot.set(None);
                return Poll::Ready((place, output));
            }
        }
        Poll::Pending
    })
    .await
}

impl Progress {
    fn new(started: Instant) -> Self {
        Self {
            started,
            failures: 0,
            distrusted: 0,
            may_be_applied: false,
            last: String::new(),
        }
    }

    /// How long to wait before the next attempt: not at all while there are nodes left to try.
    fn pause(&self, nodes: usize) -> Duration {
        let nodes = nodes.max(1);
        match (self.failures as usize).checked_sub(nodes) {
            None => Duration::ZERO,
            Some(round) => {
                let doublings = (round / nodes).min(8) as u32;
                jittered(FIRST_PAUSE * 2u32.pow(doublings), LONGEST_PAUSE)
            }
        }
    }

    fn give_up(self, flying: bool) -> Failure {
        let waited = self.started.elapsed();
        let last = self.last;
        if self.distrusted > 0 && !self.may_be_applied {
            Failure::Untrusted { message: last }
        } else if self.may_be_applied || flying {
            Failure::Unknown { waited, last }
        } else {
            Failure::Unreachable { waited, last }
        }
    }
}

/// Whether the server refuses this client as such, whatever it asks for.
pub(crate) fn is_about_trust(status: &Status) -> bool {
    matches!(
        status.code(),
        tonic::Code::Unauthenticated | tonic::Code::PermissionDenied
    )
}

fn timed_out(status: &Status) -> bool {
    matches!(
        status.code(),
        tonic::Code::Cancelled | tonic::Code::DeadlineExceeded
    )
}

macro_rules! answered {
    ($($message:ident),* $(,)?) => {$(
        impl Answered for v1::$message {
            fn header(&self) -> Option<&v1::Header> {
                self.header.as_ref()
            }
        }
    )*};
}

answered!(
    RangeResponse,
    PutResponse,
    DeleteResponse,
    TransactResponse,
    HistoryResponse,
    DiffResponse,
    RollbackResponse,
    CompactResponse,
    SetRetentionResponse,
    LeaseGrantResponse,
    LeaseRevokeResponse,
    LeaseKeepAliveResponse,
    LeaseTimeToLiveResponse,
    LeaseListResponse,
    LockAcquireResponse,
    LockReleaseResponse,
    CampaignResponse,
    ProclaimResponse,
    LeaderResponse,
    StatusResponse,
    MemberListResponse,
    CreateTokenResponse,
    PromoteResponse,
    RemoveResponse,
    RetireAuthorityResponse,
    TransferLeaderResponse,
    CreateBackupResponse,
    ListBackupsResponse,
    VerifyBackupResponse,
    SecretPutResponse,
    RevealResponse,
    SecretDestroyResponse,
    KeyringStatusResponse,
    InitRecoveryResponse,
    AuditVerifyResponse,
    ChallengeRecoveryResponse,
    VerifyRecoveryResponse,
    RotateResponse,
    RoleSetResponse,
    RoleRemoveResponse,
    RoleListResponse,
    GrantChangeResponse,
    GrantListResponse,
    IdentityIssueResponse,
    IdentityRevokeResponse,
    IdentityListResponse,
    CanResponse,
    FleetReportResponse,
    FleetListResponse,
    FleetForgetResponse,
    FleetAdministratorsResponse,
);

/// How much later than its limit an attempt is cut off here.
const GRACE: Duration = Duration::from_millis(50);
/// How near to its end a call makes no further attempt.
const TOO_LATE: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
