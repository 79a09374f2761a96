//! The sidecar as it is on a node: the real program, with a real cluster.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

mod examples;
mod hooks;
mod nginx;
mod offline;
mod render;
mod sets;

use std::time::Duration;

use holdfast_client::{Client, Key, Operation, Transaction, Value};
use holdfast_tests::harness::{Cluster, ClusterOptions, wait};

const LIMIT: Duration = Duration::from_secs(30);

async fn one_node() -> (Cluster, Client) {
    let options = ClusterOptions {
        nodes: 1,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(options).await.unwrap();
    let client = cluster.client().await.unwrap();
    (cluster, client)
}

/// Puts all of them in one revision.
async fn put(client: &Client, values: &[(&str, &str)]) -> u64 {
    let mut transaction = Transaction::new();
    for (key, value) in values {
        let key = Key::try_from(*key).unwrap();
        let put = Operation::put(&key, Value::Text((*value).to_owned()));
        transaction = transaction.then(put);
    }
    client.transact(transaction, "").await.unwrap().revision
}

/// Waits until something is so.
async fn until(what: &str, is_so: impl FnMut() -> bool) {
    wait::until_true(what, LIMIT, is_so).await.unwrap();
}
