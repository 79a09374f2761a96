//! A whole state as rows, for archives: out with [`State::rows`], back with [`State::from_rows`].
//!
//! The rows carry what nodes agree on, no more: a state made from them has an empty window for
//! watches. Values of older versions are not among them; the past has those.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::{
    Key, KeyRange, LeaseId, NodeId, Revision, SessionId, Timestamp, ValueKind,
    log::v1::{self as wire, StateRow, state_row::Row},
    v1,
};

use crate::{
    State,
    access::{Known, Role as AccessRole},
    audit::Anchor,
    authority::Authority,
    clock::Clock,
    command::CommandError,
    entry::{Found, VersionMeta},
    hash::Digest,
    limits::Limits,
    member::{ClusterInfo, Departure, Member, Role},
    recent::Recent,
    reply::Reply,
    retention::Policy,
    token::{Token, TokenDigest},
    wire::{
        field::{anchor_to_wire, parse_anchor, parse_grant, parse_identity},
        fleet::parse_entry,
    },
};

/// Why rows are not a state. The archive is damaged or of a newer version: use another.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// A row is empty, or of a kind that this version does not know.
    #[error("a row is of a kind not known here; the archive may be of a newer version")]
    Unknown,
    /// The first row is not the head, or there are two.
    #[error("the rows do not begin with one head; the archive is damaged")]
    Head,
    /// A field makes no sense.
    #[error("a {row} row is damaged: {what}")]
    Damaged {
        /// Of which kind.
        row: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A field does not parse.
    #[error("a row is damaged")]
    Field(#[from] CommandError),
    /// A row refers to one that is not there, or stands there twice.
    #[error("the rows contradict each other: {0}; the archive is damaged")]
    Contradiction(&'static str),
}

impl State {
    /// Every row that nodes agree on, the head first.
    pub fn rows(&self) -> impl Iterator<Item = StateRow> + '_ {
        let row = |row| StateRow { row: Some(row) };
        let keys = &self.keys;
        let marks = keys
            .histories(&KeyRange::all())
            .filter(|(_, history)| history.forgotten > 0);
        std::iter::once(Row::Head(self.head()))
            .chain(
                self.policies
                    .all
                    .iter()
                    .map(|(prefix, policy)| retention_row(prefix, policy)),
            )
            .chain(self.leases.all.iter().map(|(id, lease)| {
                Row::Lease(wire::LeaseRow {
                    lease: id.get(),
                    ttl_ms: lease.ttl_ms,
                    granted_at_ms: lease.granted_at.as_millis(),
                })
            }))
            .chain(
                keys.range(&KeyRange::all())
                    .map(|(key, entry)| Row::Entry(entry.to_row(key))),
            )
            .chain(
                keys.older_range(&KeyRange::all())
                    .map(|(key, meta)| Row::Version(version_row(key, meta))),
            )
            .chain(marks.map(|(key, history)| {
                Row::Mark(wire::MarkRow {
                    key: key.to_bytes(),
                    forgotten: history.forgotten,
                })
            }))
            .chain(self.sessions.all.iter().map(|(id, session)| {
                Row::Session(wire::SessionRow {
                    session: Bytes::copy_from_slice(id.as_bytes()),
                    floor: session.floor,
                    seen_ms: session.seen_ms,
                })
            }))
            .chain(self.sessions.answers().map(|(id, sequence, answer)| {
                Row::Answer(wire::AnswerRow {
                    session: Bytes::copy_from_slice(id.as_bytes()),
                    sequence,
                    reply: answer.reply.clone().map(Reply::into_wire),
                })
            }))
            .chain(self.members.all.values().map(|member| {
                Row::Member(wire::MemberRow {
                    member: Some(member.to_wire()),
                    public_key: member.public_key.clone(),
                    removed: member.removed,
                    removed_at_ms: departed(member).0,
                    removed_revision: departed(member).1,
                    heard_at_ms: departed(member).2,
                })
            }))
            .chain(self.authorities().map(|one| Row::Authority(one.to_row())))
            .chain(
                self.tokens
                    .all
                    .iter()
                    .map(|(digest, token)| token_row(digest, token)),
            )
            .chain(
                self.anchors
                    .rows()
                    .map(|(member, anchor)| anchor_row(member, anchor)),
            )
            .chain(self.keyring.rows())
            .chain(self.access.role_rows().map(Row::Role))
            .chain(self.access.grant_rows().map(Row::Grant))
            .chain(self.access.identity_rows().map(Row::Identity))
            .chain(self.fleet.rows().map(Row::Fleet))
            .map(row)
    }

    /// The state that gave these rows.
    pub fn from_rows(rows: impl IntoIterator<Item = StateRow>) -> Result<Self, RowError> {
        Self::from_rows_with_limits(rows, Limits::default())
    }

    /// As [`State::from_rows`], with other limits than all clusters have: for tests.
    pub fn from_rows_with_limits(
        rows: impl IntoIterator<Item = StateRow>,
        limits: Limits,
    ) -> Result<Self, RowError> {
        let mut state = Self::with_limits(limits);
        let mut rows = rows.into_iter();
        match rows.next().and_then(|row| row.row) {
            Some(Row::Head(head)) => state.restore_head(head),
            _ => return Err(RowError::Head),
        }
        let mut answers = Vec::new();
        for row in rows {
            match row.row.ok_or(RowError::Unknown)? {
                // An answer counts for its session, which must be there first.
                Row::Answer(answer) => answers.push(answer),
                row => state.restore(row)?,
            }
        }
        for answer in answers {
            state.restore_answer(answer)?;
        }
        state.bind_leases()?;
        if !state.keys.restore_order() {
            return Err(RowError::Contradiction(
                "an older version has nothing after it",
            ));
        }
        state.check_restored_keyring()?;
        Ok(state)
    }

    fn head(&self) -> wire::StateHead {
        let cluster = self.members.cluster.as_ref();
        wire::StateHead {
            revision: self.revision,
            compacted: self.compacted,
            clock_ms: self.clock.now.as_millis(),
            steady_ms: self.clock.steady_ms,
            sweep_from: self.sweep_from.clone(),
            cluster_id: cluster.map_or_else(String::new, |cluster| cluster.id.to_string()),
            cluster_name: cluster.map_or_else(String::new, |cluster| cluster.name.to_string()),
            next_member: self.members.next,
            lineage: cluster
                .filter(|cluster| cluster.lineage != cluster.id)
                .map_or_else(String::new, |cluster| cluster.lineage.to_string()),
        }
    }

    fn restore_head(&mut self, head: wire::StateHead) {
        self.revision = head.revision;
        self.compacted = head.compacted;
        self.clock = Clock {
            now: Timestamp::from_millis(head.clock_ms),
            steady_ms: head.steady_ms,
        };
        self.sweep_from = Bytes::copy_from_slice(&head.sweep_from);
        self.members.next = head.next_member;
        self.recent = Recent::starting_at(head.revision + 1);
        if !head.cluster_id.is_empty() {
            let id: Arc<str> = head.cluster_id.into();
            self.members.cluster = Some(ClusterInfo {
                lineage: match head.lineage.is_empty() {
                    true => Arc::clone(&id),
                    false => head.lineage.into(),
                },
                id,
                name: head.cluster_name.into(),
            });
        }
    }

    fn restore(&mut self, row: Row) -> Result<(), RowError> {
        match row {
            Row::Head(_) => return Err(RowError::Head),
            Row::NodeKey(row) => self.keyring.restore_node_key(row)?,
            Row::Recovery(row) => self.keyring.restore_recovery(row)?,
            Row::Epoch(row) => self.keyring.restore_epoch(row)?,
            Row::Wrap(row) => self.keyring.restore_wrap(row)?,
            Row::Entry(row) => self.restore_entry(row)?,
            Row::Version(row) => self.restore_version(row)?,
            Row::Mark(row) => {
                let key = parse_key(&row.key)?;
                self.keys.restore_mark(&key, row.forgotten);
            }
            Row::Retention(row) => {
                let retention = row.retention.map(Into::into);
                let policy = Policy {
                    retention,
                    floor: row.floor,
                };
                self.policies
                    .insert(Bytes::copy_from_slice(&row.prefix), policy);
            }
            Row::Lease(row) => {
                let id = LeaseId::new(row.lease).ok_or(damaged("lease", "it has no id"))?;
                let granted_at = Timestamp::from_millis(row.granted_at_ms);
                self.leases.insert(id, row.ttl_ms, granted_at);
            }
            Row::Session(row) => {
                let id = session_id(&row.session)?;
                self.sessions.insert_session(id, row.floor, row.seen_ms);
            }
            Row::Answer(row) => self.restore_answer(row)?,
            Row::Member(row) => self.members.set(member(row)?),
            Row::Role(row) => {
                let role = AccessRole::try_from(row).map_err(CommandError::from)?;
                self.access.insert_role(role);
            }
            Row::Grant(row) => {
                let (identity, roles) = parse_grant(row)?;
                self.access.insert_grant(identity, roles.into());
            }
            Row::Identity(row) => {
                let known = Known::from_wire(&row);
                self.access
                    .insert_identity(parse_identity(row.identity)?, known);
            }
            Row::Fleet(row) => {
                let (identity, reported) = parse_entry(row)?;
                self.fleet.restore(identity, reported);
            }
            Row::Authority(row) => self.authorities.set(Authority::from_row(&row)),
            Row::AuditAnchor(row) => {
                let anchor = row.anchor.ok_or(damaged("audit anchor", "it is empty"))?;
                let (member, sequence, hash) = parse_anchor(&anchor)?;
                self.anchors.insert(
                    member,
                    Anchor {
                        sequence,
                        hash,
                        at: Timestamp::from_millis(row.at_ms),
                    },
                );
            }
            Row::Token(row) => {
                let digest = row.digest[..].try_into();
                let digest = digest.map_err(|_| damaged("token", "its digest is not 32 bytes"))?;
                let token = Token {
                    role: Role::from_wire(row.role()).ok_or(damaged("token", "it has no role"))?,
                    expires: Timestamp::from_millis(row.expires_at_ms),
                    name: match row.name.is_empty() {
                        true => None,
                        false => Some(row.name.parse().map_err(CommandError::from)?),
                    },
                };
                self.tokens.insert(TokenDigest::from_bytes(digest), token);
            }
        }
        Ok(())
    }

    fn restore_entry(&mut self, row: v1::Entry) -> Result<(), RowError> {
        if row.value.is_none() {
            return Err(damaged("entry", "it has no value"));
        }
        let Found { key, entry } = Found::try_from(row)?;
        if entry.meta.revision.get() > self.revision {
            return Err(damaged("entry", "it is newer than the state"));
        }
        let mut entry = Arc::unwrap_or_clone(entry);
        let mut meta = Arc::unwrap_or_clone(entry.meta);
        meta.author = self.authors.intern(meta.author);
        entry.meta = Arc::new(meta);
        if !self.keys.restore_entry(key, entry) {
            return Err(RowError::Contradiction("a key stands there twice"));
        }
        Ok(())
    }

    fn restore_version(&mut self, row: wire::VersionRow) -> Result<(), RowError> {
        let key = parse_key(&row.key)?;
        let revision =
            |number| Revision::new(number).ok_or(damaged("version", "it has no revision"));
        let kind: Option<ValueKind> = match row.kind.is_empty() {
            true => None,
            false => Some(
                row.kind
                    .parse()
                    .map_err(|_| damaged("version", "its kind is not known"))?,
            ),
        };
        let digest = match kind {
            None => Digest::NONE,
            Some(_) => {
                let digest = row.digest[..].try_into();
                Digest::from_bytes(
                    digest.map_err(|_| damaged("version", "its digest is not 32 bytes"))?,
                )
            }
        };
        let meta = VersionMeta {
            revision: revision(row.revision)?,
            created: revision(row.created)?,
            version: row.version,
            kind,
            digest,
            author: self.authors.intern(row.author.into()),
            note: row.note.into(),
            at: Timestamp::from_millis(row.at_ms),
            lease: LeaseId::new(row.lease),
            bytes: row
                .bytes
                .try_into()
                .map_err(|_| damaged("version", "its value is too large"))?,
        };
        if !self.keys.restore_version(&key, meta) {
            return Err(RowError::Contradiction("a version stands there twice"));
        }
        Ok(())
    }

    fn restore_answer(&mut self, row: wire::AnswerRow) -> Result<(), RowError> {
        let id = session_id(&row.session)?;
        let reply = row.reply.map(Reply::from_wire).transpose()?;
        if !self.sessions.restore_answer(id, row.sequence, reply) {
            return Err(RowError::Contradiction(
                "an answer has no session, or stands there twice",
            ));
        }
        Ok(())
    }

    /// A lease's keys are those that name it.
    fn bind_leases(&mut self) -> Result<(), RowError> {
        for (key, entry) in self.keys.range(&KeyRange::all()) {
            if entry
                .meta
                .lease
                .is_some_and(|id| !self.leases.all.contains_key(&id))
            {
                return Err(RowError::Contradiction("a key's lease is not there"));
            }
            self.leases.rebind(key, None, entry.meta.lease);
        }
        Ok(())
    }
}

fn retention_row(prefix: &Bytes, policy: &Policy) -> Row {
    Row::Retention(wire::RetentionRow {
        prefix: prefix.clone(),
        retention: policy.retention.map(Into::into),
        floor: policy.floor,
    })
}

fn version_row(key: &Key, meta: &VersionMeta) -> wire::VersionRow {
    wire::VersionRow {
        key: key.to_bytes(),
        revision: meta.revision.get(),
        created: meta.created.get(),
        version: meta.version,
        kind: meta.kind.map_or("", ValueKind::as_str).into(),
        digest: match meta.kind {
            None => Bytes::new(),
            Some(_) => Bytes::copy_from_slice(meta.digest.as_bytes()),
        },
        author: meta.author.to_string(),
        note: meta.note.to_string(),
        at_ms: meta.at.as_millis(),
        lease: meta.lease.map_or(0, LeaseId::get),
        bytes: meta.bytes.into(),
    }
}

fn token_row(digest: &TokenDigest, token: &Token) -> Row {
    Row::Token(wire::TokenRow {
        digest: Bytes::copy_from_slice(digest.as_bytes()),
        role: token.role.to_wire().into(),
        expires_at_ms: token.expires.as_millis(),
        name: token
            .name
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
    })
}

fn anchor_row(member: NodeId, anchor: &Anchor) -> Row {
    Row::AuditAnchor(wire::AuditAnchorRow {
        anchor: Some(anchor_to_wire(member, anchor.sequence, &anchor.hash)),
        at_ms: anchor.at.as_millis(),
    })
}

fn member(row: wire::MemberRow) -> Result<Member, RowError> {
    let known = row.member.ok_or(damaged("member", "it is empty"))?;
    Ok(Member {
        id: NodeId(known.id),
        role: Role::from_wire(known.role()).ok_or(damaged("member", "it has no role"))?,
        name: known.name.parse().map_err(CommandError::from)?,
        address: known.address.into(),
        public_key: Bytes::copy_from_slice(&row.public_key),
        joined_at: Timestamp::from_millis(known.joined_at_ms),
        removed: row.removed,
        departure: (row.removed_at_ms != 0).then(|| Departure {
            at: Timestamp::from_millis(row.removed_at_ms),
            revision: row.removed_revision,
            heard: (row.heard_at_ms != 0).then(|| Timestamp::from_millis(row.heard_at_ms)),
        }),
    })
}

/// When, at which revision, and last heard when.
fn departed(member: &Member) -> (u64, u64, u64) {
    member.departure.map_or((0, 0, 0), |departure| {
        let heard = departure.heard.map_or(0, Timestamp::as_millis);
        (departure.at.as_millis(), departure.revision, heard)
    })
}

fn session_id(bytes: &[u8]) -> Result<SessionId, RowError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| damaged("session", "its id is not 16 bytes"))?;
    Ok(SessionId::from_bytes(bytes))
}

fn parse_key(bytes: &Bytes) -> Result<Key, RowError> {
    Ok(crate::command::parse_key(bytes).map_err(CommandError::from)?)
}

fn damaged(row: &'static str, what: &'static str) -> RowError {
    RowError::Damaged { row, what }
}
