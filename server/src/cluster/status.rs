//! What a node knows of itself and of the cluster, in numbers and in words. Needs no quorum.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use holdfast_core::State;
use holdfast_disk::PastStatus;
use holdfast_proto::{NodeId, Timestamp, limits, v1};
use holdfast_raft::{PeerNode, ReplicaRole, ReplicaStatus};

use crate::{host::Host, peers::request_within};

/// This node alone.
pub(crate) fn local(host: &Host) -> v1::StatusResponse {
    let store = host.replica.store();
    let replica = host.replica.status();
    let state = store.view();
    let usage = state.usage();
    let past = store.past_status();
    let mut problems = Vec::new();
    // A fenced node stopped its replica itself: why says it all.
    let fenced = host.fence.reason().map(|why| why.to_string());
    problems.extend(fenced.or_else(|| host.replica.failure().borrow().clone()));
    if replica.leader.is_none() {
        problems.push(
            "no leader is known: writes and linearizable reads wait until most voters can talk to \
             each other again"
                .to_owned(),
        );
    }
    problems.extend(host.audit.problem());
    problems.extend(rotation_problem(&state));
    problems.extend(override_problem(host, &state));
    if !matches!(past, PastStatus::Ready) {
        problems.push(format!(
            "the past is {past}; reads of older versions wait for it"
        ));
    }
    v1::StatusResponse {
        header: host.header(state.revision()),
        leader: replica.leader.map_or(0, |leader| leader.0),
        members: own_row(host, &replica, &state).into_iter().collect(),
        limits: limits_of(&state),
        keys: usage.keys,
        compacted: state.compacted(),
        leases: usage.leases,
        state_bytes: usage.state_bytes,
        past_rows: usage.versions,
        past: past.to_string(),
        log_first: replica.purged.map_or(0, |purged| purged + 1),
        log_last: replica.last_log.unwrap_or(0),
        snapshot: replica.snapshot.unwrap_or(0),
        problems,
        cluster_time_ms: state.clock().as_millis(),
        heard: heard(host, &replica),
    }
}

/// This node and, at the same time, each of its peers.
pub(super) async fn gather(host: &Host) -> v1::StatusResponse {
    let mut answer = local(host);
    let replica = host.replica.status();
    let members = host.read(super::members);
    let own = answer.members.pop();
    let asked: FuturesUnordered<_> = members
        .into_iter()
        .filter(|member| member.id != host.id.0)
        .map(|member| async {
            let status = ask(host, &member).await;
            (member, status)
        })
        .collect();
    let mut rows: Vec<v1::MemberStatus> = own.into_iter().collect();
    let mut answers = asked.collect::<Vec<_>>().await;
    answers.sort_by_key(|(member, _)| member.id);
    for (member, status) in answers {
        rows.push(peer_row(host, &replica, member, status));
    }
    let last = rows
        .iter()
        .find(|row| row.leader)
        .map_or(answer.log_last, |leader| {
            leader.applied.max(answer.log_last)
        });
    for row in &mut rows {
        row.lag = if row.reachable {
            last.saturating_sub(row.applied)
        } else {
            row.lag
        };
    }
    rows.sort_by_key(|row| row.member.as_ref().map_or(0, |member| member.id));
    answer.problems.extend(problems_of(&rows, &replica));
    answer.members = rows;
    answer
}

/// That both authorities are trusted, for as long as they are.
fn rotation_problem(state: &State) -> Option<String> {
    let next = state.next_authority()?;
    let cause = next.cause.as_ref()?;
    let name = state.member(cause.member).map_or_else(
        || cause.member.to_string(),
        |member| member.name.to_string(),
    );
    Some(format!(
        "the authority is being replaced because of {name}, and the old one is trusted until {} ends \
         that with `kvctl member remove {name} --compromised`",
        cause.author
    ))
}

/// That services use something else than what the store has.
fn override_problem(host: &Host, state: &State) -> Option<String> {
    let now = Timestamp::from_millis(host.replica.now_ms()).max(state.clock());
    let count = match state.fleet().overridden(now) {
        0 => return None,
        1 => "one instance uses".to_owned(),
        count => format!("{count} instances use"),
    };
    Some(format!(
        "{count} an emergency override in place of what the store has: see `kvctl fleet`"
    ))
}

/// When this node, if it leads, heard each of its peers last.
fn heard(host: &Host, replica: &ReplicaStatus) -> Vec<v1::Heard> {
    let now_ms = host.replica.now_ms();
    let peers = replica.peers.iter();
    peers
        .filter_map(|peer| {
            Some(v1::Heard {
                member: peer.id.0,
                at_ms: now_ms.saturating_sub(peer.last_ack_ms?),
            })
        })
        .collect()
}

/// The member with the part that it has in consensus by now: one that is to vote does not count
/// for a majority before it was promoted, and whoever looks here wants to know just that.
fn as_it_votes(member: v1::Member, replica: &ReplicaStatus) -> v1::Member {
    let role = match (replica.voters.contains(&NodeId(member.id)), member.role()) {
        (true, v1::Role::Witness) => v1::Role::Witness,
        (true, _) => v1::Role::Voter,
        (false, _) => v1::Role::Learner,
    };
    v1::Member {
        role: role.into(),
        ..member
    }
}

fn own_row(host: &Host, replica: &ReplicaStatus, state: &State) -> Option<v1::MemberStatus> {
    let store = host.replica.store();
    let member = state.members().find(|member| member.id == host.id)?;
    let applied = store.applied();
    let problem = match (host.fence.reason(), replica.role) {
        (Some(why), _) => why.to_string(),
        (None, ReplicaRole::Stopped) => "its replica has stopped; see its log".to_owned(),
        _ => host.clocks.problem().unwrap_or_default(),
    };
    Some(v1::MemberStatus {
        member: Some(as_it_votes(member.to_wire(), replica)),
        leader: replica.leader == Some(host.id),
        reachable: true,
        applied,
        lag: replica.last_log.unwrap_or(0).saturating_sub(applied),
        revision: state.revision(),
        state_hash: store
            .hash_at(applied)
            .map(|hash| Bytes::copy_from_slice(hash.as_bytes()))
            .unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        problem,
        etcd: host.etcd.to_string(),
        keyring_epoch: host.keys.epoch(),
        keyring_opened_at_ms: host.keys.shown_at_ms(),
        keyring_problem: host.keys.problem(),
        backup_at_ms: host.backups.newest_at_ms(),
        backup_problem: host.backups.problem(),
        clients_to_renew: host.old_clients.lock().iter().cloned().collect(),
    })
}

fn peer_row(
    host: &Host,
    replica: &ReplicaStatus,
    member: v1::Member,
    status: Option<v1::StatusResponse>,
) -> v1::MemberStatus {
    let leader = replica.leader == Some(NodeId(member.id));
    let row = status.and_then(|status| status.members.into_iter().next());
    let Some(mut row) = row else {
        return v1::MemberStatus {
            leader,
            problem: "it does not answer; is it running, and can this node reach its address?"
                .to_owned(),
            member: Some(as_it_votes(member, replica)),
            ..v1::MemberStatus::default()
        };
    };
    let here = host.replica.store().hash_at(row.applied);
    if row.problem.is_empty()
        && !row.state_hash.is_empty()
        && here.is_some_and(|here| here.as_bytes()[..] != row.state_hash[..])
    {
        row.problem = format!(
            "its state differs from this node's at log index {}",
            row.applied
        );
    }
    v1::MemberStatus {
        member: Some(as_it_votes(member, replica)),
        leader,
        reachable: true,
        ..row
    }
}

async fn ask(host: &Host, member: &v1::Member) -> Option<v1::StatusResponse> {
    let peer = PeerNode {
        id: NodeId(member.id),
        name: member.name.clone(),
        address: member.address.clone(),
    };
    let mut client = host.peers.client(&peer).ok()?;
    let request = request_within(v1::StatusRequest { local: true }, ANSWER);
    let answer = tokio::time::timeout(ANSWER, client.status(request)).await;
    Some(answer.ok()?.ok()?.into_inner())
}

fn problems_of(rows: &[v1::MemberStatus], replica: &ReplicaStatus) -> Vec<String> {
    let name = |row: &v1::MemberStatus| {
        row.member
            .as_ref()
            .map_or_else(String::new, |member| member.name.clone())
    };
    let mut problems: Vec<String> = rows
        .iter()
        .filter(|row| !row.problem.is_empty() && !row.reachable)
        .chain(
            rows.iter()
                .filter(|row| !row.problem.is_empty() && row.reachable),
        )
        .map(|row| format!("{}: {}", name(row), row.problem))
        .collect();
    let closed = rows.iter().filter(|row| !row.keyring_problem.is_empty());
    problems.extend(closed.map(|row| {
        format!(
            "{}: the keyring does not open there: {}",
            name(row),
            row.keyring_problem
        )
    }));
    let late = rows.iter().filter(|row| !row.backup_problem.is_empty());
    problems.extend(late.map(|row| format!("{}: {}", name(row), row.backup_problem)));
    let is_voter = |row: &&v1::MemberStatus| {
        row.member
            .as_ref()
            .is_some_and(|member| replica.voters.contains(&NodeId(member.id)))
    };
    let up = rows
        .iter()
        .filter(is_voter)
        .filter(|row| row.reachable)
        .count();
    let voters = replica.voters.len();
    if up * 2 <= voters {
        problems.insert(
            0,
            format!("{up} of {voters} voters answer; most of them must run for writes to go on"),
        );
    } else if voters > 1 && (up - 1) * 2 <= voters && up < voters {
        problems.push(format!(
            "{up} of {voters} voters answer; if one more fails, writes stop"
        ));
    }
    problems.extend(
        rows.iter()
            .filter(|row| row.reachable && row.lag > LAGGING)
            .map(|row| format!("{} is {} entries behind the leader", name(row), row.lag)),
    );
    problems
}

fn limits_of(state: &State) -> Vec<v1::Limit> {
    let usage = state.usage();
    let limit = |name: &str, used: u64, most: u64, unit: &str| v1::Limit {
        name: name.to_owned(),
        used,
        most,
        unit: unit.to_owned(),
    };
    vec![
        limit("state", usage.state_bytes, limits::STATE_BYTES, "bytes"),
        limit(
            "history",
            usage.history_bytes,
            limits::HISTORY_BYTES,
            "bytes",
        ),
        limit("leases", usage.leases, limits::LEASES as u64, "leases"),
        limit(
            "sessions",
            usage.sessions,
            limits::SESSIONS as u64,
            "sessions",
        ),
        limit(
            "fleet",
            usage.fleet_reports,
            limits::FLEET_REPORTS as u64,
            "reports",
        ),
        limit("members", usage.members, limits::MEMBERS as u64, "members"),
        limit("join tokens", usage.tokens, limits::TOKENS as u64, "tokens"),
        limit("clock apart", 0, limits::CLOCK_APART_MS / 1_000, "seconds"),
        limit("key", 0, limits::KEY_BYTES as u64, "bytes"),
        limit("value", 0, limits::VALUE_BYTES as u64, "bytes"),
        limit("note", 0, limits::NOTE_BYTES as u64, "bytes"),
        limit("request", 0, limits::REQUEST_BYTES as u64, "bytes"),
        limit(
            "transaction",
            0,
            limits::TRANSACTION_OPERATIONS as u64,
            "operations",
        ),
    ]
}

/// A peer that takes longer counts as unreachable.
const ANSWER: Duration = Duration::from_millis(700);
/// More entries behind than this is worth a word.
const LAGGING: u64 = 10_000;
