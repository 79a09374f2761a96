//! Applying one committed command: a pure function of the state, the entry's place and the command.
//!
//! Order: time moves on; a repeated request is answered with its first answer; the command is done
//! or refused as a whole; the answer is kept with the request; once a minute old history is swept.

use std::{collections::BTreeSet, sync::Arc};

use holdfast_proto::{Key, LeaseId, RequestId, Revision, Timestamp};

use crate::{
    State,
    command::{Body, Command},
    commit::{Staged, Stamp, check_room, commit},
    entry::{Retired, VersionId},
    keyring,
    member::Departure,
    recent::Change,
    reply::{DeleteResult, Reason, Refusal, Reply, ReplyBody},
    retention,
    session::Verdict,
    token::Token,
    transaction,
};

/// Where a command stands in the log, and when its leader proposed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Of the log entry.
    pub index: u64,
    /// Of the log entry.
    pub term: u64,
    /// The leader's clock at the proposal.
    pub at: Timestamp,
}

/// What applying a command asks of the world around the state.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// For who asked.
    pub reply: Reply,
    /// For watchers: what the command changed, if it made a revision.
    pub change: Option<Arc<Change>>,
    /// For the past: values that left memory and are still known as older versions.
    pub retired: Vec<Retired>,
    /// For the past: versions that it may drop.
    pub forgotten: Vec<VersionId>,
}

/// What gathers while a command is applied.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) change: Option<Arc<Change>>,
    pub(crate) retired: Vec<Retired>,
    pub(crate) forgotten: Vec<VersionId>,
}

impl Work {
    /// What was retired and forgotten by one command need not reach the past at all.
    fn settle(&mut self) {
        if self.retired.is_empty() || self.forgotten.is_empty() {
            return;
        }
        let retired: BTreeSet<&VersionId> =
            self.retired.iter().map(|retired| &retired.id).collect();
        let forgotten = self.forgotten.iter().filter(|id| retired.contains(id));
        let both: BTreeSet<VersionId> = forgotten.cloned().collect();
        self.retired.retain(|retired| !both.contains(&retired.id));
        self.forgotten.retain(|id| !both.contains(id));
    }
}

/// Applies one command. Deterministic: the same state, context and command give the same state and
/// the same reply on every node.
pub fn apply(state: &mut State, context: Context, command: Command) -> Outcome {
    let mut work = Work::default();
    let minute = state.clock.now.as_millis() / SWEEP_EVERY_MS;
    state.clock.advance(context.at);
    let reply = answer(state, context, command, &mut work);
    if state.clock.now.as_millis() / SWEEP_EVERY_MS != minute {
        retention::sweep(state, &mut work);
        work.settle();
        state.sessions.forget_idle(state.clock.steady_ms);
        state.tokens.forget_expired(state.clock.now);
        state.fleet.forget_old(state.clock.now);
    }
    Outcome {
        reply,
        change: work.change,
        retired: work.retired,
        forgotten: work.forgotten,
    }
}

/// Old history, idle sessions, expired tokens and old reports are looked for this often, ms of cluster time.
const SWEEP_EVERY_MS: u64 = 60_000;

fn answer(state: &mut State, context: Context, command: Command, work: &mut Work) -> Reply {
    let request = command.request;
    if let Some(request) = &request {
        match state
            .sessions
            .check(request, state.clock.steady_ms, &state.limits)
        {
            Verdict::Fresh => {}
            Verdict::Repeat(reply) => return reply,
            Verdict::Refused(refusal) => return Reply::refused(state.revision, refusal),
        }
    }
    let body = perform(state, context, command, work).unwrap_or_else(ReplyBody::Refused);
    let reply = Reply {
        revision: state.revision,
        body,
    };
    // Nothing was done, and the same request is sealed again: it must not meet its first answer.
    let again = |refusal: &Refusal| refusal.reason == Reason::Reseal;
    if let Some(request) = &request
        && !reply.refusal().is_some_and(again)
    {
        remember(state, request, &reply);
    }
    reply
}

fn remember(state: &mut State, request: &RequestId, reply: &Reply) {
    state
        .sessions
        .record(request, reply, state.clock.steady_ms, &state.limits);
}

fn perform(
    state: &mut State,
    context: Context,
    command: Command,
    work: &mut Work,
) -> Result<ReplyBody, Refusal> {
    let now = state.clock.now;
    let stamp = Stamp {
        revision: Revision::after(Revision::new(state.revision)),
        author: state.authors.intern(command.author),
        note: command.note,
        at: now,
    };
    match command.body {
        Body::Put(put) => {
            let (result, staged) = transaction::put(state, &stamp, put)?;
            check_room(state, &staged)?;
            commit(state, &stamp, staged, work);
            Ok(ReplyBody::Put(result))
        }
        Body::Delete(delete) => {
            let (result, staged) = transaction::delete(state, &delete)?;
            commit(state, &stamp, staged, work);
            Ok(ReplyBody::Delete(result))
        }
        Body::Transact(transaction) => {
            let (result, staged) = transaction::transact(state, &stamp, transaction)?;
            check_room(state, &staged)?;
            commit(state, &stamp, staged, work);
            Ok(ReplyBody::Transact(result))
        }
        Body::Compact(revision) => {
            retention::compact(state, revision, work)?;
            Ok(ReplyBody::Done)
        }
        Body::SetRetention { prefix, retention } => {
            state.policies.set(prefix, retention)?;
            Ok(ReplyBody::Done)
        }
        Body::LeaseGrant { lease, ttl_ms } => {
            state.leases.grant(lease, ttl_ms, now, &state.limits)?;
            Ok(ReplyBody::LeaseGranted { lease, ttl_ms })
        }
        Body::LeaseRevoke(lease) => {
            state.leases.check(lease)?;
            Ok(end_leases(state, &stamp, &[lease], work))
        }
        Body::LeaseExpire { term, leases } => {
            if term != context.term {
                let message = format!(
                    "leases were to end in term {term}, but the log is at term {}; nothing ended",
                    context.term
                );
                return Err(Refusal::new(Reason::StaleTerm, message).numbers(context.term, term));
            }
            let leases = state.leases.expired(&leases);
            Ok(end_leases(state, &stamp, &leases, work))
        }
        Body::TokenCreate {
            digest,
            role,
            expires,
            name,
        } => {
            state.tokens.create(
                digest,
                Token {
                    role,
                    expires,
                    name,
                },
                now,
            )?;
            Ok(ReplyBody::Done)
        }
        Body::MemberAdmit {
            token,
            name,
            address,
            public_key,
        } => {
            let role = state.tokens.check(token, &name, now)?;
            state.members.check_room(&name)?;
            state.tokens.burn(token);
            let id = state.members.admit(name, address, public_key, role, now);
            Ok(ReplyBody::Admitted { id, role })
        }
        Body::MemberUpdate { id, address, role } => {
            state.members.update(id, address, role)?;
            if role.is_some_and(|role| !role.holds_keys()) {
                state.keyring.drop_member(id);
            }
            Ok(ReplyBody::Done)
        }
        Body::MemberRemove { id, heard } => {
            let departure = Departure {
                at: now,
                revision: state.revision,
                heard,
            };
            state.members.remove(id, departure)?;
            state.keyring.drop_member(id);
            Ok(ReplyBody::Done)
        }
        Body::AuthorityWanted(wanted) => {
            state.want_authority(wanted, stamp.author)?;
            Ok(ReplyBody::Done)
        }
        Body::AuthorityBegin(begin) => {
            state.begin_authority(begin)?;
            Ok(ReplyBody::Done)
        }
        Body::AuthorityTaken(taken) => {
            state.take_authority(&taken)?;
            Ok(ReplyBody::Done)
        }
        Body::AuthorityRetire(generation) => {
            state.retire_authority(generation)?;
            Ok(ReplyBody::Done)
        }
        Body::ClusterInit(founding) => {
            state.members.found(*founding, now)?;
            Ok(ReplyBody::Done)
        }
        Body::RoleSet(role) => {
            state.access.set_role(role, now)?;
            Ok(ReplyBody::Done)
        }
        Body::RoleRemove(name) => {
            state.access.remove_role(&name, now)?;
            Ok(ReplyBody::Done)
        }
        Body::GrantChange(grant) => {
            state.access.change_grant(grant, now)?;
            Ok(ReplyBody::Done)
        }
        Body::IdentityIssued { identity, expires } => {
            state.access.issue(&identity, expires, now)?;
            Ok(ReplyBody::Done)
        }
        Body::IdentityRevoke(identity) => {
            state.access.revoke(&identity, now)?;
            Ok(ReplyBody::Done)
        }
        Body::AuditAnchor {
            member,
            sequence,
            hash,
        } => {
            state.members.check_known(member)?;
            state.anchors.add(member, sequence, hash, now)?;
            Ok(ReplyBody::Done)
        }
        Body::FleetReports(reports) => {
            let refused = state.fleet.take(reports, now, &state.limits);
            Ok(ReplyBody::FleetTaken { refused })
        }
        Body::FleetForget(keys) => Ok(ReplyBody::Delete(DeleteResult {
            deleted: state.fleet.forget(&keys),
            previous: Vec::new(),
        })),
        Body::Tick => Ok(ReplyBody::Done),
        body => keyring::perform(state, &stamp, body, work),
    }
}

/// Ends leases and deletes all their keys in one revision. Leases that are gone are passed over.
fn end_leases(state: &mut State, stamp: &Stamp, ids: &[LeaseId], work: &mut Work) -> ReplyBody {
    let mut keys: Vec<Key> = Vec::new();
    for &id in ids {
        if let Some(lease) = state.leases.end(id) {
            keys.extend(lease.keys);
        }
    }
    keys.sort_unstable();
    let deleted = keys.len() as u64;
    commit(
        state,
        stamp,
        Staged {
            writes: keys.into_iter().map(|key| (key, None)).collect(),
            ..Staged::default()
        },
        work,
    );
    ReplyBody::Delete(DeleteResult {
        deleted,
        previous: Vec::new(),
    })
}
