//! Retention: how long older versions stay known, decided from the command's time alone.
//!
//! Of a key, older versions are kept while they are among the newest few *or* were replaced lately,
//! and all within a byte budget. A deleted key's history is kept by age, and at least a day. Above
//! the budget of all keys together, what was replaced first goes first.
//!
//! What a key's own writes do not push out, a sweep finds: once a minute of cluster time it looks at
//! a part of all histories, so that no single command pays for all.
//!
//! A forgotten version is never answered wrongly: live keys carry a mark, and where a deleted key
//! went for good the retention that it was under raises its floor; older reads are refused.

use bytes::Bytes;
use holdfast_proto::{Key, KeyRange, Timestamp, limits, v1};
use imbl::OrdMap;

use crate::{
    State,
    apply::Work,
    hash::{RollingHash, RowBuffer, RowHash},
    keyspace::History,
    reply::{Reason, Refusal},
};

/// How much history a key keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// So many older versions, whatever their age …
    pub versions: u64,
    /// … and every one that was replaced less than this ago, milliseconds …
    pub age_ms: u64,
    /// … within so many bytes: values, and 64 for each version. The newest older version is kept
    /// above it, unless it is 0.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            versions: limits::RETENTION_VERSIONS,
            age_ms: limits::RETENTION_AGE_MS,
            bytes: limits::RETENTION_BYTES,
        }
    }
}

/// The retention of the keys under a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    /// `None`: the built-in default. Only of the empty prefix.
    pub(crate) retention: Option<Retention>,
    /// Deleted keys were forgotten up to this revision.
    pub(crate) floor: u64,
}

#[derive(Clone, Default)]
pub(crate) struct Policies {
    pub(crate) all: OrdMap<Bytes, Policy>,
    pub(crate) hash: RollingHash,
}

impl Policies {
    pub(crate) fn set(
        &mut self,
        prefix: Bytes,
        retention: Option<Retention>,
    ) -> Result<(), Refusal> {
        let known = self.all.get(&prefix).copied();
        if retention.is_none() && !prefix.is_empty() {
            if let Some(policy) = known {
                self.remove(&prefix);
                self.raise_floor(&prefix, policy.floor);
            }
            return Ok(());
        }
        if known.is_none() && self.all.len() >= limits::RETENTION_PREFIXES {
            let count = self.all.len() as u64;
            let message =
                format!("{count} prefixes have a retention of their own; take one away first");
            return Err(Refusal::new(Reason::TooMany, message)
                .numbers(count, limits::RETENTION_PREFIXES as u64)
                .limit("retention prefixes"));
        }
        self.insert(
            prefix,
            Policy {
                retention,
                floor: known.map_or(0, |policy| policy.floor),
            },
        );
        Ok(())
    }

    /// The retention of a key: that of the longest prefix.
    pub(crate) fn of(&self, key: &[u8]) -> Retention {
        self.longest(key)
            .and_then(|(_, policy)| policy.retention)
            .unwrap_or_default()
    }

    /// Deleted keys of a range are forgotten up to this revision.
    pub(crate) fn floor(&self, range: &KeyRange) -> u64 {
        let touched = self.all.iter().filter(|(prefix, _)| touches(range, prefix));
        touched.map(|(_, policy)| policy.floor).max().unwrap_or(0)
    }

    /// A deleted key was forgotten, up to its deletion.
    pub(crate) fn raise_floor(&mut self, key: &[u8], floor: u64) {
        let (prefix, policy) = match self.longest(key) {
            Some((prefix, policy)) => (prefix.clone(), *policy),
            None => (Bytes::new(), Policy::default()),
        };
        if floor > policy.floor {
            self.insert(prefix, Policy { floor, ..policy });
        }
    }

    pub(crate) fn insert(&mut self, prefix: Bytes, policy: Policy) {
        self.remove(&prefix);
        if policy != Policy::default() {
            self.hash.add(row_hash(&prefix, &policy));
            self.all.insert(prefix, policy);
        }
    }

    fn remove(&mut self, prefix: &Bytes) {
        if let Some(policy) = self.all.remove(prefix) {
            self.hash.remove(row_hash(prefix, &policy));
        }
    }

    fn longest(&self, key: &[u8]) -> Option<(&Bytes, &Policy)> {
        if self.all.is_empty() {
            return None;
        }
        // Every prefix of a key sorts before it, longer ones later.
        let upto = (std::ops::Bound::Unbounded, std::ops::Bound::Included(key));
        self.all
            .range::<_, [u8]>(upto)
            .rev()
            .find(|(prefix, _)| key.starts_with(prefix))
    }
}

/// Whether keys under `prefix` can lie in `range`.
fn touches(range: &KeyRange, prefix: &[u8]) -> bool {
    use std::ops::Bound;
    let start = &range.start()[..];
    if start > prefix && !start.starts_with(prefix) {
        return false;
    }
    match range.bounds() {
        None => false,
        Some((_, Bound::Included(last))) => last.starts_with(prefix),
        Some((_, Bound::Excluded(end))) => prefix < end,
        Some((_, Bound::Unbounded)) => true,
    }
}

/// Forgets what the key's retention no longer keeps.
pub(crate) fn trim(state: &mut State, key: &Key, work: &mut Work) {
    let retention = state.policies.of(key.as_bytes());
    let now = state.clock.now;
    while let (current, Some(history)) = state.keys.current_and_history(key) {
        let current_at = current.map(|entry| entry.meta.at);
        if keeps_oldest(history, current_at, retention, now) {
            return;
        }
        forget(state, key, true, work);
    }
}

/// Whether the oldest version of a key, if there is one, stays. `current_at`: when its current version was
/// written, if it is there.
fn keeps_oldest(
    history: &History,
    current_at: Option<Timestamp>,
    retention: Retention,
    now: Timestamp,
) -> bool {
    if history.count() == 0 {
        return true;
    }
    if retention.bytes == 0 || (retention.versions == 0 && retention.age_ms == 0) {
        return false;
    }
    // A deletion is kept only together with what it deleted.
    let alive = current_at.is_some();
    let least = if alive { 1 } else { 2 };
    if history.bytes > retention.bytes && history.count() > least {
        return false;
    }
    if !alive {
        let deleted = history.newest().map_or(now, |deletion| deletion.at);
        if now.millis_since(deleted) >= retention.age_ms.max(limits::DELETED_KEY_MS) {
            return false;
        }
    }
    let versions = if alive {
        retention.versions
    } else {
        retention.versions.max(least)
    };
    if history.count() <= versions {
        return true;
    }
    let replaced_at = history.second_at().or(current_at);
    replaced_at.is_none_or(|at| now.millis_since(at) < retention.age_ms)
}

/// Forgets a key's oldest version and says so to the past.
fn forget(state: &mut State, key: &Key, mark: bool, work: &mut Work) {
    let Some(gone) = state.keys.forget_oldest(key, mark) else {
        return;
    };
    state.keyring.remove_wrap(&gone.id);
    if let Some(deleted) = gone.gone.filter(|_| mark) {
        state.policies.raise_floor(key.as_bytes(), deleted);
    }
    // What was replaced within the window was not retired yet, so the past does not have it.
    if !state.recent.holds(gone.replaced_by) {
        work.forgotten.push(gone.id);
    }
}

/// Above the budget of all keys together, what was replaced first goes first.
pub(crate) fn keep_budget(state: &mut State, work: &mut Work) {
    while state.keys.history_bytes > state.limits.history_bytes {
        let Some((_, key)) = state.keys.first_replaced().cloned() else {
            return;
        };
        forget(state, &key, true, work);
    }
}

/// Forgets every version that was replaced at `revision` or before.
pub(crate) fn compact(state: &mut State, revision: u64, work: &mut Work) -> Result<(), Refusal> {
    if revision <= state.compacted {
        let message = format!("revision {} is compacted already", state.compacted);
        return Err(Refusal::new(Reason::Compacted, message).numbers(state.compacted, revision));
    }
    if revision > state.revision {
        let message = format!(
            "the newest revision is {}; compact up to that",
            state.revision
        );
        return Err(Refusal::new(Reason::FutureRevision, message).numbers(state.revision, revision));
    }
    state.compacted = revision;
    while let Some((by, key)) = state.keys.first_replaced() {
        if *by > revision {
            break;
        }
        let key = key.clone();
        forget(state, &key, false, work);
    }
    Ok(())
}

/// Looks at the next part of all histories.
pub(crate) fn sweep(state: &mut State, work: &mut Work) {
    let part = (state.keys.history_count() / SWEEP_PARTS).max(SWEEP_LEAST);
    let next = state.keys.histories_after(&state.sweep_from).take(part);
    let keys: Vec<Key> = next.map(|(key, _)| key.clone()).collect();
    state.sweep_from = match keys.last() {
        Some(last) if keys.len() == part => last.to_bytes(),
        _ => Bytes::new(),
    };
    for key in keys {
        trim(state, &key, work);
    }
}

/// A sweep looks at this part of all histories …
const SWEEP_PARTS: usize = 512;
/// … but at no fewer than this.
const SWEEP_LEAST: usize = 64;

fn row_hash(prefix: &[u8], policy: &Policy) -> RowHash {
    let row = RowBuffer::new(b'p').bytes(prefix).number(policy.floor);
    match policy.retention {
        None => row.number(0),
        Some(kept) => row
            .number(1)
            .number(kept.versions)
            .number(kept.age_ms)
            .number(kept.bytes),
    }
    .finish()
}

impl From<v1::Retention> for Retention {
    fn from(wire: v1::Retention) -> Self {
        Self {
            versions: wire.versions,
            age_ms: wire.age_ms,
            bytes: wire.bytes,
        }
    }
}

impl From<Retention> for v1::Retention {
    fn from(retention: Retention) -> Self {
        Self {
            versions: retention.versions,
            age_ms: retention.age_ms,
            bytes: retention.bytes,
        }
    }
}
