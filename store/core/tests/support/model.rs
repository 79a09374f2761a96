//! The naive model: every state there ever was, each whole. Written from the documents, apart from
//! the code under test; it answers in wire messages.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::{Body, Command, Expected, Role};
use holdfast_proto::{
    KeyRange, Value,
    log::v1::{self as wire, reply::Body as Answer},
    v1,
};

pub(crate) use holdfast_core::Reason;

use super::transaction::has_written;

/// A key's entry in the model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) value: Value,
    pub(crate) created: u64,
    pub(crate) modified: u64,
    pub(crate) version: u64,
    pub(crate) lease: u64,
    pub(crate) author: String,
    pub(crate) note: String,
    pub(crate) at: u64,
}

pub(crate) type Keys = BTreeMap<Vec<u8>, Item>;

/// Who writes, and when.
#[derive(Clone)]
pub(crate) struct Stamp {
    pub(crate) revision: u64,
    pub(crate) author: String,
    pub(crate) note: String,
    pub(crate) at: u64,
}

#[derive(Default)]
pub(crate) struct Model {
    /// The keys after each revision; the first is that before all.
    pub(crate) past: Vec<Keys>,
    /// Cluster time of each revision.
    pub(crate) stamps: Vec<Option<Stamp>>,
    pub(crate) compacted: u64,
    pub(crate) leases: BTreeSet<u64>,
    clock: u64,
    answers: BTreeMap<([u8; 16], u64), wire::Reply>,
    floors: BTreeMap<[u8; 16], u64>,
    tokens: BTreeMap<[u8; 32], (Role, u64, Option<String>)>,
    /// By id: name and whether removed.
    members: BTreeMap<u64, (String, bool)>,
    next_member: u64,
    founded: bool,
}

/// Why the model refuses: the reason, and the two numbers.
pub(crate) struct Refused(pub(crate) Reason, pub(crate) u64, pub(crate) u64);

pub(crate) fn refuse<T>(reason: Reason) -> Result<T, Refused> {
    Err(Refused(reason, 0, 0))
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            past: vec![Keys::new()],
            stamps: vec![None],
            ..Self::default()
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.past.len() as u64 - 1
    }

    pub(crate) fn now(&self) -> &Keys {
        self.past.last().unwrap()
    }

    pub(crate) fn apply(&mut self, at: u64, term: u64, command: Command) -> wire::Reply {
        self.clock = self.clock.max(at);
        let request = command.request;
        if let Some(id) = request {
            let session = *id.session.as_bytes();
            let floor = self.floors.entry(session).or_default();
            if id.sequence < *floor {
                return self.reply(Err(Refused(Reason::RequestForgotten, 0, 0)));
            }
            if let Some(reply) = self.answers.get(&(session, id.sequence)) {
                return reply.clone();
            }
            *floor = (*floor).max(id.first_incomplete);
        }
        let answered = self.perform(term, command);
        let reply = self.reply(answered);
        if let Some(id) = request {
            self.answers
                .insert((*id.session.as_bytes(), id.sequence), reply.clone());
        }
        reply
    }

    fn reply(&mut self, answered: Result<Answer, Refused>) -> wire::Reply {
        let body = answered.unwrap_or_else(|Refused(reason, found, expected)| {
            Answer::Refusal(wire::Refusal {
                reason: reason.into(),
                found,
                expected,
                ..Default::default()
            })
        });
        wire::Reply {
            revision: self.revision(),
            body: Some(body),
        }
    }

    fn perform(&mut self, term: u64, command: Command) -> Result<Answer, Refused> {
        let stamp = Stamp {
            revision: self.revision() + 1,
            author: command.author.to_string(),
            note: command.note.to_string(),
            at: self.clock,
        };
        let mut keys = self.now().clone();
        let answer = match command.body {
            Body::Put(put) => {
                self.expect(put.put.key.as_bytes(), put.expected)?;
                let previous = self.put(&mut keys, &stamp, &put.put)?;
                Answer::Put(v1::PutResult { previous })
            }
            Body::Delete(delete) => {
                if let Some(key) = delete.delete.range.as_single() {
                    self.expect(key, delete.expected)?;
                }
                Answer::Delete(delete_range(
                    &mut keys,
                    &delete.delete.range,
                    delete.delete.previous,
                ))
            }
            Body::Transact(transaction) => {
                Answer::Transact(self.transact(&mut keys, &stamp, &transaction)?)
            }
            Body::LeaseGrant { lease, ttl_ms } => {
                if !(1_000..=2_592_000_000).contains(&ttl_ms) {
                    return Err(Refused(Reason::Invalid, ttl_ms, 2_592_000_000));
                }
                if !self.leases.insert(lease.get()) {
                    return refuse(Reason::LeaseExists);
                }
                Answer::LeaseGranted(wire::LeaseGranted {
                    lease: lease.get(),
                    ttl_ms,
                })
            }
            Body::LeaseRevoke(lease) => {
                if !self.leases.contains(&lease.get()) {
                    return refuse(Reason::LeaseMissing);
                }
                self.end(&mut keys, &[lease.get()])
            }
            Body::LeaseExpire {
                term: meant,
                leases,
            } => {
                if term != meant {
                    return Err(Refused(Reason::StaleTerm, term, meant));
                }
                let leases: Vec<u64> = leases.iter().map(|expiry| expiry.lease.get()).collect();
                self.end(&mut keys, &leases)
            }
            Body::Compact(revision) => {
                if revision <= self.compacted {
                    return Err(Refused(Reason::Compacted, self.compacted, revision));
                }
                if revision > self.revision() {
                    return Err(Refused(Reason::FutureRevision, self.revision(), revision));
                }
                self.compacted = revision;
                Answer::Done(wire::Done {})
            }
            Body::SetRetention { .. } | Body::Tick => Answer::Done(wire::Done {}),
            other => self.membership(other)?,
        };
        let has_written = matches!(&answer, Answer::Transact(result) if has_written(result));
        if has_written || keys != *self.now() {
            self.past.push(keys);
            self.stamps.push(Some(stamp));
        }
        Ok(answer)
    }

    fn expect(&self, key: &[u8], expected: Option<Expected>) -> Result<(), Refused> {
        let found = self.now().get(key).map_or(0, |item| item.modified);
        match expected.map(Expected::number) {
            Some(expected) if expected != found => Err(Refused(Reason::Conflict, found, expected)),
            _ => Ok(()),
        }
    }

    fn end(&mut self, keys: &mut Keys, leases: &[u64]) -> Answer {
        let before = keys.len();
        let ended: Vec<u64> = leases
            .iter()
            .copied()
            .filter(|lease| self.leases.remove(lease))
            .collect();
        keys.retain(|_, item| !ended.contains(&item.lease));
        let deleted = (before - keys.len()) as u64;
        Answer::Delete(v1::DeleteResult {
            deleted,
            previous: Vec::new(),
        })
    }

    fn membership(&mut self, body: Body) -> Result<Answer, Refused> {
        let clock = self.clock;
        match body {
            Body::ClusterInit(founding) => {
                if self.founded {
                    return refuse(Reason::NameTaken);
                }
                self.founded = true;
                self.next_member = founding.founder.0 + 1;
                self.members
                    .insert(founding.founder.0, (founding.name.to_string(), false));
            }
            Body::TokenCreate {
                digest,
                role,
                expires,
                name,
            } => {
                self.tokens.retain(|_, (_, expires, _)| *expires > clock);
                let expires = expires.as_millis();
                if expires <= clock {
                    return Err(Refused(Reason::Invalid, 0, 7 * 24 * 60 * 60 * 1_000));
                }
                if self.tokens.contains_key(digest.as_bytes()) {
                    return refuse(Reason::TokenInvalid);
                }
                let name = name.map(|name| name.to_string());
                self.tokens
                    .insert(*digest.as_bytes(), (role, expires, name));
            }
            Body::MemberAdmit { token, name, .. } => {
                let name = name.to_string();
                let role = match self.tokens.get(token.as_bytes()) {
                    Some((role, expires, meant))
                        if *expires > clock
                            && meant.as_ref().is_none_or(|meant| *meant == name) =>
                    {
                        *role
                    }
                    _ => return refuse(Reason::TokenInvalid),
                };
                if self
                    .members
                    .values()
                    .any(|(other, removed)| *other == name && !removed)
                {
                    return refuse(Reason::NameTaken);
                }
                self.tokens.remove(token.as_bytes());
                let id = self.next_member.max(1);
                self.next_member = id + 1;
                self.members.insert(id, (name, false));
                return Ok(Answer::Admitted(wire::Admitted {
                    id,
                    role: role.to_wire().into(),
                }));
            }
            Body::MemberUpdate { id, .. } => self.present(id.0)?,
            Body::MemberRemove { id, .. } => {
                self.present(id.0)?;
                if self
                    .members
                    .values()
                    .filter(|(_, removed)| !removed)
                    .count()
                    == 1
                {
                    return refuse(Reason::Invalid);
                }
                self.members.get_mut(&id.0).unwrap().1 = true;
            }
            other => panic!("not about members: {other:?}"),
        }
        Ok(Answer::Done(wire::Done {}))
    }

    fn present(&self, id: u64) -> Result<(), Refused> {
        match self.members.get(&id) {
            Some((_, false)) => Ok(()),
            _ => refuse(Reason::MemberMissing),
        }
    }
}

pub(crate) fn delete_range(keys: &mut Keys, range: &KeyRange, previous: bool) -> v1::DeleteResult {
    let gone: Vec<Vec<u8>> = keys
        .keys()
        .filter(|key| range.contains(key))
        .cloned()
        .collect();
    let gone: Vec<v1::Entry> = gone
        .into_iter()
        .map(|key| keys.remove(&key).unwrap().to_wire(&key))
        .collect();
    v1::DeleteResult {
        deleted: gone.len() as u64,
        previous: if previous { gone } else { Vec::new() },
    }
}

impl Item {
    pub(crate) fn to_wire(&self, key: &[u8]) -> v1::Entry {
        v1::Entry {
            key: key.to_vec().into(),
            value: Some(self.value.clone().into()),
            created: self.created,
            modified: self.modified,
            version: self.version,
            lease: self.lease,
            author: self.author.clone(),
            at_ms: self.at,
            note: self.note.clone(),
        }
    }
}
