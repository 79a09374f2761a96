//! Access as operators and services meet it: certificates from `kvctl`, roles and grants, what is
//! refused in words, and that it holds on every node, for etcd's clients, and through a restart.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_client::{
    Client, Consistency, Context, ReadError, ReadOptions, WatchError, WatchItem, WatchOptions,
};
use holdfast_tests::{
    escrow,
    harness::{
        Cluster, ClusterOptions, Network,
        fabric::{End, Link},
        program::{asked, kvctl, kvctl_with_input, run},
        wait,
    },
};
use serde_json::Value;
use tokio::process::Command;

async fn done(context: &Path, arguments: &[&str]) -> String {
    kvctl(context, arguments).await.success()
}

/// Gives out a certificate; the context of its owner.
async fn issue(cluster: &Cluster, name: &str, roles: &[&str]) -> PathBuf {
    let folder = cluster.folder().join(name);
    let mut arguments = vec!["identity", "issue", name, "--out", folder.to_str().unwrap()];
    for role in roles {
        arguments.extend(["--role", role]);
    }
    done(&cluster.context_file(), &arguments).await;
    folder.join(format!("{name}.toml"))
}

async fn client(context: &Path) -> Client {
    let context = Context::load(context).unwrap();
    Client::connect(&context).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_may_do_what_its_role_says_and_is_told_in_words_what_it_may_not() {
    let cluster = Cluster::of(1).await.unwrap();
    let admin = cluster.context_file();
    done(&admin, &["put", "shop/a", "1"]).await;
    done(&admin, &["put", "bank/a", "1"]).await;
    let rules = ["--allow", "read,write:shop/", "--deny", "write:shop/fixed/"];
    done(&admin, &[&["role", "set", "shop"], &rules[..]].concat()).await;
    let shop = issue(&cluster, "shop", &["shop"]).await;
    assert_eq!(
        asked(&shop, &["get", "shop/a"]).await["author"],
        "client/admin"
    );
    done(&shop, &["put", "shop/b", "2"]).await;
    let written = asked(&admin, &["get", "shop/b"]).await;
    assert_eq!(written["author"], "client/shop");
    assert_eq!(asked(&shop, &["list", "shop/"]).await["count"], 2);
    for (command, words) in [
        (
            &["get", "bank/a"][..],
            "may not read bank/a: no rule allows it",
        ),
        (&["list", ""], "may not"),
        (&["put", "bank/a", "2"], "may not write bank/a"),
        (
            &["put", "shop/fixed/a", "2"],
            "rule 2 of role shop (deny write:shop/fixed/) denies it",
        ),
        (&["delete", "shop/a"], "may not delete"),
        (&["member", "token"], "may not act as admin:members"),
        (
            &["grant", "add", "shop", "admin"],
            "may not act as admin:policy",
        ),
        (&["keyring", "status"], "may not act as admin:keyring"),
        (&["audit", "tail"], "may not act as admin:audit"),
    ] {
        kvctl(&shop, command).await.fails(1, &[words]);
    }
    assert_eq!(asked(&admin, &["get", "bank/a"]).await["value"], "1");
    // What was refused is on record.
    let tail = done(&admin, &["-o", "json", "audit", "tail"]).await;
    let is_denial = |line: &&str| line.contains("client/shop") && line.contains("may not write");
    assert!(tail.lines().any(|line| is_denial(&line)), "{tail}");

    // Nobody's key left its place: the servers never had it.
    let key = std::fs::read_to_string(cluster.folder().join("shop/shop.key")).unwrap();
    assert!(
        key.starts_with("-----BEGIN PRIVATE KEY-----"),
        "a private key in PEM"
    );
    let refused = ["identity", "issue", "shop", "--out"];
    let out = cluster.folder().join("shop");
    let refused = [&refused[..], &[out.to_str().unwrap()]].concat();
    kvctl(&admin, &refused).await.fails(1, &["--out"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn can_explains_what_would_be_decided() {
    let cluster = Cluster::of(1).await.unwrap();
    let admin = cluster.context_file();
    let rules = [
        "--allow",
        "read,reveal+reason:shop/",
        "--deny",
        "read:shop/keys/",
    ];
    done(&admin, &[&["role", "set", "shop"], &rules[..]].concat()).await;
    let shop = issue(&cluster, "shop", &["shop"]).await;
    let yes = done(&admin, &["can", "shop", "read", "shop/a"]).await;
    let rule = "rule 1 of role shop (allow read,reveal+reason:shop/)";
    assert_eq!(
        yes.trim(),
        format!("yes: client/shop may read shop/a: {rule}")
    );
    let no = kvctl(&shop, &["-o", "json", "can", "me", "read", "shop/keys/a"]).await;
    assert_eq!(no.code, Some(1));
    let no: Value = serde_json::from_str(&no.stdout).unwrap();
    assert_eq!(no["allowed"], false);
    assert_eq!(no["by"]["rule"], "deny read:shop/keys/");
    let reveal = asked(&shop, &["can", "me", "reveal", "shop/a"]).await;
    assert_eq!(reveal["reason_required"], true);
    let all = kvctl(&shop, &["can", "me", "read", "shop/"]).await;
    assert_eq!(all.code, Some(1), "a part of it is denied");
    kvctl(&shop, &["can", "admin", "read", "a"])
        .await
        .fails(1, &["may not act as admin:policy"]);
    done(&admin, &["can", "admin", "admin:members"]).await;
    kvctl(&admin, &["can", "shop", "reed", "a"])
        .await
        .fails(2, &["no capability"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_away_is_gone_on_every_node_and_on_what_is_open() {
    let mut cluster = Cluster::of(3).await.unwrap();
    let admin = cluster.context_file();
    done(&admin, &["put", "shop/a", "1"]).await;
    done(&admin, &["role", "set", "shop", "--allow", "read:shop/"]).await;
    let shop = issue(&cluster, "shop", &["shop"]).await;
    let service = client(&shop).await;
    let range = || holdfast_client::KeyRange::prefix("shop/");
    let mut watch = service.watch(range(), WatchOptions::default());
    watch.established().await.unwrap();
    let mirror = service.mirror("shop/").await.unwrap();
    assert!(mirror.get("shop/a").is_some());
    done(&admin, &["put", "shop/b", "1"]).await;
    let seen = watch.next().await.unwrap();
    assert!(matches!(seen, WatchItem::Events { .. }), "{seen:?}");
    done(&admin, &["grant", "remove", "shop", "shop"]).await;
    done(&admin, &["put", "shop/c", "1"]).await;
    let ended = loop {
        match watch.next().await {
            Ok(WatchItem::Events { events, .. }) => {
                panic!("it was told of {events:?}");
            }
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, WatchError::Denied { .. }), "{ended:?}");
    wait::until(
        "the mirror to say why it stays",
        Duration::from_secs(30),
        || async {
            mirror
                .problem()
                .filter(|problem| problem.contains("may not read"))
        },
    )
    .await
    .unwrap();
    assert!(mirror.get("shop/c").is_none());
    for node in 0..cluster.len() {
        let through = Context::load(&shop).unwrap();
        let through = Context {
            endpoints: vec![cluster.address(node).to_owned()],
            ..through
        };
        let service = Client::connect(&through).await.unwrap();
        let error = service.get("shop/a").await.unwrap_err();
        assert!(
            matches!(error, ReadError::Denied { .. }),
            "node {node}: {error:?}"
        );
    }
    // It is in the log, and in what a node begins with again.
    done(&admin, &["identity", "revoke", "shop", "--yes"]).await;
    cluster.kill_all();
    for node in 0..cluster.len() {
        cluster.run(node).unwrap();
    }
    wait::until(
        "the cluster to come back",
        Duration::from_secs(60),
        || async {
            let status = kvctl(&admin, &["get", "shop/a"]).await;
            (status.code == Some(0)).then_some(())
        },
    )
    .await
    .unwrap();
    kvctl(&shop, &["status"]).await.fails(1, &["was revoked"]);
}

/// A node that is cut off knows the policy of then. It may not answer by it that something is denied:
/// meanwhile it may have been granted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_know_the_newest_policy_refuses_nobody() {
    let options = ClusterOptions {
        nodes: 3,
        network: Network::Fabric,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(options).await.unwrap();
    let admin = cluster.context_file();
    done(&admin, &["put", "shop/a", "1"]).await;
    let shop = issue(&cluster, "shop", &[]).await;
    let status = asked(&admin, &["member", "list"]).await;
    let leader = status["leader"].as_u64().unwrap() as usize - 1;
    let cut_off = (leader + 1) % 3;
    let others: Vec<usize> = (0..3).filter(|node| *node != cut_off).collect();
    let through = Context {
        endpoints: vec![cluster.address(cut_off).to_owned()],
        ..Context::load(&shop).unwrap()
    };
    let service = Client::connect(&through).await.unwrap();
    let denied = service.get("shop/a").await.unwrap_err();
    assert!(matches!(denied, ReadError::Denied { .. }), "{denied:?}");
    cluster.fabric().part(cut_off, others.iter().copied());
    let admin = cluster.context_file_through(leader).unwrap();
    done(&admin, &["grant", "add", "shop", "reader"]).await;
    // A client finds other nodes by itself; this one shall have no choice.
    for other in others {
        let link = Link {
            cut: true,
            ..Link::default()
        };
        let fabric = cluster.fabric();
        fabric.set(End::Outside, End::Node(other), link);
    }
    let local = ReadOptions {
        consistency: Consistency::Local,
        ..ReadOptions::default()
    };
    for options in [ReadOptions::default(), local] {
        let short = service.with_timeout(Duration::from_secs(3));
        let error = short.get_with("shop/a", options).await.unwrap_err();
        let unreachable = matches!(error, ReadError::Unreachable { .. });
        assert!(unreachable, "it is refused by an old policy: {error:?}");
    }
    cluster.fabric().heal();
    wait::until("the node to be back", Duration::from_secs(60), || async {
        service.get("shop/a").await.ok()
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_reveals_nothing_and_the_last_one_stays() {
    let cluster = Cluster::of(1).await.unwrap();
    let admin = cluster.context_file();
    escrow::prove(&admin, &cluster.folder().join("shares"))
        .await
        .unwrap();
    done(&admin, &["grant", "remove", "admin", "revealer"]).await;
    let put = ["secret", "put", "shop/key", "-"];
    kvctl_with_input(&admin, &put, b"hunter2").await.success();
    kvctl(&admin, &["secret", "get", "shop/key"])
        .await
        .fails(1, &["may not reveal"]);
    done(
        &admin,
        &["role", "set", "opener", "--allow", "reveal+reason:shop/"],
    )
    .await;
    let shop = issue(&cluster, "shop", &["opener"]).await;
    kvctl(&shop, &["secret", "get", "shop/key"])
        .await
        .fails(1, &["--reason"]);
    let get = ["secret", "get", "shop/key", "--reason", "ticket 7"];
    assert_eq!(done(&shop, &get).await, "hunter2");
    kvctl(&shop, &["get", "shop/key"])
        .await
        .fails(1, &["may not list or read"]);

    let last = "nothing was changed";
    let revoke = ["identity", "revoke", "admin", "--yes"];
    kvctl(&admin, &revoke).await.fails(1, &[last]);
    kvctl(&admin, &["grant", "remove", "admin", "admin"])
        .await
        .fails(1, &[last]);
    // One without a certificate would be no help.
    done(&admin, &["grant", "add", "ghost", "admin"]).await;
    kvctl(&admin, &revoke).await.fails(1, &[last]);
    let second = issue(&cluster, "second", &["admin"]).await;
    done(&second, &revoke).await;
    kvctl(&admin, &["role", "list"])
        .await
        .fails(1, &["was revoked"]);
    done(&second, &["role", "list"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_with_the_same_certificate_has_the_same_rights() {
    let version = Command::new("etcdctl").arg("version").output().await;
    if !version.is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no etcdctl (Debian: apt-get install etcd-client)");
        return;
    }
    let options = ClusterOptions {
        nodes: 1,
        etcd: true,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(options).await.unwrap();
    let admin = cluster.context_file();
    done(&admin, &["put", "shop/a", "1"]).await;
    done(&admin, &["put", "bank/a", "1"]).await;
    done(
        &admin,
        &["role", "set", "shop", "--allow", "read,write:shop/"],
    )
    .await;
    issue(&cluster, "shop", &["shop"]).await;
    let folder = cluster.folder().join("shop");
    let endpoints = cluster.etcd().unwrap().urls.join(",");
    let etcd = |arguments: &[&str]| {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .args(["--dial-timeout", "20s", "--command-timeout", "20s"])
            .arg("--endpoints")
            .arg(&endpoints)
            .arg("--cacert")
            .arg(folder.join("ca.crt"))
            .arg("--cert")
            .arg(folder.join("shop.crt"))
            .arg("--key")
            .arg(folder.join("shop.key"))
            .args(arguments);
        command
    };
    let got = run(&mut etcd(&["get", "shop/a", "--print-value-only"]))
        .await
        .success();
    assert_eq!(got.trim(), "1");
    run(&mut etcd(&["put", "shop/b", "2"])).await.success();
    for denied in [
        &["get", "bank/a"][..],
        &["put", "bank/a", "2"],
        &["get", "", "--prefix"],
    ] {
        run(&mut etcd(denied))
            .await
            .fails(1, &["permission denied"]);
    }
}
