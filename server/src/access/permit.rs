//! What one caller may do, as of one policy: the questions that services ask.

use std::sync::Arc;

use holdfast_core::access::{Capability, Decision, Rights, Target};
use holdfast_proto::KeyRange;
use tonic::Status;

use super::{Denied, Required};
use crate::{caller::Held, status::Reason};

/// What one caller may do.
pub(crate) struct Permit {
    author: Arc<str>,
    held: Arc<Held>,
}

impl Permit {
    pub(crate) fn new(author: Arc<str>, held: Arc<Held>) -> Self {
        Self { author, held }
    }

    pub(super) fn rights(&self) -> &Rights {
        &self.held.rights
    }

    /// Whether the caller may use a method at all.
    pub(crate) fn meets(&self, required: Required) -> Result<(), Denied> {
        let rights = self.rights();
        if rights.is_revoked() && !matches!(required, Required::Open) {
            return Err(Denied::revoked(&self.author));
        }
        match required {
            Required::Open | Required::Certificate | Required::Node => Ok(()),
            Required::Keys(any) if rights.has_any(any) => Ok(()),
            Required::Keys(any) => {
                let names: Vec<&str> = any.iter().map(Capability::as_str).collect();
                Err(Denied::anywhere(&self.author, names.join(" or ")))
            }
            Required::Cluster(capability) => self.check(capability, Target::Cluster),
        }
    }

    /// The rule by which the caller may use a method about the cluster as a whole, for the record.
    pub(crate) fn rule(&self, required: Required) -> Option<String> {
        let Required::Cluster(capability) = required else {
            return None;
        };
        let decision = self.rights().decide(capability, Target::Cluster);
        decision.by.map(ToString::to_string)
    }

    /// Which keys of a range there are.
    pub(crate) fn list(&self, range: &KeyRange) -> Result<(), Denied> {
        self.check_range(Capability::List, range)
    }

    /// The values of a range, and with several also which keys there are.
    pub(crate) fn read(&self, range: &KeyRange) -> Result<(), Denied> {
        self.check_range(Capability::Read, range)?;
        match range.as_single() {
            Some(_) => Ok(()),
            None => self.list(range),
        }
    }

    /// A new value for a key.
    pub(crate) fn write(&self, key: &[u8]) -> Result<(), Denied> {
        self.check(Capability::Write, Target::Key(key))
    }

    /// New values for any keys of a range.
    pub(crate) fn write_all(&self, range: &KeyRange) -> Result<(), Denied> {
        self.check_range(Capability::Write, range)
    }

    /// No more keys in a range.
    pub(crate) fn delete(&self, range: &KeyRange) -> Result<(), Denied> {
        self.check_range(Capability::Delete, range)
    }

    /// A place in the line before a lock, and the lock itself; its contenders are in this range.
    pub(crate) fn lock(&self, contenders: &KeyRange) -> Result<(), Denied> {
        self.check_range(Capability::Lock, contenders)
    }

    /// Who holds a lock: for who may hold it, and for who may read.
    pub(crate) fn watch_lock(&self, contenders: &KeyRange) -> Result<(), Denied> {
        match self.allows(Capability::Lock, Target::Range(contenders)) {
            true => Ok(()),
            false => self.read(contenders),
        }
    }

    /// A secret in the clear; the rule that allows it, for the record.
    pub(crate) fn reveal(&self, key: &[u8], reason: &str) -> Result<String, Status> {
        let target = Target::Key(key);
        let decision = self.rights().decide(Capability::Reveal, target);
        let Some(rule) = decision.by.filter(|_| decision.allowed) else {
            return Err(self.denied(Capability::Reveal, target, &decision).into());
        };
        if decision.reason_required && reason.trim().is_empty() {
            return Err(Reason::ReasonRequired.status(format!(
                "a reason has to be given before this secret is opened, for {} may reveal it by a \
                 rule that wants one",
                self.author
            )));
        }
        Ok(rule.to_string())
    }

    pub(super) fn allows(&self, capability: Capability, target: Target<'_>) -> bool {
        self.rights().allow(capability, target)
    }

    fn check_range(&self, capability: Capability, range: &KeyRange) -> Result<(), Denied> {
        self.check(capability, target(range))
    }

    pub(super) fn check(&self, capability: Capability, target: Target<'_>) -> Result<(), Denied> {
        let rights = self.rights();
        if rights.allow(capability, target) {
            return Ok(());
        }
        Err(self.denied(capability, target, &rights.decide(capability, target)))
    }

    fn denied(
        &self,
        capability: Capability,
        target: Target<'_>,
        decision: &Decision<'_>,
    ) -> Denied {
        match self.rights().is_revoked() {
            true => Denied::revoked(&self.author),
            false => Denied::by(&self.author, capability, target, decision),
        }
    }
}

fn target(range: &KeyRange) -> Target<'_> {
    match range.as_single() {
        Some(key) => Target::Key(key),
        None => Target::Range(range),
    }
}
