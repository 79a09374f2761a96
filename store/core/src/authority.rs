//! The authorities of the cluster: whose signature makes a certificate count, and how one follows
//! another when the key of the old one may be in wrong hands.
//!
//! Only certificates stand here; keys are handed from voter to voter and never come into the log.
//! A rotation has four steps, each a command, so whoever leads goes on where another stopped:
//!
//! 1. *wanted*: somebody who removed a member asked for it. From here on both authorities are trusted,
//!    unused join tokens are void, and it is known whose key may be certified by the next authority.
//! 2. *begun*: a voter made the next authority. Until some member took it, it can be replaced: its
//!    maker may be gone, and the key with it.
//! 3. *taken*, once for each member: it holds a certificate of the next authority and, if it votes,
//!    the authority's key.
//! 4. *retired*: the old authority is trusted no more.
//!
//! Invariants: (1) generations follow one another without a gap, and one rotation ends before the
//! next begins. (2) An authority is retired only once most voters hold the key of the next: it cannot
//! be lost with the leader. (3) One that was retired is never trusted again. (4) For each removed
//! member there is at most one rotation, however often it is asked for.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::{NodeId, Timestamp, log::v1 as wire};
use imbl::{OrdMap, OrdSet};

use crate::{
    State,
    hash::{RollingHash, RowBuffer, RowHash},
    member::Role,
    reply::{Reason, Refusal},
    token::Tokens,
};

/// One authority. The first is known here only once another is to follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// 1 for the one that the cluster was founded with.
    pub generation: u64,
    /// Its certificate, DER. Empty: it is wanted, and nobody made it yet.
    pub certificate: Bytes,
    /// Why it is there. `None`: the cluster was founded with it.
    pub cause: Option<Cause>,
    /// The members that hold a certificate of it.
    pub taken: OrdSet<NodeId>,
    /// When it stopped being trusted.
    pub retired: Option<Timestamp>,
}

/// Why an authority was replaced, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The removed member that may have given the old key away.
    pub member: NodeId,
    /// Who asked.
    pub author: Arc<str>,
    /// SubjectPublicKeyInfo (DER) of who asked: the one client key that the next authority certifies
    /// although only the old one vouches for it.
    pub public_key: Bytes,
    /// When.
    pub at: Timestamp,
}

/// A rotation that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityWanted {
    /// The removed member.
    pub member: NodeId,
    /// The certificate of the authority that is to go, DER.
    pub replaces: Bytes,
    /// As in [`Cause::public_key`].
    pub public_key: Bytes,
}

/// The next authority, as a voter made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityBegin {
    /// Its number.
    pub generation: u64,
    /// Its certificate, DER.
    pub certificate: Bytes,
    /// The certificate that was made before for this number, and whose key was lost. Empty: none.
    pub replaces: Bytes,
}

/// A member has taken an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityTaken {
    /// Its number.
    pub generation: u64,
    /// Its certificate, DER.
    pub certificate: Bytes,
    /// Who.
    pub member: NodeId,
}

#[derive(Clone, Default)]
pub(crate) struct Authorities {
    pub(crate) all: OrdMap<u64, Arc<Authority>>,
    hash: RollingHash,
}

impl State {
    /// The authorities by generation. None: the cluster still has the one it was founded with.
    pub fn authorities(&self) -> impl DoubleEndedIterator<Item = &Arc<Authority>> {
        self.authorities.all.values()
    }

    /// The authority that is being taken while the one before is still trusted.
    pub fn next_authority(&self) -> Option<&Arc<Authority>> {
        self.authorities.next()
    }

    /// The authority that was made because of a removed member.
    pub fn authority_after(&self, member: NodeId) -> Option<&Arc<Authority>> {
        let mut all = self.authorities.all.values();
        all.find(|one| one.cause.as_ref().is_some_and(|it| it.member == member))
    }

    pub(crate) fn want_authority(
        &mut self,
        wanted: AuthorityWanted,
        author: Arc<str>,
    ) -> Result<(), Refusal> {
        let member = wanted.member;
        let removed = self.member(member).is_some_and(|member| member.removed);
        if !removed {
            let message = format!("member {member} was not removed; remove it first");
            return Err(Refusal::new(Reason::MemberMissing, message));
        }
        if let Some(known) = self.authority_after(member) {
            return match &known.cause {
                Some(cause) if cause.public_key == wanted.public_key => Ok(()),
                _ if self.next_authority().is_none() => Ok(()),
                _ => Err(under_way(known)),
            };
        }
        if let Some(next) = self.next_authority() {
            return Err(under_way(next));
        }
        let newest = self.authorities.newest();
        if newest.is_some_and(|newest| newest.certificate != wanted.replaces) {
            return Err(Refusal::new(
                Reason::Conflict,
                "the node that was asked has not taken the newest authority yet; nothing was \
                 changed: ask again in a moment",
            ));
        }
        let generation = newest.map_or(FIRST, |newest| newest.generation) + 1;
        if newest.is_none() {
            self.authorities.set(Authority {
                generation: FIRST,
                certificate: wanted.replaces,
                cause: None,
                taken: OrdSet::new(),
                retired: None,
            });
        }
        let at = self.clock.now;
        self.authorities.set(Authority {
            generation,
            certificate: Bytes::new(),
            cause: Some(Cause {
                member,
                author,
                public_key: wanted.public_key,
                at,
            }),
            taken: OrdSet::new(),
            retired: None,
        });
        // Whoever has the old key may have made himself tokens.
        self.tokens = Tokens::default();
        Ok(())
    }

    pub(crate) fn begin_authority(&mut self, begin: AuthorityBegin) -> Result<(), Refusal> {
        let next = self.authorities.coming(begin.generation)?;
        if !next.taken.is_empty() || next.certificate != begin.replaces {
            let message = format!(
                "authority {} was made already; nothing was changed",
                begin.generation
            );
            return Err(Refusal::new(Reason::Conflict, message));
        }
        self.authorities.set(Authority {
            certificate: begin.certificate,
            ..next
        });
        Ok(())
    }

    pub(crate) fn take_authority(&mut self, taken: &AuthorityTaken) -> Result<(), Refusal> {
        self.members.check_known(taken.member)?;
        let found = self.authorities.all.get(&taken.generation);
        let Some(found) = found.filter(|found| found.certificate == taken.certificate) else {
            let message = format!(
                "there is no authority {} with that certificate; nothing was changed",
                taken.generation
            );
            return Err(Refusal::new(Reason::Conflict, message));
        };
        let mut found = Authority::clone(found);
        found.taken.insert(taken.member);
        self.authorities.set(found);
        Ok(())
    }

    pub(crate) fn retire_authority(&mut self, generation: u64) -> Result<(), Refusal> {
        let is_gone = |one: &Arc<Authority>| one.retired.is_some();
        if self.authorities.all.get(&generation).is_some_and(is_gone) {
            return Ok(());
        }
        let next = self.authorities.coming(generation + 1)?;
        let votes = |member: &&Arc<crate::Member>| member.role == Role::Voter;
        let voters = || self.members.present().filter(votes);
        let (have, all) = (
            voters().filter(|one| next.taken.contains(&one.id)).count(),
            voters().count(),
        );
        if 2 * have <= all {
            let message = format!(
                "{have} of {all} voters have taken authority {}; authority {generation} is \
                 trusted until most of them have",
                next.generation
            );
            return Err(Refusal::new(Reason::Conflict, message).numbers(have as u64, all as u64));
        }
        if let Some(old) = self.authorities.all.get(&generation) {
            self.authorities.set(Authority {
                retired: Some(self.clock.now),
                ..Authority::clone(old)
            });
        }
        Ok(())
    }
}

impl Authorities {
    pub(crate) fn hash(&self) -> RollingHash {
        self.hash
    }

    fn newest(&self) -> Option<&Arc<Authority>> {
        self.all.get_max().map(|(_, newest)| newest)
    }

    fn next(&self) -> Option<&Arc<Authority>> {
        let newest = self.newest()?;
        let before = self.all.get(&newest.generation.checked_sub(1)?)?;
        before.retired.is_none().then_some(newest)
    }

    /// The next one, if it has this number.
    fn coming(&self, generation: u64) -> Result<Authority, Refusal> {
        match self.next() {
            Some(next) if next.generation == generation => Ok(Authority::clone(next)),
            _ => {
                let message = format!("authority {generation} is not wanted; nothing was changed");
                Err(Refusal::new(Reason::Conflict, message))
            }
        }
    }

    /// Adds or replaces a row.
    pub(crate) fn set(&mut self, authority: Authority) {
        self.hash.add(row_hash(&authority));
        let before = self.all.insert(authority.generation, Arc::new(authority));
        if let Some(before) = before {
            self.hash.remove(row_hash(&before));
        }
    }
}

impl Authority {
    pub(crate) fn to_row(&self) -> wire::AuthorityRow {
        wire::AuthorityRow {
            generation: self.generation,
            certificate: self.certificate.clone(),
            cause: self.cause.as_ref().map(|cause| wire::AuthorityCause {
                member: cause.member.0,
                author: cause.author.to_string(),
                public_key: cause.public_key.clone(),
                at_ms: cause.at.as_millis(),
            }),
            taken: self.taken.iter().map(|member| member.0).collect(),
            retired_at_ms: self.retired.map_or(0, Timestamp::as_millis),
        }
    }

    pub(crate) fn from_row(row: &wire::AuthorityRow) -> Self {
        Self {
            generation: row.generation,
            certificate: Bytes::copy_from_slice(&row.certificate),
            cause: row.cause.as_ref().map(|cause| Cause {
                member: NodeId(cause.member),
                author: cause.author.as_str().into(),
                public_key: Bytes::copy_from_slice(&cause.public_key),
                at: Timestamp::from_millis(cause.at_ms),
            }),
            taken: row.taken.iter().copied().map(NodeId).collect(),
            retired: (row.retired_at_ms != 0).then(|| Timestamp::from_millis(row.retired_at_ms)),
        }
    }
}

fn under_way(next: &Authority) -> Refusal {
    let (member, author) = next.cause.as_ref().map_or((NodeId(0), "nobody"), |cause| {
        (cause.member, &*cause.author)
    });
    let message = format!(
        "the authority is being replaced already, because of member {member}, as {author} asked \
         with another key; whoever began it has to end it; nothing was changed"
    );
    Refusal::new(Reason::Conflict, message)
}

fn row_hash(authority: &Authority) -> RowHash {
    let row = RowBuffer::new(b'c')
        .number(authority.generation)
        .bytes(&authority.certificate)
        .number(authority.retired.map_or(0, Timestamp::as_millis));
    let row = match &authority.cause {
        None => row.number(0),
        Some(cause) => row
            .number(cause.member.0)
            .bytes(cause.author.as_bytes())
            .bytes(&cause.public_key)
            .number(cause.at.as_millis()),
    };
    let taken = authority.taken.iter();
    taken.fold(row, |row, member| row.number(member.0)).finish()
}

const FIRST: u64 = 1;
