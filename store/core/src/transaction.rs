//! Carrying out puts, deletions and transactions: first decide everything against the state as it
//! is, gathering the writes; only then commit them, all in one revision. A refusal changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use holdfast_proto::{Key, KeyRange, Revision, ValueKind};
use smallvec::{SmallVec, smallvec};

use crate::{
    State,
    command::{Delete, Expected, Put},
    commit::{Staged, Stamp},
    compare::decide,
    entry::{Entry, Found, VersionMeta, counted},
    hash::Digest,
    keyring::Wrap,
    lease,
    operation::{
        DeleteOperation, LeaseChoice, Operation, PutOperation, RangeOperation, Transaction,
    },
    range::ReadError,
    reply::{
        DeleteResult, OperationResult, PutResult, RangeResult, Reason, Refusal, TransactionResult,
        founds_bytes,
    },
};

/// Largest answer of one command, bytes: it must fit in a message.
const ANSWER_BYTES: u64 = (holdfast_proto::limits::MESSAGE_BYTES / 2) as u64;

/// One put, decided.
pub(crate) fn put(
    state: &State,
    stamp: &Stamp,
    command: Put,
) -> Result<(PutResult, Staged), Refusal> {
    let known = state.keys.current_with_key(&command.put.key);
    let current = known.map(|(_, entry)| entry);
    check_expected(&command.put.key, current, command.expected)?;
    let (key, entry, wrap, result) = put_entry(state, stamp, command.put, current)?;
    // All versions of a long key share its bytes: less memory, and fewer places to look at.
    let key = known.map_or(key, |(known, _)| known.clone());
    let wraps = wrap.map(|wrap| (key.clone(), wrap)).into_iter().collect();
    let writes = smallvec![(key, Some(entry))];
    let staged = Staged {
        writes,
        wraps,
        ..Staged::default()
    };
    Ok((result, staged))
}

/// One deletion, decided.
pub(crate) fn delete(state: &State, command: &Delete) -> Result<(DeleteResult, Staged), Refusal> {
    let range = &command.delete.range;
    if let Some(expected) = command.expected {
        let Some(key) = range.as_single() else {
            return Err(Refusal::new(
                Reason::Invalid,
                "an expected revision goes with one key; delete a range without it",
            ));
        };
        if let Ok(key) = Key::new(key.clone()) {
            check_expected(&key, state.keys.current(key.as_bytes()), Some(expected))?;
        }
    }
    let mut result = DeleteResult::default();
    let mut staged = Staged::default();
    for (key, entry) in state.keys.range(range) {
        result.deleted += 1;
        if command.delete.previous {
            result.previous.push(Found::shown(key, entry));
        }
        staged.writes.push((key.clone(), None));
    }
    check_answer(founds_bytes(&result.previous, false))?;
    Ok((result, staged))
}

/// A transaction, decided.
pub(crate) fn transact(
    state: &State,
    stamp: &Stamp,
    transaction: Transaction,
) -> Result<(TransactionResult, Staged), Refusal> {
    check_duplicates(&transaction)?;
    let mut decisions = Vec::new();
    decide(state, &transaction, &mut decisions);
    let mut decisions = decisions.into_iter();
    let mut run = Run {
        state,
        stamp,
        writes: BTreeMap::new(),
        wraps: BTreeMap::new(),
        answer_bytes: 0,
    };
    let result = run.transaction(transaction, &mut decisions)?;
    let writes = run.writes;
    let count = writes.len();
    // A key that was put and deleted on the way, and not there before, has not changed.
    let changed = |(key, now): &(Key, Option<_>)| {
        now.is_some() || state.keys.current(key.as_bytes()).is_some()
    };
    let put = |key: &Key| writes.get(key).is_some_and(Option::is_some);
    let wraps = run.wraps.into_iter().filter(|(key, _)| put(key)).collect();
    let writes: SmallVec<_> = writes.into_iter().filter(changed).collect();
    let staged = Staged {
        has_cancelled: writes.len() < count,
        writes,
        wraps,
    };
    Ok((result, staged))
}

fn check_expected(
    key: &Key,
    current: Option<&Arc<Entry>>,
    expected: Option<Expected>,
) -> Result<(), Refusal> {
    let Some(expected) = expected.map(Expected::number) else {
        return Ok(());
    };
    let found = current.map_or(0, |entry| entry.meta.revision.get());
    if found == expected {
        return Ok(());
    }
    let message = match (found, expected) {
        (0, _) => format!("{key} does not exist, but was expected at revision {expected}"),
        (_, 0) => format!("{key} exists already, at revision {found}"),
        _ => format!("{key} is at revision {found}, not {expected}"),
    };
    let message = format!("{message}; nothing was written: read it again, then decide");
    Err(Refusal::new(Reason::Conflict, message)
        .about(key)
        .numbers(found, expected))
}

/// The entry that a put makes out of what is there.
fn put_entry(
    state: &State,
    stamp: &Stamp,
    put: PutOperation,
    current: Option<&Arc<Entry>>,
) -> Result<(Key, Arc<Entry>, Option<Wrap>, PutResult), Refusal> {
    let version = current.map_or(0, |entry| entry.meta.version) + 1;
    let wrap = state.check_seal(&put, version)?;
    let key = put.key;
    let missing = || {
        let message = format!(
            "{} does not exist, so there is nothing to keep; put a value",
            key
        );
        Refusal::new(Reason::KeyMissing, message).about(&key)
    };
    let lease = match put.lease {
        LeaseChoice::Unbound => None,
        LeaseChoice::Keep => current.ok_or_else(missing)?.meta.lease,
        LeaseChoice::Bound(id) => {
            state
                .leases
                .check(id)
                .map_err(|_| lease::missing(id).about(&key))?;
            Some(id)
        }
    };
    let is_secret = current.is_some_and(|entry| entry.value.kind() == ValueKind::Sealed);
    let (value, digest) = match put.value {
        Some(value) if is_secret && !put.replaces_secret && value.kind() != ValueKind::Sealed => {
            let message = format!(
                "{key} is a secret, and a plain value in its place is there for all to read; nothing \
                 was written: put it as a secret, or say that the secret is to be replaced"
            );
            return Err(Refusal::new(Reason::IsSecret, message).about(&key));
        }
        Some(value) => {
            let digest = Digest::of(&value);
            (value, digest)
        }
        None => {
            let current = current.ok_or_else(missing)?;
            if is_secret {
                let message = format!(
                    "{key} is a secret, sealed for the version that it is; nothing was written: \
                     put the secret again"
                );
                return Err(Refusal::new(Reason::Invalid, message).about(&key));
            }
            (current.value.clone(), current.meta.digest)
        }
    };
    let entry = Entry {
        meta: Arc::new(VersionMeta {
            revision: stamp.revision,
            created: current.map_or(stamp.revision, |entry| entry.meta.created),
            version,
            kind: Some(value.kind()),
            digest,
            author: Arc::clone(&stamp.author),
            note: Arc::clone(&stamp.note),
            at: stamp.at,
            lease,
            bytes: counted(&value),
        }),
        value,
    };
    let previous = current.filter(|_| put.previous);
    let previous = previous.map(|entry| Found::shown(&key, entry));
    Ok((key, Arc::new(entry), wrap, PutResult { previous }))
}

/// No key may be put twice, or put and deleted, by what one transaction can do. Branches that
/// exclude each other may both put it. (etcd's rule.)
fn check_duplicates(transaction: &Transaction) -> Result<(), Refusal> {
    let then = written(&transaction.then)?;
    written(&transaction.otherwise).map(|_| drop(then))
}

#[derive(Default)]
struct Written<'a> {
    puts: BTreeSet<&'a Key>,
    deletes: Vec<&'a KeyRange>,
}

fn written(steps: &[Operation]) -> Result<Written<'_>, Refusal> {
    let mut all = Written::default();
    for step in steps {
        if let Operation::Delete(delete) = step {
            all.deletes.push(&delete.range);
        }
    }
    for step in steps {
        let Operation::Transaction(inner) = step else {
            continue;
        };
        let then = written(&inner.then)?;
        let otherwise = written(&inner.otherwise)?;
        for &key in then.puts.union(&otherwise.puts) {
            all.check(key)?;
        }
        all.puts.extend(then.puts);
        all.puts.extend(otherwise.puts);
        all.deletes.extend(then.deletes);
        all.deletes.extend(otherwise.deletes);
    }
    for step in steps {
        if let Operation::Put(put) = step {
            all.check(&put.key)?;
            all.puts.insert(&put.key);
        }
    }
    Ok(all)
}

impl Written<'_> {
    fn check(&self, key: &Key) -> Result<(), Refusal> {
        let deleted = self
            .deletes
            .iter()
            .any(|range| range.contains(key.as_bytes()));
        if deleted || self.puts.contains(key) {
            let message = format!("the transaction writes {key} more than once; write it once");
            return Err(Refusal::new(Reason::DuplicateKey, message).about(key));
        }
        Ok(())
    }
}

fn check_answer(bytes: u64) -> Result<(), Refusal> {
    if bytes <= ANSWER_BYTES {
        return Ok(());
    }
    let message =
        format!("the answer would have more than {ANSWER_BYTES} bytes; read less at once");
    Err(Refusal::new(Reason::TooLarge, message)
        .numbers(bytes, ANSWER_BYTES)
        .limit("answer bytes"))
}

/// A transaction on its way: the state, and what was written so far on top of it.
struct Run<'a> {
    state: &'a State,
    stamp: &'a Stamp,
    writes: BTreeMap<Key, Option<Arc<Entry>>>,
    wraps: BTreeMap<Key, Wrap>,
    answer_bytes: u64,
}

impl Run<'_> {
    fn transaction(
        &mut self,
        transaction: Transaction,
        decisions: &mut impl Iterator<Item = bool>,
    ) -> Result<TransactionResult, Refusal> {
        let succeeded = decisions.next().unwrap_or(false);
        let steps = if succeeded {
            transaction.then
        } else {
            transaction.otherwise
        };
        let mut results = Vec::with_capacity(steps.len());
        for step in steps {
            results.push(match step {
                Operation::Range(range) => OperationResult::Range(self.range(&range)?),
                Operation::Put(put) => OperationResult::Put(self.put(put)?),
                Operation::Delete(delete) => OperationResult::Delete(self.delete(&delete)?),
                Operation::Transaction(inner) => {
                    OperationResult::Transaction(self.transaction(inner, decisions)?)
                }
            });
        }
        Ok(TransactionResult { succeeded, results })
    }

    fn range(&mut self, operation: &RangeOperation) -> Result<RangeResult, Refusal> {
        if let Some(revision) = Revision::new(operation.revision) {
            return self.range_at(&operation.range, revision);
        }
        let limit = match usize::try_from(operation.limit) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(limit) => limit,
        };
        let mut entries = self.view(&operation.range);
        let count = entries.len();
        entries.truncate(if operation.count_only { 0 } else { limit });
        let keys_only = operation.keys_only && !entries.is_empty();
        self.account(&entries, keys_only)?;
        Ok(RangeResult {
            more: !operation.count_only && entries.len() < count,
            count: count as u64,
            keys_only,
            entries,
        })
    }

    /// Only whether it can be read, and how much there was.
    fn range_at(&self, range: &KeyRange, revision: Revision) -> Result<RangeResult, Refusal> {
        let refusal = |error: ReadError| {
            let (reason, found) = match error {
                ReadError::Compacted { oldest } => (Reason::Compacted, oldest),
                ReadError::Future { newest } => (Reason::FutureRevision, newest),
            };
            Refusal::new(reason, error.to_string()).numbers(found, revision.get())
        };
        let found = self.state.range_at(range, revision).map_err(refusal)?;
        Ok(RangeResult {
            count: found.len() as u64,
            ..RangeResult::default()
        })
    }

    fn put(&mut self, put: PutOperation) -> Result<PutResult, Refusal> {
        let current = match self.writes.get(&put.key) {
            Some(written) => written.as_ref(),
            None => self.state.keys.current(put.key.as_bytes()),
        };
        let (key, entry, wrap, result) = put_entry(self.state, self.stamp, put, current)?;
        self.account(result.previous.as_slice(), false)?;
        if let Some(wrap) = wrap {
            self.wraps.insert(key.clone(), wrap);
        }
        self.writes.insert(key, Some(entry));
        Ok(result)
    }

    fn delete(&mut self, delete: &DeleteOperation) -> Result<DeleteResult, Refusal> {
        let mut found = self.view(&delete.range);
        for found in &found {
            self.writes.insert(found.key.clone(), None);
        }
        let deleted = found.len() as u64;
        if !delete.previous {
            found.clear();
        }
        self.account(&found, false)?;
        Ok(DeleteResult {
            deleted,
            previous: found,
        })
    }

    /// The range as earlier steps left it, by key.
    fn view(&self, range: &KeyRange) -> Vec<Found> {
        let found = |(key, entry): (&Key, &Arc<Entry>)| Found::shown(key, entry);
        let state = self.state.keys.range(range);
        if self.writes.is_empty() {
            return state.map(found).collect();
        }
        let mut view: Vec<Found> = state
            .filter(|(key, _)| !self.writes.contains_key(*key))
            .map(found)
            .collect();
        if let Some(bounds) = range.bounds() {
            let written = self.writes.range::<[u8], _>(bounds);
            view.extend(written.filter_map(|(key, now)| Some(found((key, now.as_ref()?)))));
            view.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        }
        view
    }

    fn account(&mut self, founds: &[Found], keys_only: bool) -> Result<(), Refusal> {
        self.answer_bytes += founds_bytes(founds, keys_only);
        check_answer(self.answer_bytes)
    }
}
