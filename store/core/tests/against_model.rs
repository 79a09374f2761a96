//! Generated sequences of commands, held against a naive model that keeps every state whole.
//!
//! A failure names its seed: run it again with `again(seed, forgetting)` in a test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{collections::BTreeMap, sync::Arc};

use holdfast_core::{
    Changes, Command, Context, Limits, Located, Outcome, ReadError, State, VersionId, apply,
};
use holdfast_proto::{
    KeyRange, Revision, Timestamp, Value,
    log::v1::{self as wire, StateRow, reply::Body as Answer},
};
use prost::Message as _;

use support::{
    generate::{self, Style},
    model::{Keys, Model},
    random::Random,
};

const SEQUENCES: u64 = 12_000;
const THREADS: u64 = 2;

/// The state under test, with the values that it handed out to be kept.
struct Subject {
    state: State,
    past: BTreeMap<VersionId, Value>,
}

#[test]
fn generated_commands_do_what_the_model_does() {
    run_all(false);
}

#[test]
fn what_retention_forgets_is_never_read_wrong() {
    run_all(true);
}

fn run_all(forgetting: bool) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for seed in (thread..SEQUENCES / 2).step_by(THREADS as usize) {
                    again(seed, forgetting);
                }
            });
        }
    });
}

/// Says which sequence failed.
struct Named(u64, bool);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the sequence that failed: again({}, {})", self.0, self.1);
        }
    }
}

fn again(seed: u64, forgetting: bool) {
    let _named = Named(seed, forgetting);
    let mut random = Random::new(seed);
    let limits = limits(&mut random, forgetting);
    let mut subject = Subject {
        state: State::with_limits(limits),
        past: BTreeMap::new(),
    };
    let mut model = Model::new();
    let mut twin: Option<Subject> = None;
    let mut now = 1_000_000;
    let length = 10 + random.below(40);
    let restart_after = random.below(length);
    for index in 0..length {
        now = step_time(&mut random, now, forgetting);
        let command = generate::command(
            &mut random,
            Style { forgetting },
            model.revision(),
            model_time(now),
        );
        assert_eq!(Command::decode(command.encode()).unwrap(), command);
        let at = Timestamp::from_millis(now);
        let context = Context { index, term: 1, at };
        let frozen = subject.state.clone();
        let before = (frozen.hash(), frozen.revision(), model.revision());
        let outcome = subject.apply(context, command.clone());
        let expected = model.apply(now, context.term, command.clone());
        check_reply(&outcome, expected);
        check_present(&subject.state, &model);
        check_change(&outcome, &model, before.2);
        assert_eq!(
            (frozen.hash(), frozen.revision()),
            (before.0, before.1),
            "a clone changed"
        );
        if let Some(twin) = &mut twin {
            let same = twin.apply(context, command);
            assert_eq!(same.reply.into_wire(), outcome.reply.clone().into_wire());
            assert_eq!(same.change, outcome.change);
            assert_eq!(twin.state.hash(), subject.state.hash());
        }
        if index == restart_after {
            twin = Some(subject.restored(&mut random));
        }
    }
    for subject in std::iter::once(&subject).chain(&twin) {
        check_past(subject, &model, forgetting, &mut random);
        check_watch(subject, &model, forgetting, &mut random);
    }
}

/// Small windows, so that values retire; where things may be forgotten, small budgets too.
fn limits(random: &mut Random, forgetting: bool) -> Limits {
    Limits {
        recent_revisions: *random.pick(&[2, 5, 1_000]),
        recent_bytes: *random.pick(&[500, 1_000_000]),
        history_bytes: if forgetting {
            *random.pick(&[2_000, 6_000, 1 << 30])
        } else {
            1 << 30
        },
        ..Limits::default()
    }
}

/// Mostly on, sometimes back, and where old history may go, sometimes far ahead.
fn step_time(random: &mut Random, now: u64, forgetting: bool) -> u64 {
    match random.below(10) {
        0 => now - random.below(500),
        1 if forgetting => now + 90_000_000,
        2 => now + 61_000,
        _ => now + random.below(2_000),
    }
}

/// Tokens run out relative to the newest time, which may be ahead of `now`: leave a margin.
fn model_time(now: u64) -> u64 {
    now + 1
}

impl Subject {
    fn apply(&mut self, context: Context, command: Command) -> Outcome {
        let outcome = apply(&mut self.state, context, command);
        for retired in &outcome.retired {
            let twice = self.past.insert(retired.id.clone(), retired.value.clone());
            assert!(twice.is_none(), "{:?} was retired twice", retired.id);
            assert!(
                self.state.locate(&retired.id).is_some(),
                "{:?} is unknown",
                retired.id
            );
        }
        for id in &outcome.forgotten {
            assert!(
                self.state.locate(id).is_none(),
                "{id:?} is forgotten but known"
            );
            self.past.remove(id);
        }
        outcome
    }

    fn value(&self, located: &Located) -> Value {
        match located {
            Located::Here(entry) => entry.value.clone(),
            Located::Past(id) => self
                .past
                .get(id)
                .unwrap_or_else(|| panic!("{id:?} is lost"))
                .clone(),
        }
    }

    /// Through an archive, its rows in any order behind the head.
    fn restored(&self, random: &mut Random) -> Subject {
        let mut rows: Vec<StateRow> = self
            .state
            .rows()
            .map(|row| StateRow::decode(&row.encode_to_vec()[..]).unwrap())
            .collect();
        random.shuffle(&mut rows[1..]);
        let state = State::from_rows_with_limits(rows, *self.state.limits()).unwrap();
        assert_eq!(state.hash(), self.state.hash());
        assert!(state.rows().eq(self.state.rows()), "the rows differ");
        let usage = |state: &State| holdfast_core::Usage {
            recent_revisions: 0,
            recent_bytes: 0,
            ..state.usage()
        };
        assert_eq!(usage(&state), usage(&self.state));
        let mut past = BTreeMap::new();
        for row in self.state.rows() {
            if let Some(wire::state_row::Row::Version(version)) = row.row {
                let id = VersionId {
                    key: holdfast_proto::Key::new(version.key).unwrap(),
                    revision: Revision::new(version.revision).unwrap(),
                };
                if let Some(located) = self.state.locate(&id) {
                    past.insert(id, self.value(&located));
                }
            }
        }
        Subject { state, past }
    }
}

fn check_reply(outcome: &Outcome, expected: wire::Reply) {
    let mut found = outcome.reply.clone().into_wire();
    if let Some(Answer::Refusal(refusal)) = &mut found.body {
        assert!(!refusal.message.is_empty());
        (refusal.message, refusal.limit) = Default::default();
        refusal.key.clear();
    }
    assert_eq!(found, expected);
}

fn check_present(state: &State, model: &Model) {
    assert_eq!(state.revision(), model.revision());
    assert_eq!(state.compacted(), model.compacted);
    assert_eq!(state.count(&KeyRange::all()), model.now().len() as u64);
    let found = state
        .range(&KeyRange::all())
        .map(|(key, entry)| entry.to_wire(key, true));
    assert!(found.eq(model.now().iter().map(|(key, item)| item.to_wire(key))));
    for (id, lease) in state.leases() {
        let named = model
            .now()
            .iter()
            .filter(|(_, item)| item.lease == id.get());
        assert!(
            lease
                .keys
                .iter()
                .map(|key| key.as_bytes())
                .eq(named.map(|(key, _)| &key[..]))
        );
    }
    assert!(
        state
            .leases()
            .map(|(id, _)| id.get())
            .eq(model.leases.iter().copied())
    );
}

fn check_change(outcome: &Outcome, model: &Model, revision_before: u64) {
    let Some(change) = &outcome.change else {
        assert_eq!(model.revision(), revision_before, "a change was not told");
        return;
    };
    assert_eq!(change.revision.get(), revision_before + 1);
    assert_eq!(
        model.revision(),
        revision_before + 1,
        "a change that changed nothing"
    );
    let events = change.events.iter().map(|event| {
        let wire = |entry: &Option<Arc<holdfast_core::Entry>>| {
            entry.as_ref().map(|entry| entry.to_wire(&event.key, true))
        };
        (
            event.key.as_bytes().to_vec(),
            wire(&event.now),
            wire(&event.before),
        )
    });
    assert!(events.eq(differences(model, model.revision())));
}

type WireEntry = Option<holdfast_proto::v1::Entry>;

/// What revision `revision` changed: key, entry after, entry before.
fn differences(
    model: &Model,
    revision: u64,
) -> impl Iterator<Item = (Vec<u8>, WireEntry, WireEntry)> {
    let before = &model.past[revision as usize - 1];
    let after = &model.past[revision as usize];
    let keys: std::collections::BTreeSet<&Vec<u8>> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| {
            let wire = |keys: &Keys| keys.get(key).map(|item| item.to_wire(key));
            (key.clone(), wire(after), wire(before))
        })
}

/// Every old revision reads as it was, or is refused; refused only if something may be forgotten.
fn check_past(subject: &Subject, model: &Model, forgetting: bool, random: &mut Random) {
    let state = &subject.state;
    for revision in 1..=model.revision() {
        let range = generate::range(random);
        match state.range_at(&range, Revision::new(revision).unwrap()) {
            Ok(found) => {
                assert!(revision >= model.compacted);
                let found = found.iter().map(|at| {
                    let mut entry = at.meta.to_wire(&at.key);
                    entry.value = Some(subject.value(&at.value).into());
                    entry
                });
                let keys = model.past[revision as usize].iter();
                let expected = keys.filter(|(key, _)| range.contains(key));
                assert!(
                    found.eq(expected.map(|(key, item)| item.to_wire(key))),
                    "at {revision}"
                );
            }
            Err(ReadError::Compacted { oldest }) => {
                assert!(
                    forgetting || revision < model.compacted,
                    "{revision} is lost"
                );
                assert!(revision < oldest && oldest <= model.revision());
            }
            Err(ReadError::Future { .. }) => panic!("{revision} is there"),
        }
    }
    let future = Revision::new(model.revision() + 1).unwrap();
    assert!(matches!(
        state.range_at(&KeyRange::all(), future),
        Err(ReadError::Future { newest }) if newest == model.revision()
    ));
}

/// Watches from any revision see every change once and in order, or are told that they cannot.
fn check_watch(subject: &Subject, model: &Model, forgetting: bool, random: &mut Random) {
    let (state, all) = (&subject.state, KeyRange::all());
    let limit = 1 + random.below(5) as usize;
    for from in 1..=model.revision() {
        let mut next = from;
        while next <= model.revision() {
            match state.changes_since(next, random.below(2_000) as usize) {
                Changes::Compacted { oldest } => {
                    assert_eq!(oldest, model.compacted + 1);
                    assert!(next <= model.compacted);
                    break;
                }
                Changes::Recent(changes) => {
                    assert!(!changes.is_empty());
                    for change in changes {
                        assert_eq!(change.revision.get(), next);
                        let keys = differences(model, next).map(|(key, ..)| key);
                        assert!(
                            change
                                .events
                                .iter()
                                .map(|event| event.key.as_bytes())
                                .eq(keys)
                        );
                        next += 1;
                    }
                }
                Changes::Older { below } => {
                    let older = match state.older_changes(&all, next, below, limit) {
                        Ok(older) => older,
                        Err(ReadError::Compacted { oldest }) => {
                            assert!(forgetting && oldest > next);
                            break;
                        }
                        Err(other) => panic!("{other}"),
                    };
                    assert!(older.next > next && older.next <= below);
                    let expected = (next..older.next).flat_map(|at| differences(model, at));
                    let found = older.events.iter().map(|event| {
                        let mut now = event.now.to_wire(&event.key);
                        now.value = event
                            .value
                            .as_ref()
                            .map(|value| subject.value(value).into());
                        let now = (!event.now.is_deletion()).then_some(now);
                        (event.key.as_bytes().to_vec(), now)
                    });
                    assert!(found.eq(expected.map(|(key, now, _)| (key, now))));
                    next = older.next;
                }
            }
        }
    }
}
