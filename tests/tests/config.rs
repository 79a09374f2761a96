//! A service's configuration while servers come and go: the real programs, a client's own key.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{fs, path::Path, time::Duration};

use holdfast_client::{
    Client, ClientOptions, Config, ConfigBuilder, Layer, Origin, Secret, StartPolicy,
};
use holdfast_tests::{
    escrow,
    harness::{Cluster, wait},
};
use serde::Deserialize;

const LIMIT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Billing {
    /// Of `number` and `twin` both: half a change would show.
    number: u64,
    twin: u64,
    password: Secret<String>,
}

fn billing(client: &Client, folder: &Path) -> ConfigBuilder<Billing> {
    client
        .config("billing/")
        .node("n1")
        .reveal("the service starts")
        .validate(|billing: &Billing| match billing.number == billing.twin {
            true => Ok(()),
            false => Err("half a change"),
        })
        .cache(folder)
        .start(StartPolicy::ServerThenCache {
            wait: Duration::from_secs(1),
        })
}

/// Puts both numbers in one revision.
async fn set(client: &Client, number: i64) -> u64 {
    use holdfast_client::{Key, Operation, Transaction, Value};
    let put = |key: &str| Operation::put(&Key::try_from(key).unwrap(), Value::Integer(number));
    let both = Transaction::new()
        .then(put("billing/number"))
        .then(put("billing/twin"));
    let done = client.transact(both, "").await.unwrap();
    done.revision
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_starts_and_restarts_while_every_server_is_down() {
    let mut cluster = Cluster::start().await.unwrap();
    let operator = cluster.client().await.unwrap();
    escrow::prove(&cluster.context_file(), &cluster.folder().join("shares"))
        .await
        .unwrap();
    let password = "hunter2-of-the-service";
    let secrets = operator.secrets();
    wait::until("a secret to be taken", LIMIT, || async {
        secrets
            .put("billing/password", password.to_owned())
            .await
            .ok()
    })
    .await
    .unwrap();
    set(&operator, 0).await;
    let folder = cluster.folder().join("service");
    let context = cluster.context().unwrap();
    // As a service makes one that must start without servers.
    let lazy = || Client::lazy(&context, ClientOptions::default()).unwrap();
    let config = billing(&lazy(), &folder).open().await.unwrap();
    assert_eq!(config.load().password.expose(), password);
    let explained = config.explain("number").unwrap();
    assert_eq!(explained.layer, Layer::Cluster);
    assert_eq!(explained.author, "client/admin");

    // Many changes, and the leader dies among them: never half of one, never an older one after a newer.
    let reader = read_on(config.clone());
    for number in 1..=100 {
        if number == 50 {
            let leader = cluster.leader(&operator).await.unwrap();
            cluster.kill(leader);
        }
        set(&operator, number).await;
    }
    wait::until_true("the last change", LIMIT, || config.load().number == 100)
        .await
        .unwrap();
    reader.abort();
    assert!(reader.await.unwrap_err().is_cancelled());
    wait::until_true("it is kept", LIMIT, || {
        config.status().cached == config.status().revision
    })
    .await
    .unwrap();

    cluster.kill_all();
    drop(config);
    let restarted = billing(&lazy(), &folder).open().await.unwrap();
    assert_eq!(restarted.load().number, 100);
    assert_eq!(restarted.load().password.expose(), password);
    assert_eq!(restarted.status().origin, Origin::Disk);
    assert!(
        restarted.status().age < Duration::from_secs(20),
        "{restarted:?}"
    );
    for file in fs::read_dir(&folder).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        let leaked = bytes
            .windows(password.len())
            .any(|part| part == password.as_bytes());
        assert!(!leaked);
    }

    // The servers come back, and so does what is new.
    cluster.mend().unwrap();
    wait::until("the cluster to be back", LIMIT, || async {
        operator.get("billing/number").await.ok()
    })
    .await
    .unwrap();
    let newest = set(&operator, 101).await;
    assert!(restarted.wait_for(newest, LIMIT).await);
    assert_eq!(restarted.load().number, 101);
}

/// Reads all the time; ends with a panic if what it reads goes back or is half.
fn read_on(config: Config<Billing>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut last = 0;
        loop {
            let now = config.load();
            assert_eq!(now.number, now.twin, "half a change");
            assert!(now.number >= last, "{} after {last}", now.number);
            last = now.number;
            drop(now);
            tokio::task::yield_now().await;
        }
    })
}
