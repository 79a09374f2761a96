//! All nodes are lost: a backup and enough shares, or the key of one node, bring everything back.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use holdfast_client::{
    Client, Expected, KeyRange, Lease, LockOptions, PutOptions, Revision, WatchItem, WatchOptions,
    WriteError,
};
use holdfast_seal::{OsRandom, RecoveryKey, Split};
use holdfast_tests::harness::{
    Cluster, ClusterOptions, Process, binaries,
    cluster::succeed,
    program::{Ran, kvctl, kvd, run},
    wait,
};

use super::{PATIENCE, asked, gathered, proven, put_secret, text};

const SECRET: &str = "correct horse battery staple";

/// What a service of the old cluster remembers.
struct Remembered {
    /// Of `app/mode`, in the backup.
    kept: Revision,
    /// Of `app/mode`, written after the backup.
    lost: Revision,
    /// Of the older version of the secret.
    older_secret: String,
    /// Of the lock that it held.
    token: Revision,
}

/// What is there before everything is lost, outside of the nodes' folders.
struct Kept {
    backup: PathBuf,
    authority: PathBuf,
    context: PathBuf,
    /// A node's folder, as it was when it died.
    old_node: PathBuf,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blank_hosts_get_everything_back_from_a_backup_and_enough_shares() {
    let mut cluster = Cluster::start().await.unwrap();
    let shares = proven(&cluster).await;
    let (remembered, backup) = live(&cluster).await;
    let kept = keep(&mut cluster, backup);
    cluster.lose_everything().unwrap();
    refuses_what_it_must(&cluster, &kept, &shares).await;

    let enough = cluster.folder().join("enough.txt");
    gathered(&[&shares[2], &shares[0]], &enough);
    let arguments = ["--from", text(&kept.backup), "--shares-file", text(&enough)];
    let arguments = [&arguments[..], &["--authority", text(&kept.authority)]].concat();
    let said = cluster.restore(&arguments).await.unwrap();
    assert!(said.contains("was restored as a new cluster"), "{said}");
    assert!(!said.contains("was not checked"), "{said}");

    for _ in 0..2 {
        cluster.grow().await.unwrap();
    }
    cluster.wait_until_whole().await.unwrap();
    everything_is_there_on_each_node(&cluster, &remembered).await;
    let client = cluster.client().await.unwrap();
    what_was_remembered_is_not_taken_for_new(&client, &remembered).await;
    what_nobody_holds_any_more_runs_out(&client, &remembered).await;
    nobody_of_the_old_cluster_is_let_in(&cluster, &client, &kept).await;
    it_is_backed_up_like_any_other(&cluster).await;
}

/// Plain values with history, secrets under two epochs, a lease and a lock; then a backup; then more.
async fn live(cluster: &Cluster) -> (Remembered, PathBuf) {
    let (context, client) = (cluster.context_file(), cluster.client().await.unwrap());
    for value in ["first", "second"] {
        client.put("app/mode", value).await.unwrap();
    }
    put_secret(&context, "app/password", "an older one").await;
    let older = asked(&context, &["secret", "list"]).await["entries"][0]["revision"].to_string();
    let rotate = ["keyring", "rotate", "--reason", "a drill", "--wait"];
    kvctl(&context, &rotate).await.success();
    put_secret(&context, "app/password", SECRET).await;
    let lease: Lease = client.grant_lease(LEASE).await.unwrap();
    let under = PutOptions {
        lease: Some(lease.id()),
        ..PutOptions::default()
    };
    client.put_with("app/alive", "yes", under).await.unwrap();
    let options = LockOptions {
        ttl: LEASE,
        wait: Some(PATIENCE),
    };
    let held = client.lock("app/job", options).await.unwrap();

    let out = cluster.folder().join("taken.backup");
    let create = ["backup", "create", "--node", "n2", "--out", text(&out)];
    let made = asked(&context, &create).await;
    assert_eq!(
        (&made["node"], &made["sealed"]),
        (&"n2".into(), &true.into())
    );
    let kept = client.get("app/mode").await.unwrap().unwrap();
    let lost = client.put("app/mode", "lost").await.unwrap();
    let remembered = Remembered {
        kept: kept.entry.modified,
        lost: lost.revision,
        older_secret: older,
        token: held.token(),
    };
    let bytes = fs::read(&out).unwrap();
    for plain in [SECRET.as_bytes(), b"second", b"app/mode"] {
        let found = bytes.windows(plain.len()).any(|window| window == plain);
        assert!(!found, "a backup shows what it holds");
    }
    (remembered, out)
}

fn keep(cluster: &mut Cluster, backup: PathBuf) -> Kept {
    let folder = cluster.folder();
    let kept = Kept {
        backup,
        authority: folder.join("old-ca.crt"),
        context: folder.join("old-context/admin.toml"),
        old_node: folder.join("old-n2"),
    };
    let copy = |from: &Path, to: &Path| {
        succeed(Command::new("cp").arg("-a").arg(from).arg(to)).unwrap();
    };
    copy(&cluster.dir(0).join("tls/ca.crt"), &kept.authority);
    let context = cluster.context_file();
    copy(context.parent().unwrap(), kept.context.parent().unwrap());
    cluster.kill_all();
    copy(cluster.dir(1), &kept.old_node);
    kept
}

/// Each refusal says what is wrong, and leaves nothing behind.
async fn refuses_what_it_must(cluster: &Cluster, kept: &Kept, shares: &[PathBuf]) {
    let folder = cluster.folder();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let (one, enough) = (folder.join("one.txt"), folder.join("enough.txt"));
    gathered(&[&shares[2]], &one);
    gathered(&[&shares[1], &shares[2]], &enough);
    let (_, others) = RecoveryKey::split_new(&mut OsRandom, Split::new(3, 2).unwrap());
    let others: Vec<String> = others
        .iter()
        .map(|share| String::from_utf8(share.to_text().expose().to_vec()).unwrap())
        .collect();
    let others = file("others.txt", others.join("\n").as_bytes());
    let mixed = [fs::read(&one).unwrap(), fs::read(&others).unwrap()].concat();
    let mixed = file("mixed.txt", &mixed);
    let typo = fs::read_to_string(&one).unwrap();
    let last = typo.trim_end().len() - 1;
    let wrong = if typo.as_bytes()[last] == b'A' {
        "B"
    } else {
        "A"
    };
    let typo = file("typo.txt", [&typo[..last], wrong].concat().as_bytes());
    let backup = fs::read(&kept.backup).unwrap();
    let mut changed = backup.clone();
    changed[backup.len() / 2] ^= 1;
    let changed = file("changed.backup", &changed);
    let cut = file("cut.backup", &backup[..backup.len() - 100]);
    let nothing = file("nothing.backup", b"shopping list");
    let stranger = folder.join("stranger");
    kvd(&["init", "--dir", text(&stranger)]).await.success();
    let stranger = stranger.join("tls/ca.crt");

    let dir = folder.join("refused");
    let restore = async |from: &Path, shares: &Path, authority: &Path| -> Ran {
        let arguments = ["restore", "--from", text(from), "--dir", text(&dir)];
        let more = [
            "--shares-file",
            text(shares),
            "--authority",
            text(authority),
        ];
        kvd(&[&arguments[..], &more].concat()).await
    };
    let (good, own) = (&kept.backup, &kept.authority);
    let too_few = restore(good, &one, own).await;
    too_few.fails(1, &["2 are needed", "1 more", "nothing was restored"]);
    restore(good, &others, own)
        .await
        .fails(1, &["was not sealed for this key", "recovery key"]);
    restore(good, &mixed, own).await.fails(1, &["set"]);
    restore(good, &typo, own).await.fails(1, &["share 1"]);
    let damaged = restore(&changed, &enough, own).await;
    damaged.fails(1, &["signature", "something was changed after it was made"]);
    restore(&cut, &enough, own).await.fails(1, &["was cut off"]);
    restore(&nothing, &enough, own)
        .await
        .fails(1, &["no backup of Holdfast"]);
    restore(good, &enough, &stranger)
        .await
        .fails(1, &["another cluster's"]);
    assert!(!dir.exists(), "something was made of what was refused");
    let without = ["restore", "--from", text(good), "--dir", text(&dir)];
    kvd(&without).await.fails(1, &["is sealed", "shares"]);
    assert!(!dir.exists(), "something was made without a key");
    // A folder that holds a node is never restored over.
    let over = ["restore", "--from", text(good), "--dir"];
    let over = [&over[..], &[text(&kept.old_node)]].concat();
    let over = [&over[..], &["--shares-file", text(&enough)]].concat();
    kvd(&over).await.fails(1, &["n2"]);

    // The same file, without a cluster: whole, and a store opens with it.
    let verify = ["verify-backup", text(good), "--drill", "--shares-file"];
    let verify = [&verify[..], &[text(&enough), "--authority", text(own)]].concat();
    let said = kvd(&verify).await.success();
    assert!(said.contains("is whole"), "{said}");
    assert!(said.contains("Nothing is left of it"), "{said}");
}

async fn everything_is_there_on_each_node(cluster: &Cluster, remembered: &Remembered) {
    for node in cluster.running() {
        let context = cluster.context_file_through(node).unwrap();
        let opened = wait::until("the secrets to open", PATIENCE, || async {
            let get = ["-o", "raw", "secret", "get", "app/password"];
            let ran = kvctl(&context, &get).await;
            (ran.code == Some(0)).then_some(ran.stdout)
        });
        assert_eq!(opened.await.unwrap(), SECRET);
        let value = kvctl(&context, &["-o", "raw", "get", "app/mode"]).await;
        assert_eq!(value.success(), "second");
    }
    let context = cluster.context_file();
    let history = asked(&context, &["history", "app/mode"]).await;
    let versions = history["versions"].as_array().unwrap();
    let values: Vec<_> = versions.iter().map(|version| &version["value"]).collect();
    assert_eq!(values, ["second", "first"], "{history}");
    let older = ["-o", "raw", "secret", "get", "app/password"];
    let older = [&older[..], &["--revision", &remembered.older_secret]].concat();
    assert_eq!(kvctl(&context, &older).await.success(), "an older one");
    let members = asked(&context, &["member", "list"]).await;
    let members = members["members"].as_array().unwrap().iter();
    let ids: Vec<_> = members.map(|one| one["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [4, 5, 6], "an id of the old cluster came back");
    let keyring = asked(&context, &["keyring", "status"]).await;
    assert_eq!(keyring["accepts_secrets"], true, "{keyring}");
    put_secret(&context, "app/another", "a new one").await;
}

/// Revisions go on above all that were ever given out, and who comes with an old one is told.
async fn what_was_remembered_is_not_taken_for_new(client: &Client, remembered: &Remembered) {
    let now = client.put("app/other", "x").await.unwrap().revision;
    assert!(now > remembered.lost, "{now} was given out before");
    let put = async |expected: Revision| {
        let options = PutOptions {
            expected: Some(Expected::At(expected)),
            ..PutOptions::default()
        };
        client.put_with("app/mode", "third", options).await
    };
    // Written after the backup: that version is gone, and nobody takes another for it.
    let refused = put(remembered.lost).await;
    assert!(
        matches!(refused, Err(WriteError::Conflict { .. })),
        "{refused:?}"
    );
    for from in [remembered.kept, remembered.lost] {
        let options = WatchOptions {
            from: Some(from),
            ..WatchOptions::default()
        };
        let mut watch = client.watch(KeyRange::prefix("app/"), options);
        let told = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
        let Ok(WatchItem::Reset { revision, entries }) = told else {
            panic!("a watch from {from} was not told to begin anew: {told:?}");
        };
        assert!(revision >= now.get() && !entries.is_empty());
    }
    // What is in the backup is as it was, and so is its revision.
    put(remembered.kept).await.unwrap();
}

/// Who held a lease or a lock is gone: both end after one more time to live.
async fn what_nobody_holds_any_more_runs_out(client: &Client, remembered: &Remembered) {
    let options = LockOptions {
        ttl: LEASE,
        wait: Some(PATIENCE),
    };
    let held = client.lock("app/job", options).await.unwrap();
    assert!(held.token() > remembered.token, "a token came back");
    held.release().await.unwrap();
    wait::until("the lease to run out", PATIENCE, || async {
        let found = client.get("app/alive").await.unwrap();
        found.is_none().then_some(())
    })
    .await
    .unwrap();
}

async fn nobody_of_the_old_cluster_is_let_in(cluster: &Cluster, client: &Client, kept: &Kept) {
    let old = kvctl(&kept.context, &["get", "app/mode"]).await;
    assert_eq!(old.stdout, "", "an old context was answered");
    old.fails(1, &["another cluster", "kvd restore"]);

    let log = cluster.folder().join("old-n2.log");
    let mut command = Command::new(binaries::kvd());
    command.arg("run").arg("--dir").arg(&kept.old_node);
    let mut node = Process::spawn(&mut command, &log).unwrap();
    let before = client.cluster().member_list().await.unwrap();
    wait::until("the old node to be told", PATIENCE, || async {
        let said = fs::read_to_string(&log).ok()?;
        said.contains("another cluster").then_some(())
    })
    .await
    .unwrap();
    assert!(node.exited().is_none(), "it is stopped by an operator");
    node.kill();
    assert_eq!(client.cluster().member_list().await.unwrap(), before);
    cluster.wait_until_whole().await.unwrap();
}

async fn it_is_backed_up_like_any_other(cluster: &Cluster) {
    let context = cluster.context_file();
    let made = asked(&context, &["backup", "create"]).await;
    let drilled = asked(
        &context,
        &["backup", "drill", made["name"].as_str().unwrap()],
    )
    .await;
    assert_eq!(drilled["state_hash"], made["state_hash"], "{drilled}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_one_surviving_node_is_enough_and_a_passphrase_keeps_the_new_one() {
    let options = ClusterOptions {
        nodes: 1,
        environment: vec![("HOLDFAST_PASSPHRASE", "sesame".to_owned())],
        ..ClusterOptions::default()
    };
    let mut cluster = Cluster::start_with(options).await.unwrap();
    proven(&cluster).await;
    let context = cluster.context_file();
    put_secret(&context, "app/password", SECRET).await;
    let backup = cluster.folder().join("taken.backup");
    asked(&context, &["backup", "create", "--out", text(&backup)]).await;
    cluster.kill_all();
    let survivor = cluster.folder().join("survivor");
    fs::rename(cluster.dir(0), &survivor).unwrap();
    // Nothing but its keys and what it says of itself.
    fs::remove_dir_all(survivor.join("data")).unwrap();

    let arguments = ["--from", text(&backup), "--node-dir", text(&survivor)];
    let arguments = [&arguments[..], &["--key-protector", "passphrase"]].concat();
    let dir = cluster.dir(0).to_owned();
    let locked = [&["restore", "--dir", text(&dir)], &arguments[..]].concat();
    kvd(&locked)
        .await
        .fails(1, &["passphrase", "none was given"]);
    assert!(!dir.exists(), "something was made without a passphrase");
    let said = cluster.restore(&arguments).await.unwrap();
    assert!(
        said.contains("Who made the backup was not checked"),
        "{said}"
    );
    let context = cluster.context_file();
    let opened = wait::until("the secrets to open", PATIENCE, || async {
        let get = ["-o", "raw", "secret", "get", "app/password"];
        let ran = kvctl(&context, &get).await;
        (ran.code == Some(0)).then_some(ran.stdout)
    });
    assert_eq!(opened.await.unwrap(), SECRET);
    let keyring = asked(&context, &["keyring", "status"]).await;
    let holder = &keyring["holders"][0];
    assert_eq!(holder["protector"], "passphrase", "{keyring}");
    cluster.stop(0).unwrap();
    let mut locked = tokio::process::Command::new(binaries::kvd());
    locked.args(["run", "--dir", text(&dir)]);
    run(&mut locked).await.fails(1, &["passphrase"]);
}

/// As short as it can be without running out on a busy machine.
const LEASE: Duration = Duration::from_secs(5);
