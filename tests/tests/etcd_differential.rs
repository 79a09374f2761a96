//! Random operations on real etcd and on our etcd front, which must answer the same.
//!
//! `HOLDFAST_OPERATIONS=1000000` does so many of them instead of 20,000, best with `--release`;
//! `HOLDFAST_SEED=number` does those of one seed.

use std::{collections::BTreeMap, time::Instant};

use anyhow::Context as _;
use etcd_client::proto::{PbLeaseGrantRequest, PbPutRequest};
use holdfast_tests::{
    etcd::{
        Endpoints,
        differential::{Pair, Side},
        operation::Operation,
        watchers::{Spec, Watchers},
        watching,
    },
    harness::{Cluster, ClusterOptions, Etcd, EtcdOptions},
    scenario,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_and_our_front_answer_the_same() -> anyhow::Result<()> {
    let options = ClusterOptions {
        etcd: true,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(options).await?;
    let etcd = etcd().await?;
    let theirs = Side::connect("etcd", &etcd.endpoints()).await?;
    let ours = Side::connect("kvd", &cluster.etcd()?).await?;
    let mut pair = Pair::new(theirs, ours).await?;
    compare(&mut pair, operations()?).await
}

/// What the comparison leaves out must be just what two etcds may say differently.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_etcds_answer_the_same() -> anyhow::Result<()> {
    let (one, other) = (etcd().await?, etcd().await?);
    let one_side = Side::connect("one", &one.endpoints()).await?;
    let other_side = Side::connect("other", &other.endpoints()).await?;
    let mut pair = Pair::new(one_side, other_side).await?;
    compare(&mut pair, 5_000).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_on_etcd_and_on_our_front_see_the_same() -> anyhow::Result<()> {
    let options = ClusterOptions {
        etcd: true,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(options).await?;
    let etcd = etcd().await?;
    let (theirs, ours) = (etcd.endpoints(), cluster.etcd()?);
    let theirs_side = Side::connect("etcd", &theirs).await?;
    let ours_side = Side::connect("kvd", &ours).await?;
    let mut pair = Pair::new(theirs_side, ours_side).await?;
    watch(&mut pair, [&theirs, &ours], 40).await?;
    expiry(&mut pair, [&theirs, &ours]).await?;
    large_values(&mut pair, [&theirs, &ours]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_on_two_etcds_see_the_same() -> anyhow::Result<()> {
    let (one, other) = (etcd().await?, etcd().await?);
    let (one, other) = (one.endpoints(), other.endpoints());
    let one_side = Side::connect("one", &one).await?;
    let other_side = Side::connect("other", &other).await?;
    let mut pair = Pair::new(one_side, other_side).await?;
    watch(&mut pair, [&one, &other], 10).await?;
    expiry(&mut pair, [&one, &other]).await?;
    large_values(&mut pair, [&one, &other]).await
}

async fn watch(pair: &mut Pair, endpoints: [&Endpoints; 2], rounds: usize) -> anyhow::Result<()> {
    let first = scenario::seed();
    for seed in first..first + 3 {
        let began = Instant::now();
        println!("HOLDFAST_SEED={seed}");
        let events = watching::compare(pair, endpoints, seed, rounds).await?;
        println!("{rounds} rounds, {events} events in {:?}", began.elapsed());
        anyhow::ensure!(events > rounds, "only {events} events were compared");
    }
    Ok(())
}

/// A lease that nobody keeps alive ends by itself, and its keys with it, in one revision.
async fn expiry(pair: &mut Pair, endpoints: [&Endpoints; 2]) -> anyhow::Result<()> {
    let bases = pair.begin_anew().await?;
    let put = |key: &str| {
        Operation::Put(PbPutRequest {
            key: key.into(),
            lease: 1,
            ..PbPutRequest::default()
        })
    };
    let grant = Operation::Grant(PbLeaseGrantRequest { id: 1, ttl: 2 });
    let now = pair
        .change(&[grant, put("leased/a"), put("leased/b")])
        .await?;
    let spec = Spec {
        key: b"leased/".to_vec(),
        range_end: b"leased0".to_vec(),
        start: 1,
        prev_kv: true,
        ..Spec::default()
    };
    let mut seen = Vec::new();
    for (endpoints, base) in endpoints.iter().zip(bases) {
        let mut watchers = Watchers::open(endpoints, base, 1, &spec).await?;
        watchers.catch_up(now + 1).await?;
        seen.push(watchers.seen());
    }
    let events = seen[0][&0].events.len();
    anyhow::ensure!(events == 4, "two puts and two deletions, not {events}");
    anyhow::ensure!(seen[0] == seen[1], "leases end otherwise: {seen:?}");
    Ok(())
}

/// More than one response holds, from the past, in fragments or in whole.
async fn large_values(pair: &mut Pair, endpoints: [&Endpoints; 2]) -> anyhow::Result<()> {
    let bases = pair.begin_anew().await?;
    let put = |letter: u8| {
        Operation::Put(PbPutRequest {
            key: b"large".to_vec(),
            value: vec![letter; 700 << 10],
            ..PbPutRequest::default()
        })
    };
    let puts: Vec<Operation> = (b'a'..b'e').map(put).collect();
    let now = pair.change(&puts).await?;
    for fragment in [true, false] {
        let spec = Spec {
            key: b"large".to_vec(),
            start: 1,
            prev_kv: false,
            fragment,
            ..Spec::default()
        };
        let mut seen = Vec::new();
        for (endpoints, base) in endpoints.iter().zip(bases) {
            let mut watchers = Watchers::open(endpoints, base, 1, &spec).await?;
            watchers.catch_up(now).await?;
            seen.push(watchers.seen());
        }
        let events = seen[0][&0].events.len();
        anyhow::ensure!(
            events == puts.len(),
            "{events} events, fragments: {fragment}"
        );
        anyhow::ensure!(seen[0] == seen[1], "not alike, fragments: {fragment}");
    }
    Ok(())
}

/// In portions of a seed each; all kinds of answers must have been seen.
async fn compare(pair: &mut Pair, operations: usize) -> anyhow::Result<()> {
    let portion = operations.min(PORTION);
    let first = scenario::seed();
    for seed in (first..).take(operations.div_ceil(portion)) {
        let began = Instant::now();
        // Its name is on the screen even if nothing else will be.
        println!("HOLDFAST_SEED={seed} HOLDFAST_OPERATIONS={portion}");
        pair.compare(seed, portion).await?;
        println!("{portion} operations in {:?}", began.elapsed());
    }
    let tally = pair.tally();
    for (outcome, count) in &tally {
        println!("{count:8} {outcome}");
    }
    all_kinds(&tally)
}

/// A comparison in which some kind of answer never came has not compared it.
fn all_kinds(tally: &BTreeMap<String, u64>) -> anyhow::Result<()> {
    for outcome in [
        "range: done",
        "put: done",
        "delete: done",
        "txn: done",
        "compact: done",
        "grant: done",
        "revoke: done",
        "keep alive: done",
        "time to live: done",
        "leases: done",
        "range: OutOfRange, etcdserver: mvcc: required revision has been compacted",
        "range: OutOfRange, etcdserver: mvcc: required revision is a future revision",
        "put: InvalidArgument, etcdserver: key is not provided",
        "put: InvalidArgument, etcdserver: value is provided",
        "put: InvalidArgument, etcdserver: lease is provided",
        "put: InvalidArgument, etcdserver: key not found",
        "put: NotFound, etcdserver: requested lease not found",
        "txn: InvalidArgument, etcdserver: duplicate key given in txn request",
        "grant: FailedPrecondition, etcdserver: lease already exists",
    ] {
        let count = tally.get(outcome);
        count.with_context(|| format!("never seen: {outcome}"))?;
    }
    Ok(())
}

/// It need not survive anything.
async fn etcd() -> anyhow::Result<Etcd> {
    let options = EtcdOptions {
        nodes: 1,
        arguments: vec!["--unsafe-no-fsync".to_owned()],
        ..EtcdOptions::default()
    };
    Etcd::start(options).await
}

fn operations() -> anyhow::Result<usize> {
    match std::env::var("HOLDFAST_OPERATIONS") {
        Ok(text) => text.parse().context("HOLDFAST_OPERATIONS is a number"),
        Err(_) => Ok(20_000),
    }
}

const PORTION: usize = 5_000;
