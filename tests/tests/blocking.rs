//! The SDK's wrapper for programs without an async runtime, as such a program uses it: no runtime
//! around it, against real servers.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use holdfast_client::{
    ClientOptions, ConnectError, DeleteOptions, Expected, HistoryOptions, Key, KeyRange, LockError,
    LockOptions, Operation, PutOptions, RangeOptions, Revision, Transaction, Value, WatchItem,
    WatchOptions, WriteError, blocking::Client,
};
use holdfast_tests::harness::{Cluster, ClusterOptions};
use tokio::runtime::Runtime;

const LIMIT: Duration = Duration::from_secs(30);

/// A cluster whose harness needs a runtime; the client under test must not be inside it.
struct Servers {
    cluster: Cluster,
    _runtime: Runtime,
}

impl Servers {
    fn start(nodes: usize) -> Self {
        let runtime = Runtime::new().unwrap();
        let options = ClusterOptions {
            nodes,
            ..ClusterOptions::default()
        };
        Self {
            cluster: runtime.block_on(Cluster::start_with(options)).unwrap(),
            _runtime: runtime,
        }
    }

    fn client(&self) -> Client {
        Client::connect(&self.cluster.context().unwrap()).unwrap()
    }

    fn kill_leader(&mut self, client: &Client) {
        let leader = client.wait(self.cluster.leader(client.inner())).unwrap();
        self.cluster.kill(leader);
    }
}

fn waiting(wait: Duration) -> LockOptions {
    LockOptions {
        ttl: Duration::from_secs(5),
        wait: Some(wait),
    }
}

/// Waits for a condition, not longer than is fair.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < LIMIT, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn every_call_of_the_wrapper_waits_for_its_answer() {
    let servers = Servers::start(1);
    let client = servers.client();

    let first = client.put("shop/name", "corner").unwrap().revision;
    let expected = |revision| PutOptions {
        expected: Some(Expected::At(revision)),
        note: "renamed".to_owned(),
        ..PutOptions::default()
    };
    let second = client
        .put_with("shop/name", "arcade", expected(first))
        .unwrap();
    let stale = client.put_with("shop/name", "late", expected(first));
    assert!(
        matches!(stale, Err(WriteError::Conflict { .. })),
        "{stale:?}"
    );
    let found = client.get("shop/name").unwrap().unwrap();
    assert_eq!(found.value(), &Value::from("arcade"));
    assert_eq!(found.entry.modified, second.revision);
    assert_eq!(client.get("shop/nothing").unwrap(), None);

    let history = client
        .history("shop/name", HistoryOptions::default())
        .unwrap();
    let notes: Vec<_> = history
        .versions
        .iter()
        .map(|v| v.entry.note.as_str())
        .collect();
    assert_eq!(notes, ["renamed", ""]);
    let shop = || KeyRange::prefix("shop/");
    let diff = client.diff(shop(), first, None).unwrap();
    assert_eq!(diff.differences.len(), 1);
    let back = client.rollback(shop(), first, "as it was").unwrap();
    assert!(back.revision.unwrap() > second.revision);
    let found = client.get("shop/name").unwrap().unwrap();
    assert_eq!(found.value(), &Value::from("corner"));

    let key = |name: &str| Key::try_from(name).unwrap();
    let transaction = Transaction::new()
        .then(Operation::put(&key("shop/a"), 1i64))
        .then(Operation::put(&key("shop/b"), 2i64));
    assert!(client.transact(transaction, "two").unwrap().succeeded);
    let page = client.range(shop(), RangeOptions::default()).unwrap();
    assert_eq!(page.entries.len(), 3);
    let deleted = client.delete_range(shop(), DeleteOptions::default());
    assert_eq!(deleted.unwrap().deleted, 3);
    assert_eq!(client.delete("shop/name").unwrap().revision, None);
    let left = client.range_all(shop(), RangeOptions::default()).unwrap();
    assert!(left.entries.is_empty());
}

#[test]
fn a_watch_is_an_iterator_that_goes_on_over_a_killed_leader() {
    let mut servers = Servers::start(3);
    let client = servers.client();
    let options = WatchOptions {
        snapshot: true,
        ..WatchOptions::default()
    };
    let mut watch = client.watch(KeyRange::prefix("w/"), options);
    let first = watch.next().unwrap().unwrap();
    assert!(
        matches!(&first, WatchItem::Reset { entries, .. } if entries.is_empty()),
        "{first:?}"
    );

    let mut written = vec![client.put("w/a", 1i64).unwrap().revision];
    servers.kill_leader(&client);
    written.extend((2..6i64).map(|number| client.put("w/a", number).unwrap().revision));
    let mut seen: Vec<Revision> = Vec::new();
    while seen.last() != written.last() {
        if let WatchItem::Events { events, .. } = watch.next().unwrap().unwrap() {
            seen.extend(events.iter().map(|event| event.entry.modified));
        }
    }
    assert_eq!(seen, written, "each once, in order");
}

#[test]
fn a_mirror_is_read_without_waiting_and_follows() {
    let servers = Servers::start(1);
    let client = servers.client();
    client.put("config/a", "1").unwrap();
    let mirror = client.mirror("config/").unwrap();
    let value = || mirror.get("config/a").unwrap().entry.value.clone();
    assert_eq!(value(), Some("1".into()));
    client.put("config/a", "2").unwrap();
    until("the mirror has followed", || value() == Some("2".into()));
}

#[test]
fn leases_and_locks_are_held_kept_alive_and_given_back() {
    let servers = Servers::start(1);
    let client = servers.client();
    let lease = client.grant_lease(Duration::from_secs(1)).unwrap();
    let options = PutOptions {
        lease: Some(lease.id()),
        ..PutOptions::default()
    };
    client.put_with("alive", "yes", options).unwrap();
    let granted = Instant::now();
    until("it outlived its time to live twice", || {
        assert!(lease.is_alive() && client.get("alive").unwrap().is_some());
        granted.elapsed() > Duration::from_secs(2)
    });
    assert_eq!(lease.revoke().unwrap(), 1, "the key goes with it");
    assert!(!lease.is_alive());
    assert_eq!(client.get("alive").unwrap(), None);

    let guard = client.lock("door", waiting(LIMIT)).unwrap();
    assert!(guard.is_held());
    let other = servers.client();
    let refused = other.lock("door", waiting(Duration::ZERO));
    assert!(
        matches!(refused, Err(LockError::Held { .. })),
        "{refused:?}"
    );
    let (won, second) = mpsc::channel();
    let waits = thread::spawn(move || won.send(other.lock("door", waiting(LIMIT)).unwrap()));
    let token = guard.token();
    guard.release().unwrap();
    let second = second.recv_timeout(LIMIT).unwrap();
    waits.join().unwrap().unwrap();
    assert!(second.token() > token, "{} after {token}", second.token());
    // Dropped, it is given back in the background.
    drop(second);
    let third = client.lock("door", waiting(LIMIT)).unwrap();
    third.release().unwrap();
}

#[test]
fn what_is_not_wrapped_can_be_waited_for() {
    let servers = Servers::start(1);
    let client = servers.client();
    let election = client.inner().election("office");
    let office = client
        .wait(election.campaign("me", waiting(LIMIT)))
        .unwrap();
    let leader = client.wait(election.leader()).unwrap().unwrap();
    assert_eq!(leader.created, office.token());
    client.wait(office.resign()).unwrap();
    assert_eq!(client.wait(election.leader()).unwrap(), None);
}

#[test]
fn with_every_server_gone_the_wrapper_says_so_at_its_deadline() {
    let mut servers = Servers::start(1);
    let context = servers.cluster.context().unwrap();
    let options = ClientOptions {
        request_timeout: Duration::from_millis(500),
        ..ClientOptions::default()
    };
    let client = Client::with_options(&context, options.clone()).unwrap();
    servers.cluster.kill_all();
    let error = client.put("a", "b").unwrap_err();
    assert!(error.to_string().contains("within"), "{error}");
    let refused = Client::with_options(&context, options);
    assert!(
        matches!(refused, Err(ConnectError::Unreachable { .. })),
        "{refused:?}"
    );
}
