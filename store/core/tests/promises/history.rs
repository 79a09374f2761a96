//! History, differences and watches.

use holdfast_core::{Body, Changes, Command, Limits, Located, VersionId};
use holdfast_proto::{KeyRange, Revision, Value};

use crate::store::{Store, key, put};

fn revision(number: u64) -> Revision {
    Revision::new(number).unwrap()
}

#[test]
fn history_tells_who_when_and_why_newest_first() {
    let mut store = Store::new();
    store.apply(Command {
        note: "first".into(),
        ..Command::internal("client/ann", put("a", "1"))
    });
    store.now += 5;
    store.apply(Command {
        note: "".into(),
        ..Command::internal("client/bob", put("a", "2"))
    });
    store.delete("a");
    let history = store.state.history(b"a");
    let told: Vec<_> = history
        .iter()
        .map(|meta| (&*meta.author, &*meta.note, meta.at.as_millis()))
        .collect();
    assert_eq!(
        told,
        [
            ("node/n1", "", 1_000_005),
            ("client/bob", "", 1_000_005),
            ("client/ann", "first", 1_000_000)
        ]
    );
    assert!(history[0].is_deletion() && !history[1].is_deletion());
}

#[test]
fn a_key_that_comes_back_starts_anew_but_keeps_its_history() {
    let mut store = Store::new();
    store.put("a", "1");
    store.delete("a");
    store.put("a", "2");
    let entry = store.state.get(b"a").unwrap();
    assert_eq!((entry.meta.created.get(), entry.meta.version), (3, 1));
    assert_eq!(store.revisions("a"), [3, 2, 1]);
}

#[test]
fn values_that_leave_the_window_are_retired_once_and_found_in_the_past() {
    let mut store = Store::with_limits(Limits {
        recent_revisions: 2,
        ..Limits::default()
    });
    store.put("a", "1");
    assert_eq!(store.put("a", "2").retired, []);
    assert_eq!(store.put("b", "1").retired, []);
    let id = VersionId {
        key: key("a"),
        revision: revision(1),
    };
    assert!(matches!(store.state.locate(&id), Some(Located::Here(_))));
    let retired = store.put("b", "2").retired;
    assert_eq!(retired.len(), 1);
    assert_eq!(
        (&retired[0].id, &retired[0].value),
        (&id, &Value::from("1"))
    );
    assert!(matches!(store.state.locate(&id), Some(Located::Past(past)) if past == id));
}

#[test]
fn older_values_come_in_the_order_in_which_they_were_replaced() {
    let mut store = Store::with_limits(Limits {
        recent_revisions: 2,
        ..Limits::default()
    });
    for name in ["b", "a", "c", "a"] {
        store.put(name, "1");
    }
    store.delete("b");
    store.put("b", "2");
    store.put("a", "2");
    store.put("c", "2");
    let older: Vec<_> = store.state.older_values().collect();
    let ids: Vec<_> = older
        .iter()
        .map(|older| format!("{:?}", older.id))
        .collect();
    // Not the deletion of b, nor what is current.
    assert_eq!(ids, ["a@2", "b@1", "a@4", "c@3"]);
    let in_memory = older.iter().map(|older| older.entry.is_some());
    assert!(in_memory.eq([false, false, true, true]));
    for older in older {
        assert!(match (store.state.locate(&older.id), older.entry) {
            (Some(Located::Here(entry)), Some(older)) => entry == older,
            (Some(Located::Past(id)), None) => id == older.id,
            _ => false,
        });
    }
}

#[test]
fn a_difference_names_added_changed_and_removed_keys_and_no_others() {
    let mut store = Store::new();
    for name in ["changed", "removed", "rewritten", "same"] {
        store.put(name, "1");
    }
    store.put("changed", "2");
    store.put("rewritten", "1");
    store.delete("removed");
    store.put("added", "1");
    let differences = store
        .state
        .diff(&KeyRange::all(), revision(4), revision(8))
        .unwrap();
    let told: Vec<_> = differences
        .iter()
        .map(|one| {
            (
                one.key.to_string(),
                one.before.is_some(),
                one.after.is_some(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("added".into(), false, true),
            ("changed".into(), true, true),
            ("removed".into(), true, false)
        ]
    );
}

#[test]
fn a_watch_from_before_the_window_is_served_from_history() {
    let mut store = Store::with_limits(Limits {
        recent_revisions: 2,
        ..Limits::default()
    });
    for value in ["1", "2", "3", "4", "5"] {
        store.put("a", value);
    }
    let Changes::Older { below } = store.state.changes_since(2, 1_000) else {
        panic!()
    };
    assert_eq!(below, 4);
    let older = store
        .state
        .older_changes(&KeyRange::all(), 2, below, 1)
        .unwrap();
    assert_eq!((older.events.len(), older.next), (1, 3));
    let event = &older.events[0];
    assert_eq!(event.now.revision.get(), 2);
    assert_eq!(event.before.as_ref().unwrap().0.revision.get(), 1);
    let Changes::Recent(recent) = store.state.changes_since(4, 1_000) else {
        panic!()
    };
    assert_eq!(recent.len(), 2);
    let Changes::Recent(none) = store.state.changes_since(6, 1_000) else {
        panic!()
    };
    assert!(none.is_empty());
    store.done(Body::Compact(3));
    assert!(matches!(
        store.state.changes_since(3, 1_000),
        Changes::Compacted { oldest: 4 }
    ));
}

#[test]
fn a_compaction_takes_nothing_from_a_watch_that_is_already_there() {
    let mut store = Store::with_limits(Limits {
        recent_revisions: 2,
        ..Limits::default()
    });
    for value in ["1", "2", "3"] {
        store.put("a", value);
    }
    store.done(Body::Compact(3));
    assert!(matches!(
        store.state.changes_since(2, usize::MAX),
        Changes::Compacted { oldest: 4 }
    ));
    let recent = |from| {
        let changes = store.state.recent_changes(from, usize::MAX)?;
        let revisions = changes.iter().map(|change| change.revision.get());
        Some(revisions.collect::<Vec<_>>())
    };
    assert_eq!(recent(2), Some(vec![2, 3]));
    assert_eq!(recent(4), Some(Vec::new()));
    assert_eq!(recent(1), None, "that left the window");
}

#[test]
fn time_in_history_never_runs_backwards() {
    let mut store = Store::new();
    store.put("a", "1");
    store.now -= 500_000;
    store.put("a", "2");
    let at: Vec<_> = store
        .state
        .history(b"a")
        .iter()
        .map(|meta| meta.at.as_millis())
        .collect();
    assert_eq!(at, [1_000_000, 1_000_000]);
    assert_eq!(store.state.clock().as_millis(), 1_000_000);
}
