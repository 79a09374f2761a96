//! The keyring in commands and archives: to the wire and back.

use bytes::Bytes;
use holdfast_proto::{
    Key, NodeId, Revision, Timestamp, limits,
    log::v1::{self as wire, state_row::Row},
    v1,
};

use super::{
    EpochBegin, EpochInfo, EpochWrap, Keyring, MemberWrap, NodeKey, Recovery, RecoverySet, Wrap,
};
use crate::{
    State,
    command::{CommandError, most, parse_key},
    entry::VersionId,
    row::RowError,
};

impl Keyring {
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        let holders = self.holders.iter().map(|(member, key)| {
            Row::NodeKey(wire::NodeKeyRow {
                member: member.0,
                public_key: key.public_key.clone(),
                protector: key.protector.to_string(),
            })
        });
        let recovery = self.recovery.iter().map(|recovery| {
            Row::Recovery(wire::RecoveryRow {
                recovery: Some(recovery.to_wire()),
            })
        });
        let epochs = self.epochs.values().map(|epoch| {
            Row::Epoch(wire::EpochRow {
                epoch: Some(epoch_to_wire(epoch)),
                at_ms: epoch.at.as_millis(),
                author: epoch.author.to_string(),
            })
        });
        let wraps = self
            .wraps
            .iter()
            .map(|(id, wrap)| Row::Wrap(wrap_to_wire(id, wrap.epoch, wrap.wrap.clone())));
        holders.chain(recovery).chain(epochs).chain(wraps)
    }

    pub(crate) fn restore_node_key(&mut self, row: wire::NodeKeyRow) -> Result<(), RowError> {
        let key = parse_node_key(&row.public_key, row.protector)?;
        self.insert_node_key(NodeId(row.member), key);
        Ok(())
    }

    pub(crate) fn restore_recovery(&mut self, row: wire::RecoveryRow) -> Result<(), RowError> {
        let row = row.recovery.ok_or(RowError::Damaged {
            row: "recovery",
            what: "it is empty",
        })?;
        self.insert_recovery(Recovery {
            set: copy("the set of shares", &row.set, limits::PUBLIC_KEY_BYTES)?,
            public_key: copy(
                "the recovery key",
                &row.public_key,
                limits::PUBLIC_KEY_BYTES,
            )?,
            shares: row.shares,
            threshold: row.threshold,
            at: Timestamp::from_millis(row.at_ms),
            verified_at: (row.verified_at_ms != 0)
                .then_some(Timestamp::from_millis(row.verified_at_ms)),
            author: row.author.into(),
        });
        Ok(())
    }

    pub(crate) fn restore_epoch(&mut self, row: wire::EpochRow) -> Result<(), RowError> {
        let (at, author) = (Timestamp::from_millis(row.at_ms), row.author.into());
        let begin = row.epoch.ok_or(RowError::Damaged {
            row: "epoch",
            what: "it is empty",
        })?;
        let begin = parse_epoch(begin, false)?;
        self.insert_epoch(EpochInfo {
            epoch: begin.epoch,
            check: begin.check,
            wraps: begin.wraps.into_iter().collect(),
            recovery_wrap: begin.recovery_wrap,
            recovery_set: begin.recovery_set,
            sealed_previous: begin.sealed_previous,
            reason: begin.reason,
            at,
            author,
        });
        Ok(())
    }

    pub(crate) fn restore_wrap(&mut self, row: wire::VersionWrap) -> Result<(), RowError> {
        let (id, wrap) = parse_wrap(&row)?;
        self.insert_wrap(id, wrap);
        Ok(())
    }
}

impl State {
    /// Whether the rows of the keyring go with one another and with those of the keyspace.
    pub(crate) fn check_restored_keyring(&self) -> Result<(), RowError> {
        let numbers = self.keyring.epochs.keys().copied();
        if !numbers.eq(1..=self.keyring.newest_number()) {
            return Err(RowError::Contradiction(
                "an epoch of the keyring is missing",
            ));
        }
        for (id, wrap) in &self.keyring.wraps {
            if !self.keyring.epochs.contains_key(&wrap.epoch) {
                return Err(RowError::Contradiction("a secret's epoch is not there"));
            }
            if self
                .sealed_version(id.key.as_bytes(), id.revision)
                .is_none()
            {
                return Err(RowError::Contradiction("a wrap has no secret"));
            }
        }
        Ok(())
    }
}

pub(crate) fn parse_node_key(
    public_key: &Bytes,
    protector: String,
) -> Result<NodeKey, CommandError> {
    most(
        "the protector",
        "name bytes",
        protector.len(),
        limits::AUTHOR_BYTES,
    )?;
    Ok(NodeKey {
        public_key: needed("the node key", public_key, limits::PUBLIC_KEY_BYTES)?,
        protector: protector.into(),
    })
}

pub(crate) fn parse_recovery_set(set: wire::RecoverySet) -> Result<RecoverySet, CommandError> {
    let recovery = set
        .recovery
        .ok_or(CommandError::Missing("the recovery key is not set"))?;
    let epoch = set.epoch.ok_or(CommandError::Missing(
        "the recovery key comes without its epoch",
    ))?;
    if recovery.threshold == 0 || recovery.threshold > recovery.shares {
        return Err(CommandError::Invalid(
            "of the recovery shares at least one, and at most all, must be needed",
        ));
    }
    Ok(RecoverySet {
        set: needed("the set of shares", &recovery.set, limits::SHARE_SET_BYTES)?,
        public_key: needed(
            "the recovery key",
            &recovery.public_key,
            limits::PUBLIC_KEY_BYTES,
        )?,
        shares: recovery.shares,
        threshold: recovery.threshold,
        replaces: set
            .replaces
            .map(|set| copy("the set of shares", &set, limits::SHARE_SET_BYTES))
            .transpose()?,
        epoch: parse_epoch(epoch, true)?,
    })
}

pub(crate) fn recovery_set_to_wire(set: RecoverySet) -> wire::RecoverySet {
    wire::RecoverySet {
        recovery: Some(v1::Recovery {
            set: set.set,
            public_key: set.public_key,
            shares: set.shares,
            threshold: set.threshold,
            ..v1::Recovery::default()
        }),
        replaces: set.replaces,
        epoch: Some(begin_to_wire(set.epoch)),
    }
}

/// `fresh`: with every wrap, as when it begins; in an archive, older ones are without.
pub(crate) fn parse_epoch(wire: wire::EpochBegin, fresh: bool) -> Result<EpochBegin, CommandError> {
    let mut wraps = Vec::with_capacity(wire.wraps.len());
    for wrap in &wire.wraps {
        let wrap = parse_epoch_wrap(wrap, fresh)?;
        if wrap.epoch != wire.epoch {
            return Err(CommandError::Invalid("an epoch has the wrap of another"));
        }
        wraps.push((wrap.member, wrap.wrap));
    }
    wraps.sort_unstable_by_key(|(member, _)| *member);
    if wraps.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(CommandError::Invalid(
            "an epoch is wrapped for a member twice",
        ));
    }
    if fresh && wire.recovery_wrap.is_empty() {
        return Err(CommandError::Missing(
            "the epoch has no wrap for the recovery key",
        ));
    }
    if wire.epoch == 0 {
        return Err(CommandError::Missing("the epoch has no number"));
    }
    most(
        "the reason",
        "note bytes",
        wire.reason.len(),
        limits::NOTE_BYTES,
    )?;
    Ok(EpochBegin {
        epoch: wire.epoch,
        check: needed("the check of the epoch", &wire.check, limits::WRAP_BYTES)?,
        wraps,
        recovery_wrap: copy("the recovery wrap", &wire.recovery_wrap, limits::WRAP_BYTES)?,
        recovery_set: needed(
            "the set of shares",
            &wire.recovery_set,
            limits::SHARE_SET_BYTES,
        )?,
        sealed_previous: copy(
            "the previous key",
            &wire.sealed_previous,
            limits::WRAP_BYTES,
        )?,
        reason: wire.reason.into(),
    })
}

pub(crate) fn begin_to_wire(begin: EpochBegin) -> wire::EpochBegin {
    let epoch = begin.epoch;
    let wraps = begin.wraps.iter();
    wire::EpochBegin {
        epoch,
        check: begin.check,
        wraps: wraps
            .map(|(member, wrap)| member_wrap(epoch, *member, wrap))
            .collect(),
        recovery_wrap: begin.recovery_wrap,
        recovery_set: begin.recovery_set,
        sealed_previous: begin.sealed_previous,
        reason: begin.reason.to_string(),
    }
}

fn epoch_to_wire(epoch: &EpochInfo) -> wire::EpochBegin {
    let wraps = epoch.wraps.iter();
    wire::EpochBegin {
        epoch: epoch.epoch,
        check: epoch.check.clone(),
        wraps: wraps
            .map(|(member, wrap)| member_wrap(epoch.epoch, *member, wrap))
            .collect(),
        recovery_wrap: epoch.recovery_wrap.clone(),
        recovery_set: epoch.recovery_set.clone(),
        sealed_previous: epoch.sealed_previous.clone(),
        reason: epoch.reason.to_string(),
    }
}

fn member_wrap(epoch: u64, member: NodeId, wrap: &MemberWrap) -> wire::EpochWrap {
    wire::EpochWrap {
        epoch,
        member: member.0,
        public_key: wrap.public_key.clone(),
        wrap: wrap.wrap.clone(),
    }
}

pub(crate) fn parse_epoch_wrap(
    wire: &wire::EpochWrap,
    fresh: bool,
) -> Result<EpochWrap, CommandError> {
    if fresh && (wire.wrap.is_empty() || wire.public_key.is_empty()) {
        return Err(CommandError::Missing("the wrap of an epoch is empty"));
    }
    Ok(EpochWrap {
        epoch: wire.epoch,
        member: NodeId(wire.member),
        wrap: MemberWrap {
            public_key: copy("the node key", &wire.public_key, limits::PUBLIC_KEY_BYTES)?,
            wrap: copy("the wrap", &wire.wrap, limits::WRAP_BYTES)?,
        },
    })
}

pub(crate) fn epoch_wrap_to_wire(wrap: &EpochWrap) -> wire::EpochWrap {
    member_wrap(wrap.epoch, wrap.member, &wrap.wrap)
}

pub(crate) fn parse_rewrap(
    wire: wire::Rewrap,
) -> Result<(u64, Vec<(VersionId, Bytes)>), CommandError> {
    most("the batch", "wraps", wire.wraps.len(), limits::REWRAP_WRAPS)?;
    let mut wraps = Vec::with_capacity(wire.wraps.len());
    for row in &wire.wraps {
        let (id, wrap) = parse_wrap(row)?;
        if wrap.epoch != wire.epoch {
            return Err(CommandError::Invalid(
                "a wrap is of another epoch than its batch",
            ));
        }
        wraps.push((id, wrap.wrap));
    }
    Ok((wire.epoch, wraps))
}

pub(crate) fn wrap_to_wire(id: &VersionId, epoch: u64, wrap: Bytes) -> wire::VersionWrap {
    wire::VersionWrap {
        key: id.key.to_bytes(),
        revision: id.revision.get(),
        epoch,
        wrap,
    }
}

fn parse_wrap(row: &wire::VersionWrap) -> Result<(VersionId, Wrap), CommandError> {
    let key: Key = parse_key(&row.key)?;
    let revision =
        Revision::new(row.revision).ok_or(CommandError::Missing("a wrap has no revision"))?;
    let wrap = Wrap {
        epoch: row.epoch,
        wrap: needed("the wrap", &row.wrap, limits::WRAP_BYTES)?,
    };
    Ok((VersionId { key, revision }, wrap))
}

pub(crate) fn parse_seal(wire: &v1::Seal) -> Result<super::Seal, CommandError> {
    Ok(super::Seal {
        version: wire.version,
        epoch: wire.epoch,
        wrap: needed("the wrap", &wire.wrap, limits::WRAP_BYTES)?,
    })
}

pub(crate) fn parse_set(set: &Bytes) -> Result<Bytes, CommandError> {
    needed("the set of shares", set, limits::SHARE_SET_BYTES)
}

fn needed(what: &'static str, bytes: &Bytes, at_most: usize) -> Result<Bytes, CommandError> {
    if bytes.is_empty() {
        return Err(CommandError::Missing("a part of the keyring is empty"));
    }
    copy(what, bytes, at_most)
}

/// Copies, so as not to keep the whole request alive.
fn copy(what: &'static str, bytes: &Bytes, at_most: usize) -> Result<Bytes, CommandError> {
    most(what, "keyring bytes", bytes.len(), at_most)?;
    Ok(Bytes::copy_from_slice(bytes))
}
