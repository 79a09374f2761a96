//! Making room for a report: what is stale goes first.

use std::collections::VecDeque;

use holdfast_proto::Timestamp;

use super::{Fleet, ReportKey, Reported};
use crate::limits::Limits;

/// Those that may go, looked up once a command, and only if there is no room.
#[derive(Default)]
pub(super) struct Room {
    /// The one that was not heard for longest first.
    stale: Option<VecDeque<ReportKey>>,
}

impl Room {
    /// Makes room for a report, unless only what is not stale could make it.
    pub(super) fn make(
        &mut self,
        fleet: &mut Fleet,
        key: &ReportKey,
        reported: &Reported,
        now: Timestamp,
        limits: &Limits,
    ) -> bool {
        let before = fleet.all.get(key).map(|before| before.bytes(key));
        let grows = reported.bytes(key).saturating_sub(before.unwrap_or(0));
        if before.is_none() {
            let of_one = |fleet: &Fleet| fleet.of_identity.get(&key.identity).copied();
            while of_one(fleet).unwrap_or(0) >= limits.fleet_of_one {
                if !self.drop_one(fleet, now, |stale| stale.identity == key.identity) {
                    return false;
                }
            }
        }
        let is_full = |fleet: &Fleet| {
            fleet.bytes + grows > limits.fleet_bytes
                || before.is_none() && fleet.all.len() as u64 >= limits.fleet_reports
        };
        while is_full(fleet) {
            if !self.drop_one(fleet, now, |stale| stale != key) {
                return false;
            }
        }
        true
    }

    /// Drops the oldest stale one of those that `may` go.
    fn drop_one(
        &mut self,
        fleet: &mut Fleet,
        now: Timestamp,
        may: impl Fn(&ReportKey) -> bool,
    ) -> bool {
        let stale = self.stale.get_or_insert_with(|| stale(fleet, now));
        while let Some(place) = stale.iter().position(&may) {
            let key = stale.remove(place);
            // It may have been heard since, by this same command.
            if let Some(key) = key
                && fleet.get(&key).is_some_and(|one| one.is_stale(now))
            {
                return fleet.remove(&key);
            }
        }
        false
    }
}

fn stale(fleet: &Fleet, now: Timestamp) -> VecDeque<ReportKey> {
    let all = fleet.all.iter().filter(|(_, one)| one.is_stale(now));
    let mut stale: Vec<_> = all.map(|(key, one)| (one.heard, key.clone())).collect();
    stale.sort_unstable();
    stale.into_iter().map(|(_, key)| key).collect()
}
