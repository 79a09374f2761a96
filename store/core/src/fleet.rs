//! The fleet: the last word of each client on what it runs.
//!
//! Beside the keyspace: a report takes no revision and wakes no watch. But it is replicated and comes
//! through archives, so who died is still listed, with what it said last.
//!
//! Invariants: (1) of one instance of one identity there is one report on a subject, and that is the
//! newest word of the process that spoke last. (2) What is stale makes room for what is not, the
//! oldest first, and never the other way round. (3) An identity cannot take all the room.

mod report;
mod room;

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::{Timestamp, limits, v1};
use imbl::OrdMap;
use prost::Message as _;

pub use self::report::Report;
use self::room::Room;
use crate::{
    State,
    hash::{RollingHash, RowBuffer, RowHash},
    limits::Limits,
};

/// Whose word on what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReportKey {
    /// `client/NAME`.
    pub identity: Arc<str>,
    /// Of the subject.
    pub prefix: Bytes,
    /// The set of files; empty: a configuration.
    pub set: Arc<str>,
    /// Which of the identity's processes.
    pub instance: Arc<str>,
}

/// The last word of somebody.
#[derive(Clone, Debug, PartialEq)]
pub struct Reported {
    /// What was said.
    pub report: Report,
    /// When it was said, in cluster time.
    pub heard: Timestamp,
    /// Since when the same is said, in cluster time.
    pub since: Timestamp,
    /// The process that spoke before the one of the report; 0: none.
    previous_run: u64,
    /// When two processes took turns last.
    shared: Option<Timestamp>,
}

/// All reports.
#[derive(Clone, Default)]
pub struct Fleet {
    all: OrdMap<ReportKey, Arc<Reported>>,
    /// How many each identity has.
    of_identity: OrdMap<Arc<str>, u64>,
    bytes: u64,
    pub(crate) hash: RollingHash,
}

impl Fleet {
    /// Those on subjects whose prefix begins with this one, by who said them.
    pub fn reports<'a>(
        &'a self,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a ReportKey, &'a Reported)> {
        let all = self.all.iter().map(|(key, reported)| (key, &**reported));
        all.filter(move |(key, _)| key.prefix.starts_with(prefix))
    }

    /// The last word of one instance on one subject.
    pub fn get(&self, key: &ReportKey) -> Option<&Reported> {
        self.all.get(key).map(|reported| &**reported)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many say, not long ago, that an emergency override is in use.
    pub fn overridden(&self, now: Timestamp) -> usize {
        let said = self.all.values().filter(|one| !one.is_stale(now));
        said.filter(|one| one.report.is_overridden()).count()
    }

    /// All of them, bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes reports in; gives back the places of those for which there is no room.
    pub(crate) fn take(
        &mut self,
        reports: Vec<(Arc<str>, Report)>,
        now: Timestamp,
        limits: &Limits,
    ) -> Vec<u32> {
        let mut room = Room::default();
        let mut refused = Vec::new();
        for (place, (identity, report)) in (0..).zip(reports) {
            let key = report.key(identity);
            let before = self.all.get(&key);
            if before.is_some_and(|before| report.is_older_than(&before.report)) {
                continue;
            }
            let reported = Reported::after(before.map(|before| &**before), report, now);
            match room.make(self, &key, &reported, now, limits) {
                true => self.insert(key, reported),
                false => refused.push(place),
            }
        }
        refused
    }

    /// Forgets reports; those that are gone are passed over. Gives back how many there were.
    pub(crate) fn forget(&mut self, keys: &[ReportKey]) -> u64 {
        let gone = keys.iter().filter(|key| self.remove(key));
        gone.count() as u64
    }

    /// Forgets who was not heard for long.
    pub(crate) fn forget_old(&mut self, now: Timestamp) {
        let is_old = |reported: &Reported| now.millis_since(reported.heard) > limits::FLEET_KEPT_MS;
        let old = self.all.iter().filter(|(_, reported)| is_old(reported));
        let old: Vec<ReportKey> = old.map(|(key, _)| key.clone()).collect();
        self.forget(&old);
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = v1::FleetEntry> {
        self.all
            .iter()
            .map(|(key, reported)| reported.to_wire(&key.identity))
    }

    pub(crate) fn restore(&mut self, identity: Arc<str>, reported: Reported) {
        self.insert(reported.report.key(identity), reported);
    }

    fn insert(&mut self, key: ReportKey, reported: Reported) {
        self.remove(&key);
        self.hash.add(row_hash(&key, &reported));
        self.bytes += reported.bytes(&key);
        match self.of_identity.get_mut(&key.identity) {
            Some(count) => *count += 1,
            None => {
                self.of_identity.insert(key.identity.clone(), 1);
            }
        }
        self.all.insert(key, Arc::new(reported));
    }

    fn remove(&mut self, key: &ReportKey) -> bool {
        let Some(reported) = self.all.remove(key) else {
            return false;
        };
        self.hash.remove(row_hash(key, &reported));
        self.bytes -= reported.bytes(key);
        match self.of_identity.get_mut(&key.identity) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.of_identity.remove(&key.identity);
            }
        }
        true
    }
}

impl Reported {
    /// A word that comes after another one.
    fn after(before: Option<&Self>, report: Report, now: Timestamp) -> Self {
        let held = report.held_ms().min(now.as_millis());
        let said = Timestamp::from_millis(now.as_millis() - held);
        let new = Self {
            since: said,
            heard: now,
            previous_run: 0,
            shared: None,
            report,
        };
        let Some(before) = before else {
            return new;
        };
        let (run, last) = (new.report.run(), before.report.run());
        let takes_turns = run != last && run == before.previous_run;
        Self {
            // A process that begins again with what it had says the same.
            since: match new.report.says_the_same(&before.report) {
                true => before.since,
                false => said,
            },
            previous_run: match run == last {
                true => before.previous_run,
                false => last,
            },
            shared: match takes_turns {
                true => Some(now),
                false => before.shared,
            },
            ..new
        }
    }

    /// As it stands in an archive, and in a list.
    pub fn to_wire(&self, identity: &str) -> v1::FleetEntry {
        v1::FleetEntry {
            report: Some(self.report.to_wire()),
            identity: identity.to_owned(),
            heard_at_ms: self.heard.as_millis(),
            since_ms: self.since.as_millis(),
            previous_run: self.previous_run,
            shared_at_ms: self.shared.map_or(0, Timestamp::as_millis),
        }
    }

    pub(crate) fn from_wire(report: Report, wire: &v1::FleetEntry) -> Self {
        let shared = wire.shared_at_ms;
        Self {
            report,
            heard: Timestamp::from_millis(wire.heard_at_ms),
            since: Timestamp::from_millis(wire.since_ms),
            previous_run: wire.previous_run,
            shared: (shared != 0).then(|| Timestamp::from_millis(shared)),
        }
    }

    /// Whether what it says may be no more.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now.millis_since(self.heard) >= limits::FLEET_STALE_MS
    }

    fn bytes(&self, key: &ReportKey) -> u64 {
        (self.report.bytes() + key.identity.len()) as u64 + OVERHEAD
    }
}

impl State {
    /// What clients say they run.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }
}

fn row_hash(key: &ReportKey, reported: &Reported) -> RowHash {
    RowBuffer::new(b'r')
        .bytes(&reported.to_wire(&key.identity).encode_to_vec())
        .finish()
}

/// What a report costs in memory beside its texts, bytes.
const OVERHEAD: u64 = 256;
