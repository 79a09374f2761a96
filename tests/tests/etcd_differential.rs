//! Random operations on real etcd and on our etcd front, which must answer the same.
//!
//! `HOLDFAST_OPERATIONS=1000000` does so many of them instead of 20,000; `HOLDFAST_SEED=number`
//! does those of one seed.

use std::time::Instant;

use holdfast_tests::{
    etcd::differential::{Pair, Side},
    harness::{Etcd, EtcdOptions},
    scenario,
};

/// etcd with the limits of ours.
async fn etcd() -> Etcd {
    let options = EtcdOptions {
        nodes: 1,
        arguments: vec!["--max-txn-ops=512".into(), "--unsafe-no-fsync".into()],
        ..EtcdOptions::default()
    };
    Etcd::start(options).await.expect("etcd starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_etcds_answer_the_same() {
    let (one, other) = (etcd().await, etcd().await);
    let one = Side::connect("one", &one.endpoints())
        .await
        .expect("it serves");
    let other = Side::connect("other", &other.endpoints())
        .await
        .expect("it serves");
    let mut pair = Pair::new(one, other).await.expect("both begin alike");
    let began = Instant::now();
    let seed = scenario::seed();
    if let Err(error) = pair.compare(seed, 50_000).await {
        panic!("{error}");
    }
    println!("seed {seed}: 5,000 operations in {:?}", began.elapsed());
    for (outcome, count) in pair.tally() {
        println!("{count:6} {outcome}");
    }
}
