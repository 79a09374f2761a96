//! One report, checked: as it came, within its limits, and of plain text.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::{limits, v1};
use prost::Message as _;

use super::ReportKey;
use crate::command::{CommandError, most};

/// What a client says about one subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Report(Arc<v1::FleetReport>);

impl TryFrom<v1::FleetReport> for Report {
    type Error = CommandError;

    fn try_from(mut wire: v1::FleetReport) -> Result<Self, CommandError> {
        let total = wire.encoded_len();
        most(
            "the report",
            "report bytes",
            total,
            limits::FLEET_REPORT_BYTES,
        )?;
        most(
            "the prefix",
            "key bytes",
            wire.prefix.len(),
            limits::KEY_BYTES,
        )?;
        let items = wire.items.len();
        most("the report", "report items", items, limits::FLEET_ITEMS)?;
        let roles = wire.roles.len();
        most("the report", "report roles", roles, limits::FLEET_ROLES)?;
        if wire.instance.is_empty() {
            return Err(CommandError::Missing("the report names no instance"));
        }
        if wire.state == 0 || v1::FleetState::try_from(wire.state).is_err() {
            return Err(CommandError::Missing(
                "the report's state is not known here",
            ));
        }
        let own = [
            &wire.set,
            &wire.instance,
            &wire.node,
            &wire.program,
            &wire.version,
        ];
        for name in own.into_iter().chain(&wire.roles) {
            text("a name in the report", name, limits::FLEET_NAME_BYTES)?;
        }
        text("the detail", &wire.detail, limits::FLEET_DETAIL_BYTES)?;
        for item in &wire.items {
            text("an item's name", &item.name, limits::FLEET_DETAIL_BYTES)?;
            text("an item's result", &item.result, limits::FLEET_DETAIL_BYTES)?;
        }
        if let Some(one) = &wire.r#override {
            text("the signer", &one.signer, limits::FLEET_NAME_BYTES)?;
            text("the reason", &one.reason, limits::FLEET_DETAIL_BYTES)?;
        }
        // What shares a larger buffer would keep all of it alive.
        wire.prefix = Bytes::copy_from_slice(&wire.prefix);
        for item in &mut wire.items {
            item.digest = Bytes::copy_from_slice(&item.digest);
        }
        Ok(Self(Arc::new(wire)))
    }
}

impl Report {
    /// As it came.
    pub fn to_wire(&self) -> v1::FleetReport {
        (*self.0).clone()
    }

    /// Of somebody who says this.
    pub fn key(&self, identity: Arc<str>) -> ReportKey {
        ReportKey {
            identity,
            prefix: self.0.prefix.clone(),
            set: self.0.set.as_str().into(),
            instance: self.0.instance.as_str().into(),
        }
    }

    /// The subject's prefix.
    pub fn prefix(&self) -> &Bytes {
        &self.0.prefix
    }

    /// Whether an emergency override is in use.
    pub(super) fn is_overridden(&self) -> bool {
        self.0.r#override.is_some()
    }

    pub(super) fn run(&self) -> u64 {
        self.0.run
    }

    pub(super) fn held_ms(&self) -> u64 {
        self.0.held_ms
    }

    /// Whether the same process said something newer before.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.0.run == other.0.run && self.0.sequence < other.0.sequence
    }

    /// But for who says it, and when.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let what = |report: &Self| v1::FleetReport {
            is_current: false,
            age_ms: 0,
            held_ms: 0,
            run: 0,
            sequence: 0,
            ..report.to_wire()
        };
        what(self) == what(other)
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.encoded_len()
    }
}

/// A line of so many bytes, with nothing in it that a terminal obeys.
fn text(what: &'static str, text: &str, longest: usize) -> Result<(), CommandError> {
    most(what, "report text bytes", text.len(), longest)?;
    if text.chars().any(char::is_control) {
        return Err(CommandError::Invalid(
            "a text of the report is not one plain line",
        ));
    }
    Ok(())
}
