//! Every node compares its wall clock with its peers'.
//!
//! A clock decides nothing but cluster time, which ages history and ends join tokens. A node vouches
//! for its own to consensus while most voters' clocks, its own counted, are within
//! [`CLOCK_APART_MS`] of it, and takes its word back when they are not; then it says so in words,
//! and cluster time goes on without it (see [`holdfast_raft::Clock`]). Whoever cannot ask enough
//! peers learns nothing, and leaves it as it was.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use holdfast_proto::{limits::CLOCK_APART_MS, peer::v1 as peer};
use holdfast_raft::{Clock, PeerNode};
use parking_lot::Mutex;

use crate::{host::Host, peers::request_within};

/// This node's clock, and what its peers' say of it.
pub(crate) struct Clocks {
    clock: Arc<Clock>,
    verdict: Mutex<Verdict>,
}

/// How a clock stands among the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Too few members could be asked.
    #[default]
    Unknown,
    /// Most members' clocks are close to it.
    Agrees,
    /// They are not. Above 0: it is ahead of them, milliseconds.
    Differs(i64),
}

impl Clocks {
    /// A clock that nobody vouches for yet.
    pub(crate) fn new() -> Self {
        let clock = Arc::new(Clock::default());
        clock.doubt();
        Self {
            clock,
            verdict: Mutex::default(),
        }
    }

    /// As consensus stamps by it.
    pub(crate) fn clock(&self) -> Arc<Clock> {
        self.clock.clone()
    }

    /// What it says, whoever believes it.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// What is wrong with it, if something is, and what to do.
    pub(crate) fn problem(&self) -> Option<String> {
        let Verdict::Differs(ahead_ms) = *self.verdict.lock() else {
            return None;
        };
        let side = if ahead_ms > 0 { "ahead of" } else { "behind" };
        Some(format!(
            "its clock is {} {side} the other nodes' (at most {} are allowed), so cluster time goes \
             on without it; set it, for instance with chrony",
            rough(ahead_ms.unsigned_abs()),
            rough(CLOCK_APART_MS),
        ))
    }

    fn note(&self, verdict: Verdict) {
        match verdict {
            Verdict::Agrees => self.clock.vouch(),
            Verdict::Differs(_) => self.clock.doubt(),
            Verdict::Unknown => return,
        }
        let before = std::mem::replace(&mut *self.verdict.lock(), verdict);
        match (before, self.problem()) {
            (Verdict::Differs(_), Some(_)) => {}
            (_, Some(problem)) => tracing::warn!("this node: {problem}"),
            (Verdict::Differs(_), None) => tracing::info!("this node's clock is right again"),
            (_, None) => {}
        }
    }
}

/// Compares until the node stops.
pub(crate) async fn run(host: Arc<Host>) {
    let mut pause = FIRST_PAUSE;
    while !host.closing.is_cancelled() {
        let verdict = look(&host).await;
        host.clocks.note(verdict);
        // Soon after a start the peers may not be there yet, and somebody waits for the time.
        pause = match verdict {
            Verdict::Unknown => (pause * 2).min(EVERY),
            _ => EVERY,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = host.closing.cancelled() => return,
        }
    }
}

async fn look(host: &Host) -> Verdict {
    let status = host.replica.status();
    let voters = &status.voters;
    let is_peer = |node: &&PeerNode| node.id != host.id && voters.contains(&node.id);
    let peers = status.nodes.iter().filter(is_peer);
    let ahead_of: Vec<i64> = peers
        .map(|peer| ahead_of(host, peer))
        .collect::<FuturesUnordered<_>>()
        .filter_map(|ahead| async move { ahead })
        .collect()
        .await;
    judge(ahead_of, voters.len(), voters.contains(&host.id))
}

/// How far this node's clock is ahead of a peer's, milliseconds; half the answer's time is the error.
async fn ahead_of(host: &Host, peer: &PeerNode) -> Option<i64> {
    let mut client = host.peers.client(peer).ok()?;
    let asked_ms = host.clocks.wall_ms();
    let question = request_within(peer::ClockRequest {}, ANSWER);
    let answer = client.clock(question).await.ok()?.into_inner();
    let middle_ms = asked_ms.midpoint(host.clocks.wall_ms());
    let apart = i128::from(middle_ms) - i128::from(answer.time_ms);
    Some(i64::try_from(apart).unwrap_or(if apart > 0 { i64::MAX } else { i64::MIN }))
}

/// What follows from how far a clock is ahead of the other voters' that answered, of so many
/// `voters` in all; `votes`: it is one of theirs.
fn judge(mut ahead_ms: Vec<i64>, voters: usize, votes: bool) -> Verdict {
    let own = usize::from(votes);
    let is_most = |count: usize| count * 2 > voters;
    if voters == 0 {
        return Verdict::Unknown;
    }
    let is_near = |ahead: &i64| ahead.unsigned_abs() <= CLOCK_APART_MS;
    let near = ahead_ms.iter().filter(|ahead| is_near(ahead)).count();
    if is_most(own + near) {
        return Verdict::Agrees;
    }
    ahead_ms.retain(|ahead| !is_near(ahead));
    if !is_most(own + ahead_ms.len()) {
        return Verdict::Unknown;
    }
    ahead_ms.sort_unstable();
    let middle = ahead_ms.get(ahead_ms.len() / 2);
    middle.map_or(Verdict::Unknown, |ahead| Verdict::Differs(*ahead))
}

/// A length of time as people say it.
fn rough(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..600 => format!("{seconds} s"),
        600..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

const EVERY: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_clock_agrees_with_most_voters_or_it_is_in_doubt() {
        let judged = |ahead_ms: &[i64], voters| judge(ahead_ms.to_vec(), voters, true);
        assert_eq!(judged(&[], 1), Verdict::Agrees);
        assert_eq!(judged(&[200, -300], 3), Verdict::Agrees);
        assert_eq!(judged(&[200, HOUR], 3), Verdict::Agrees, "that one is off");
        assert_eq!(judged(&[200], 3), Verdict::Agrees, "two of three");
        assert_eq!(judged(&[HOUR, HOUR], 3), Verdict::Differs(HOUR));
        let behind = Verdict::Differs(-HOUR);
        assert_eq!(judged(&[-HOUR, 2 * HOUR, -HOUR, 0], 5), behind);
        let either = Verdict::Differs(HOUR);
        assert_eq!(judged(&[HOUR], 2), either, "nobody knows which");
    }

    #[test]
    fn too_few_answers_say_nothing() {
        let judged = |ahead_ms: &[i64], voters| judge(ahead_ms.to_vec(), voters, true);
        assert_eq!(judged(&[], 3), Verdict::Unknown);
        assert_eq!(judged(&[HOUR], 5), Verdict::Unknown);
        assert_eq!(judged(&[], 0), Verdict::Unknown);
    }

    #[test]
    fn a_learner_is_measured_by_the_voters_alone() {
        assert_eq!(judge(vec![10, 20], 3, false), Verdict::Agrees);
        assert_eq!(judge(vec![HOUR, HOUR], 3, false), Verdict::Differs(HOUR));
        assert_eq!(judge(vec![10, HOUR], 3, false), Verdict::Unknown);
        assert_eq!(judge(vec![10], 3, false), Verdict::Unknown);
    }

    #[test]
    fn what_is_wrong_is_said_in_words_until_it_is_right() {
        let clocks = Clocks::new();
        assert_eq!(clocks.problem(), None);
        clocks.note(Verdict::Differs(90 * 24 * HOUR));
        let problem = clocks.problem().unwrap();
        assert!(problem.contains("90 days ahead of"), "{problem}");
        assert!(
            problem.contains("300 s") && problem.contains("chrony"),
            "{problem}"
        );
        clocks.note(Verdict::Unknown);
        assert!(clocks.problem().is_some(), "nothing was learnt");
        clocks.note(Verdict::Agrees);
        assert_eq!(clocks.problem(), None);
    }
}
