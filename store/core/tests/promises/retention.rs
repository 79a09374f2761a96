//! How long history is kept.

use bytes::Bytes;
use holdfast_core::{Body, Limits, ReadError, Reason, Retention};
use holdfast_proto::{KeyRange, Revision, limits};

use crate::store::{DAY_MS, Store, assert_reason, key};

fn keep(store: &mut Store, prefix: &'static str, versions: u64, age_ms: u64, bytes: u64) {
    let retention = Some(Retention {
        versions,
        age_ms,
        bytes,
    });
    store.done(Body::SetRetention {
        prefix: Bytes::from_static(prefix.as_bytes()),
        retention,
    });
}

fn read_at(store: &Store, range: &KeyRange, revision: u64) -> Result<usize, ReadError> {
    store
        .state
        .range_at(range, Revision::new(revision).unwrap())
        .map(|found| found.len())
}

#[test]
fn by_default_everything_of_thirty_days_is_kept() {
    let mut store = Store::new();
    for index in 0..100 {
        store.put("a", &index.to_string());
    }
    assert_eq!(store.revisions("a").len(), 100);
}

#[test]
fn after_thirty_days_the_newest_twenty_older_versions_are_left() {
    let mut store = Store::new();
    for index in 0..100 {
        store.put("a", &index.to_string());
    }
    store.now += 31 * DAY_MS;
    store.put("a", "newest");
    // The one that was replaced just now, and nineteen before it.
    assert_eq!(store.revisions("a"), (81..=101).rev().collect::<Vec<_>>());
}

#[test]
fn old_versions_of_a_key_that_nobody_writes_are_found_by_the_sweep() {
    let mut store = Store::new();
    for index in 0..100 {
        store.put("a", &index.to_string());
    }
    store.now += 31 * DAY_MS;
    store.done(Body::Tick);
    assert_eq!(store.revisions("a").len(), 21);
}

#[test]
fn a_key_keeps_its_history_within_its_budget_and_always_the_version_before() {
    let mut store = Store::new();
    keep(&mut store, "", 100, DAY_MS, 400);
    for _ in 0..10 {
        store.put("a", &"x".repeat(100));
    }
    assert_eq!(store.revisions("a"), [10, 9, 8]);
    store.put("a", &"x".repeat(1_000));
    store.put("a", "small");
    assert_eq!(store.revisions("a"), [12, 11]);
}

#[test]
fn a_prefix_has_its_own_retention_and_the_longest_wins() {
    let mut store = Store::new();
    keep(&mut store, "a", 1, 0, 10_000);
    keep(&mut store, "a/b", 3, 0, 10_000);
    for name in ["a/b/c", "a/x", "z"] {
        for _ in 0..6 {
            store.put(name, "1");
        }
    }
    let kept = |store: &Store, name| store.revisions(name).len();
    assert_eq!(
        (
            kept(&store, "a/b/c"),
            kept(&store, "a/x"),
            kept(&store, "z")
        ),
        (4, 2, 6)
    );
    store.done(Body::SetRetention {
        prefix: "a/b".into(),
        retention: None,
    });
    store.put("a/b/c", "1");
    assert_eq!(kept(&store, "a/b/c"), 2);
    assert_eq!(store.state.retentions().count(), 1);
}

#[test]
fn a_prefix_that_keeps_nothing_loses_deleted_keys_at_once_and_others_keep_theirs() {
    let mut store = Store::new();
    keep(&mut store, "lock/", 0, 0, 0);
    store.put("config", "1");
    store.put("lock/1", "1");
    store.delete("lock/1");
    assert_eq!(store.revisions("lock/1"), [] as [u64; 0]);
    let oldest = ReadError::Compacted { oldest: 3 };
    assert_eq!(read_at(&store, &KeyRange::prefix("lock/"), 2), Err(oldest));
    assert_eq!(read_at(&store, &KeyRange::single(&key("config")), 2), Ok(1));
}

#[test]
fn a_deleted_key_can_be_looked_up_for_a_day_at_least() {
    let mut store = Store::new();
    keep(&mut store, "", 1, 0, 10_000);
    store.put("a", "1");
    store.delete("a");
    store.now += DAY_MS - 1;
    store.done(Body::Tick);
    assert_eq!(store.revisions("a"), [2, 1]);
    assert_eq!(read_at(&store, &KeyRange::all(), 1), Ok(1));
    store.now += 60_000;
    store.done(Body::Tick);
    assert_eq!(store.revisions("a"), [] as [u64; 0]);
    assert_eq!(
        read_at(&store, &KeyRange::all(), 1),
        Err(ReadError::Compacted { oldest: 2 })
    );
    assert_eq!(read_at(&store, &KeyRange::all(), 2), Ok(0));
}

#[test]
fn above_the_budget_of_all_keys_what_was_replaced_first_goes_first() {
    let mut store = Store::with_limits(Limits {
        history_bytes: 3_000,
        ..Limits::default()
    });
    for name in ["a", "b", "c"] {
        for _ in 0..6 {
            store.put(name, "1");
        }
    }
    assert!(store.state.usage().history_bytes <= 3_000);
    assert_eq!(store.revisions("a"), [6]);
    assert!(store.revisions("c").len() == 6);
}

#[test]
fn a_read_that_needs_a_forgotten_version_says_from_where_it_can_be_read() {
    let mut store = Store::new();
    keep(&mut store, "", 1, 0, 10_000);
    for _ in 0..5 {
        store.put("a", "1");
    }
    let range = KeyRange::all();
    assert_eq!(
        read_at(&store, &range, 2),
        Err(ReadError::Compacted { oldest: 4 })
    );
    assert_eq!(read_at(&store, &range, 4), Ok(1));
    assert_eq!(store.state.oldest_watchable_in(&range), 4);
}

#[test]
fn compaction_forgets_what_is_not_current_at_the_revision_and_the_past_is_told() {
    let mut store = Store::with_limits(Limits {
        recent_revisions: 1,
        ..Limits::default()
    });
    for value in ["1", "2", "3"] {
        store.put("a", value);
    }
    store.put("b", "1");
    store.delete("b");
    let outcome = store.done(Body::Compact(4));
    let forgotten: Vec<_> = outcome.forgotten.iter().map(ToString::to_string).collect();
    assert_eq!(forgotten, ["a@1", "a@2"]);
    assert_eq!(store.revisions("a"), [3]);
    assert_eq!(store.revisions("b"), [5, 4]);
    assert_eq!(
        read_at(&store, &KeyRange::all(), 3),
        Err(ReadError::Compacted { oldest: 4 })
    );
    assert_eq!(read_at(&store, &KeyRange::all(), 4), Ok(2));
}

#[test]
fn only_so_many_prefixes_have_a_retention_of_their_own() {
    let mut store = Store::new();
    let body = |index: usize| Body::SetRetention {
        prefix: format!("p{index}").into(),
        retention: Some(Retention::default()),
    };
    for index in 0..limits::RETENTION_PREFIXES {
        store.done(body(index));
    }
    let refusal = store.refused(body(limits::RETENTION_PREFIXES));
    assert_reason(&refusal, Reason::TooMany, "take one away first");
}
