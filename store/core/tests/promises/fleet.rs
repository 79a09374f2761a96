//! Reports of the fleet: one word each, no revision, bounded, through archives, and for a month.

use std::sync::Arc;

use holdfast_core::{Body, Command, Limits, ReplyBody, Report, ReportKey, Reported, State};
use holdfast_proto::{KeyRange, Timestamp, limits, log::v1 as log, v1};
use prost::Message as _;

use crate::store::{DAY_MS, Store, asked, put, request};

/// What `client/NAME`, as `instance`, says about `prefix`.
fn said(instance: &str, prefix: &str, revision: u64) -> v1::FleetReport {
    v1::FleetReport {
        prefix: prefix.as_bytes().to_vec().into(),
        instance: instance.to_owned(),
        state: v1::FleetState::Applied.into(),
        revision,
        run: 7,
        sequence: revision,
        ..v1::FleetReport::default()
    }
}

fn report(wire: v1::FleetReport) -> Report {
    wire.try_into().unwrap()
}

fn all(reports: impl IntoIterator<Item = v1::FleetReport>) -> Body {
    let by = |wire| (Arc::from("client/web"), report(wire));
    Body::FleetReports(reports.into_iter().map(by).collect())
}

/// The places for which there was no room.
fn refused(store: &mut Store, body: Body) -> Vec<u32> {
    match store.done(body).reply.body {
        ReplyBody::FleetTaken { refused } => refused,
        other => panic!("{other:?}"),
    }
}

fn of(store: &Store, instance: &str, prefix: &str) -> Option<Reported> {
    let key = report(said(instance, prefix, 1)).key("client/web".into());
    store.state.fleet().get(&key).cloned()
}

fn instances(store: &Store) -> Vec<String> {
    let reports = store.state.fleet().reports(b"");
    reports.map(|(key, _)| key.instance.to_string()).collect()
}

#[test]
fn a_report_takes_no_revision_and_wakes_no_watch() {
    let mut store = Store::new();
    store.put("a", "1");
    let outcome = store.done(all([said("i1", "billing/", 1)]));
    assert!(outcome.change.is_none());
    assert_eq!(outcome.reply.revision, 1);
    assert_eq!(store.state.revision(), 1);
    assert_eq!(store.put("a", "2").reply.revision, 2);
}

#[test]
fn of_each_instance_the_newest_word_on_a_subject_is_kept() {
    let mut store = Store::new();
    let set = v1::FleetReport {
        set: "nginx".to_owned(),
        ..said("i1", "billing/", 9)
    };
    store.done(all([
        said("i1", "billing/", 1),
        said("i2", "billing/", 1),
        said("i1", "shop/", 1),
        set,
    ]));
    store.done(all([said("i1", "billing/", 5)]));
    assert_eq!(store.state.fleet().len(), 4);
    let kept = of(&store, "i1", "billing/").unwrap();
    assert_eq!(kept.report.to_wire().revision, 5);
    let under = |prefix: &[u8]| store.state.fleet().reports(prefix).count();
    assert_eq!((under(b"bill"), under(b"shop/"), under(b"")), (3, 1, 4));
}

#[test]
fn an_older_word_that_comes_late_does_not_count_unless_another_process_says_it() {
    let mut store = Store::new();
    store.done(all([said("i1", "billing/", 5)]));
    let outcome = refused(&mut store, all([said("i1", "billing/", 4)]));
    assert_eq!(outcome, [0u32; 0]);
    let revision = |store: &Store| {
        of(store, "i1", "billing/")
            .unwrap()
            .report
            .to_wire()
            .revision
    };
    assert_eq!(revision(&store), 5);
    // The service started again, with what it had on disk.
    let again = v1::FleetReport {
        run: 8,
        ..said("i1", "billing/", 3)
    };
    store.done(all([again]));
    assert_eq!(revision(&store), 3);
}

#[test]
fn since_when_it_is_so_outlives_repeats_and_counts_what_was_said_late() {
    let mut store = Store::new();
    let late = v1::FleetReport {
        held_ms: 400_000,
        ..said("i1", "billing/", 5)
    };
    store.done(all([late]));
    let began = store.now - 400_000;
    store.now += 60_000;
    let repeated = v1::FleetReport {
        sequence: 6,
        age_ms: 3,
        ..said("i1", "billing/", 5)
    };
    store.done(all([repeated]));
    let kept = of(&store, "i1", "billing/").unwrap();
    assert_eq!(kept.since, Timestamp::from_millis(began));
    assert_eq!(kept.heard, Timestamp::from_millis(store.now));
    store.now += 1;
    store.done(all([said("i1", "billing/", 8)]));
    let kept = of(&store, "i1", "billing/").unwrap();
    assert_eq!(kept.since, Timestamp::from_millis(store.now));
}

#[test]
fn two_processes_that_take_turns_under_one_name_are_noticed() {
    let mut store = Store::new();
    let by = |run, sequence| v1::FleetReport {
        run,
        sequence,
        ..said("i1", "billing/", 5)
    };
    let shared = |store: &Store| {
        let kept = of(store, "i1", "billing/").unwrap();
        kept.to_wire("client/web").shared_at_ms
    };
    store.done(all([by(1, 1)]));
    store.done(all([by(2, 1)]));
    assert_eq!(shared(&store), 0, "a process that started again is none");
    store.done(all([by(1, 2)]));
    assert_eq!(shared(&store), store.now);
}

#[test]
fn what_is_stale_makes_room_and_what_is_not_stays() {
    let mut store = Store::with_limits(Limits {
        fleet_reports: 3,
        ..Limits::default()
    });
    store.done(all([said("old", "a/", 1)]));
    store.now += 1;
    store.done(all([said("older", "a/", 1), said("i3", "a/", 1)]));
    let more = || all([said("i4", "a/", 1), said("i3", "a/", 2)]);
    assert_eq!(refused(&mut store, more()), [0], "i3 is known, i4 is not");
    assert_eq!(instances(&store), ["i3", "old", "older"]);
    // Two of three were not heard for long: of these the older goes.
    store.now += limits::FLEET_STALE_MS - 2;
    store.done(all([said("i3", "a/", 3)]));
    store.now += 1;
    assert_eq!(refused(&mut store, more()), [0u32; 0]);
    assert_eq!(instances(&store), ["i3", "i4", "older"]);
    assert_eq!(refused(&mut store, all([said("i5", "a/", 1)])), [0]);
}

#[test]
fn one_identity_cannot_take_all_the_room() {
    let mut store = Store::with_limits(Limits {
        fleet_of_one: 2,
        ..Limits::default()
    });
    store.done(all([said("i1", "a/", 1), said("i2", "a/", 1)]));
    assert_eq!(refused(&mut store, all([said("i3", "a/", 1)])), [0]);
    let other = vec![(Arc::from("client/other"), report(said("i3", "a/", 1)))];
    assert_eq!(refused(&mut store, Body::FleetReports(other)), [0u32; 0]);
    assert_eq!(store.state.fleet().len(), 3);
    store.now += limits::FLEET_STALE_MS;
    assert_eq!(refused(&mut store, all([said("i3", "a/", 1)])), [0u32; 0]);
    assert_eq!(store.state.fleet().len(), 3, "its own made room");
}

#[test]
fn bytes_are_limited_as_numbers_are_and_counted_down_again() {
    let mut store = Store::with_limits(Limits {
        fleet_bytes: 2_000,
        ..Limits::default()
    });
    let wordy = |instance: &str, sequence| v1::FleetReport {
        detail: "x".repeat(500),
        sequence,
        ..said(instance, "a/", 1)
    };
    store.done(all([wordy("i1", 1), wordy("i2", 1)]));
    let bytes = store.state.fleet().bytes();
    assert_eq!(refused(&mut store, all([wordy("i3", 1)])), [0]);
    assert_eq!(refused(&mut store, all([wordy("i1", 2)])), [0u32; 0]);
    assert_eq!(store.state.fleet().bytes(), bytes);
    let keys = ["i1", "i2"].map(|name| report(said(name, "a/", 1)).key("client/web".into()));
    store.done(Body::FleetForget(keys.to_vec()));
    assert_eq!(store.state.fleet().bytes(), 0);
    assert!(store.state.fleet().is_empty());
}

#[test]
fn who_uses_an_override_is_counted_while_it_is_heard() {
    let mut store = Store::new();
    let over = v1::FleetReport {
        r#override: Some(v1::FleetOverride::default()),
        ..said("i1", "a/", 1)
    };
    store.done(all([over, said("i2", "a/", 1)]));
    let now = |store: &Store, later| Timestamp::from_millis(store.now + later);
    assert_eq!(store.state.fleet().overridden(now(&store, 0)), 1);
    let late = now(&store, limits::FLEET_STALE_MS);
    assert_eq!(store.state.fleet().overridden(late), 0);
}

#[test]
fn reports_are_forgotten_on_request_and_after_a_month() {
    let mut store = Store::new();
    store.done(all([said("i1", "a/", 1), said("i2", "a/", 1)]));
    let gone: ReportKey = report(said("i1", "a/", 1)).key("client/web".into());
    let outcome = store.done(Body::FleetForget(vec![gone.clone(), gone]));
    assert!(matches!(&outcome.reply.body, ReplyBody::Delete(result) if result.deleted == 1));
    assert_eq!(instances(&store), ["i2"]);
    store.now += 30 * DAY_MS;
    store.done(Body::Tick);
    assert_eq!(instances(&store), ["i2"]);
    store.now += 60_000;
    store.done(Body::Tick);
    assert!(store.state.fleet().is_empty());
}

#[test]
fn a_repeated_request_forgets_nothing_twice() {
    let mut store = Store::new();
    store.done(all([said("i1", "a/", 1)]));
    let keys = vec![report(said("i1", "a/", 1)).key("client/web".into())];
    let forget = || asked(request(1, 1, 1), Body::FleetForget(keys.clone()));
    let first = store.apply(forget()).reply;
    store.done(all([said("i1", "a/", 2)]));
    assert_eq!(store.apply(forget()).reply, first);
    assert_eq!(store.state.fleet().len(), 1);
}

#[test]
fn reports_come_through_an_archive_and_count_in_the_hash() {
    let mut store = Store::new();
    store.put("a", "1");
    let before = store.state.hash();
    store.done(all([said("i1", "a/", 1), said("i2", "b/", 1)]));
    assert_ne!(store.state.hash(), before);
    let back = State::from_rows(store.state.rows()).unwrap();
    assert_eq!(back.hash(), store.state.hash());
    assert!(back.rows().eq(store.state.rows()));
    assert_eq!(back.fleet().bytes(), store.state.fleet().bytes());
    // Every field counts.
    let changes: [fn(&mut v1::FleetEntry); 6] = [
        |entry| entry.identity += "x",
        |entry| entry.heard_at_ms += 1,
        |entry| entry.since_ms += 1,
        |entry| entry.previous_run += 1,
        |entry| entry.shared_at_ms += 1,
        |entry| entry.report.as_mut().unwrap().detail += "x",
    ];
    for change in changes {
        let mut rows: Vec<_> = store.state.rows().collect();
        let entry = rows.iter_mut().find_map(|row| match &mut row.row {
            Some(log::state_row::Row::Fleet(entry)) => Some(entry),
            _ => None,
        });
        change(entry.unwrap());
        assert_ne!(State::from_rows(rows).unwrap().hash(), store.state.hash());
    }
}

#[test]
fn a_report_that_is_too_much_or_no_plain_text_is_refused() {
    let too_much: [fn(&mut v1::FleetReport); 9] = [
        |report| report.instance = String::new(),
        |report| report.state = 0,
        |report| report.state = 77,
        |report| report.instance = "x".repeat(limits::FLEET_NAME_BYTES + 1),
        |report| report.detail = "x".repeat(limits::FLEET_DETAIL_BYTES + 1),
        |report| report.detail = "\u{1b}[2J".to_owned(),
        |report| report.roles = vec![String::new(); limits::FLEET_ROLES + 1],
        |report| report.items = vec![v1::FleetItem::default(); limits::FLEET_ITEMS + 1],
        |report| report.prefix = vec![0; limits::KEY_BYTES + 1].into(),
    ];
    for change in too_much {
        let mut wire = said("i1", "a/", 1);
        change(&mut wire);
        assert!(Report::try_from(wire.clone()).is_err(), "{wire:?}");
    }
}

/// As this version writes it: what later ones must read.
#[test]
fn the_command_and_the_row_are_read_as_they_were_first_written() {
    let command = Command::internal("node/n1", all([said("i1", "billing/", 5)]));
    let bytes = unhex(
        "12076e6f64652f6e31d205280a260a0a636c69656e742f77656212180a0862696c6c696e672f1a02693120012805\
         900107980105",
    );
    assert_eq!(Command::decode(bytes.into()).unwrap(), command);

    let mut store = Store::new();
    store.done(all([said("i1", "billing/", 5)]));
    let row = log::StateRow::decode(&unhex("92032e0a180a0862696c6c696e672f1a02693120012805900107980105120a636c69656e742f77656218c0843d20c0843d")[..]).unwrap();
    assert_eq!(store.state.rows().last(), Some(row));
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

#[test]
fn the_last_change_under_a_prefix_counts_deletions() {
    let mut store = Store::new();
    let last = |store: &Store, prefix: &str| {
        let range = KeyRange::prefix(prefix.as_bytes().to_vec());
        store.state.last_change(&range)
    };
    assert_eq!(last(&store, ""), 0);
    store.put("a/1", "x");
    store.put("a/2", "x");
    store.put("b/1", "x");
    assert_eq!(
        (last(&store, "a/"), last(&store, "b/"), last(&store, "")),
        (2, 3, 3)
    );
    store.delete("a/1");
    assert_eq!((last(&store, "a/"), last(&store, "b/")), (4, 3));
    store.done(put("a/1", "y"));
    assert_eq!(last(&store, "a/"), 5);
}
