//! What users and machines get wrong: each case is told what happened and what to do, with the
//! exit code that scripts rely on, and nothing is changed.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{fs, path::Path, time::Duration};

use holdfast_client::{Client, Context, Role, WriteError, limits};
use holdfast_tests::harness::{
    Cluster, Process, binaries,
    cluster::succeed,
    ports,
    program::{Ran, kvctl, kvd},
    wait,
};

/// A cluster of one node: enough for what is refused.
fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a stopped node in the foreground: it must refuse to start.
async fn refuses_to_run(dir: &Path) -> Ran {
    kvd(&["run", "--dir", text(dir)]).await
}

async fn join(dir: &Path, name: &str, token: &str) -> Ran {
    let [port] = ports::free();
    let listen = format!("127.0.0.1:{port}");
    kvd(&[
        "join",
        "--dir",
        text(dir),
        "--name",
        name,
        "--listen",
        &listen,
        "--token",
        token,
    ])
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_usage_is_exit_code_2_with_what_would_be_right() {
    kvd(&["fly"]).await.fails(2, &["fly", "usage"]);
    kvd(&["init"]).await.fails(2, &["--dir"]);
    kvd(&[
        "join", "--dir", "d", "--name", "n2", "--listen", "h:1", "--token", "nonsense",
    ])
    .await
    .fails(2, &["token"]);
    let nowhere = Path::new("/nonexistent/context.toml");
    kvctl(nowhere, &["fly"]).await.fails(2, &["fly", "usage"]);
    kvctl(nowhere, &["put", "only-a-key"])
        .await
        .fails(2, &["value"]);
    kvctl(nowhere, &["get"]).await.fails(2, &["key"]);
    kvctl(nowhere, &["-o", "xml", "get", "k"])
        .await
        .fails(2, &["xml", "json"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_cannot_be_are_refused_in_words() {
    let cluster = Cluster::of(1).await.unwrap();
    let context = cluster.context_file();
    kvctl(&context, &["get", "no/such/key"])
        .await
        .fails(1, &["no/such/key"]);
    kvctl(&context, &["history", "no/such/key"])
        .await
        .fails(1, &["no/such/key"]);

    let big = cluster.folder().join("big");
    fs::write(&big, vec![b'x'; limits::VALUE_BYTES + 1]).unwrap();
    kvctl(&context, &["put", "big", "--file", text(&big)])
        .await
        .fails(1, &["1048576"]);
    let long = "k".repeat(limits::KEY_BYTES + 1);
    let code = kvctl(&context, &["put", &long, "v"]).await;
    assert!(matches!(code.code, Some(1 | 2)), "{code:?}");
    assert!(code.stderr.contains("1024"), "{code:?}");
    kvctl(&context, &["put", "n", "many", "--type", "integer"])
        .await
        .fails(2, &["integer"]);
    kvctl(&context, &["get", "k", "--revision", "999999"])
        .await
        .fails(1, &["revision"]);

    kvctl(&context, &["put", "k", "1"]).await.success();
    kvctl(&context, &["put", "k", "2"]).await.success();
    let stale = kvctl(&context, &["put", "k", "3", "--if-revision", "1"]).await;
    stale.fails(1, &["nothing was written"]);
    assert_eq!(
        kvctl(&context, &["-o", "raw", "get", "k"])
            .await
            .success()
            .trim_end(),
        "2"
    );

    let broken = cluster.folder().join("broken.json");
    fs::write(&broken, r#"{"a": 1, "b": "#).unwrap();
    kvctl(&context, &["import", text(&broken), "--prefix", "x"])
        .await
        .fails(1, &["broken.json"]);
    let strange = cluster.folder().join("strange.xyz");
    fs::write(&strange, "what is this").unwrap();
    let refused = kvctl(&context, &["import", text(&strange), "--prefix", "x"]).await;
    assert!(matches!(refused.code, Some(1 | 2)), "{refused:?}");
    let list: String = kvctl(&context, &["-o", "raw", "list", "x"]).await.stdout;
    assert_eq!(list.trim(), "", "a refused import leaves nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contexts_that_do_not_fit_are_told_apart() {
    let mut cluster = Cluster::of(1).await.unwrap();
    let context = cluster.context_file();
    let folder = context.parent().unwrap().to_path_buf();
    let original = fs::read_to_string(&context).unwrap();

    kvctl(&folder.join("none.toml"), &["get", "k"])
        .await
        .fails(2, &["none.toml"]);
    let other = folder.join("other.toml");

    fs::write(&other, original.replace("ca.crt", "gone.crt")).unwrap();
    kvctl(&other, &["get", "k"]).await.fails(2, &["gone.crt"]);

    fs::write(&other, "endpoints = [").unwrap();
    kvctl(&other, &["get", "k"]).await.fails(2, &["other.toml"]);

    // Another cluster's authority, and a cluster of another name.
    let foreign = cluster.folder().join("foreign");
    kvd(&["init", "--dir", text(&foreign), "--cluster", "foreign"])
        .await
        .success();
    let ca = folder.join("foreign.crt");
    fs::copy(foreign.join("context/ca.crt"), &ca).unwrap();
    fs::write(&other, original.replace("ca.crt", "foreign.crt")).unwrap();
    let refused = kvctl(&other, &["get", "k"]).await;
    assert!(matches!(refused.code, Some(1 | 4)), "{refused:?}");
    assert!(refused.stderr.contains("trust"), "{refused:?}");

    let foreign_context = foreign.join("context/admin.toml");
    let text_of = fs::read_to_string(&foreign_context).unwrap();
    fs::write(
        &foreign_context,
        text_of.replace("127.0.0.1:7101", cluster.address(0)),
    )
    .unwrap();
    let refused = kvctl(&foreign_context, &["get", "k"]).await;
    assert!(matches!(refused.code, Some(1 | 4)), "{refused:?}");
    assert!(refused.stderr.contains("trust"), "{refused:?}");

    // A context whose cluster is down: unreachable, told from refused.
    cluster.stop(0).unwrap();
    kvctl(&context, &["--timeout", "1s", "get", "k"])
        .await
        .fails(4, &["endpoints"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_work_once_in_time_and_for_the_named_node() {
    let cluster = Cluster::of(1).await.unwrap();
    let client = cluster.client().await.unwrap();
    let tokens = client.cluster();
    let dir = |name: &str| cluster.folder().join(name);

    let named = tokens
        .create_token(Role::Voter, Duration::ZERO, Some("n5"))
        .await
        .unwrap()
        .token;
    join(&dir("n4"), "n4", &named).await.fails(1, &["n5"]);

    let once = tokens
        .create_token(Role::Learner, Duration::ZERO, None)
        .await
        .unwrap()
        .token;
    join(&dir("n6"), "n6", &once).await.success();
    join(&dir("n7"), "n7", &once)
        .await
        .fails(1, &["token", "used"]);

    let late = tokens
        .create_token(Role::Voter, Duration::from_millis(1), None)
        .await
        .unwrap();
    let expired = || async {
        let now = client.cluster().status().await.ok()?.cluster_time;
        // The clock of the cluster moves with its commands.
        client.put("tick", "tock").await.ok()?;
        (now > late.expires_at).then_some(())
    };
    wait::until("the token to expire", Duration::from_secs(10), expired)
        .await
        .unwrap();
    join(&dir("n8"), "n8", &late.token)
        .await
        .fails(1, &["token", "ran out"]);

    let taken = tokens
        .create_token(Role::Voter, Duration::ZERO, None)
        .await
        .unwrap()
        .token;
    join(&dir("n9"), "n1", &taken).await.fails(1, &["n1"]);

    let foreign = token_of_another_cluster(&cluster).await;
    join(&dir("n10"), "n10", &foreign)
        .await
        .fails(1, &["token's cluster"]);
}

/// A token of another cluster whose only node says that it is reached where this one is.
async fn token_of_another_cluster(cluster: &Cluster) -> String {
    let [port] = ports::free();
    let listen = format!("127.0.0.1:{port}");
    let dir = cluster.folder().join("foreign");
    let address = cluster.address(0);
    kvd(&[
        "init",
        "--dir",
        text(&dir),
        "--listen",
        &listen,
        "--advertise",
        address,
    ])
    .await
    .success();
    let log = cluster.folder().join("foreign.log");
    let mut command = std::process::Command::new(binaries::kvd());
    let _node = Process::spawn(command.arg("run").arg("--dir").arg(&dir), &log).unwrap();
    let mut context = Context::load(dir.join("context/admin.toml")).unwrap();
    context.endpoints = vec![listen];
    let client = Client::connect(&context).await.unwrap();
    client
        .cluster()
        .create_token(Role::Voter, Duration::ZERO, None)
        .await
        .unwrap()
        .token
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_that_are_not_this_nodes_are_left_alone() {
    let mut cluster = Cluster::of(1).await.unwrap();
    let dir = cluster.dir(0).to_path_buf();
    refuses_to_run(&dir).await.fails(1, &["in use"]);
    kvd(&["init", "--dir", text(&dir)]).await.fails(1, &["n1"]);

    let photos = cluster.folder().join("photos");
    fs::create_dir(&photos).unwrap();
    fs::write(photos.join("holiday.jpg"), "cheese").unwrap();
    kvd(&["init", "--dir", text(&photos)])
        .await
        .fails(1, &["holiday.jpg"]);
    refuses_to_run(&photos).await.fails(1, &["photos"]);
    assert_eq!(fs::read_dir(&photos).unwrap().count(), 1);

    let empty = cluster.folder().join("empty");
    refuses_to_run(&empty).await.fails(1, &["kvd init"]);

    // Another node's data under this node's name.
    cluster.stop(0).unwrap();
    let other = cluster.folder().join("other");
    kvd(&[
        "init",
        "--dir",
        text(&other),
        "--name",
        "n9",
        "--listen",
        "127.0.0.1:1999",
    ])
    .await
    .success();
    let kept = cluster.folder().join("kept");
    fs::rename(other.join("data"), &kept).unwrap();
    succeed(
        std::process::Command::new("cp")
            .arg("-a")
            .arg(dir.join("data"))
            .arg(&other),
    )
    .unwrap();
    refuses_to_run(&other).await.fails(1, &["belongs to"]);

    // Its data gone: it must not vote again under its old id.
    fs::remove_dir_all(dir.join("data/log")).unwrap();
    refuses_to_run(&dir)
        .await
        .fails(1, &["n1", "member remove"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_named() {
    let cluster = Cluster::of(1).await.unwrap();
    let second = cluster.folder().join("second");
    let listen = cluster.address(0).to_owned();
    kvd(&["init", "--dir", text(&second), "--listen", &listen])
        .await
        .success();
    refuses_to_run(&second).await.fails(1, &[&listen]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_a_newer_format_and_half_files_are_named() {
    let mut cluster = Cluster::of(1).await.unwrap();
    let client = cluster.client().await.unwrap();
    client.put("k", "v").await.unwrap();
    cluster.stop(0).unwrap();
    let dir = cluster.dir(0).to_path_buf();

    let path = dir.join("node.toml");
    let settings = fs::read_to_string(&path).unwrap();
    fs::write(&path, settings.replace("format = 1", "format = 2")).unwrap();
    refuses_to_run(&dir).await.fails(1, &["format 2", "newer"]);
    fs::write(&path, &settings[..settings.len() / 2]).unwrap();
    refuses_to_run(&dir).await.fails(1, &["node.toml"]);
    fs::write(&path, settings.replace("listen =", "lisen =")).unwrap();
    refuses_to_run(&dir).await.fails(1, &["lisen"]);
    fs::write(&path, &settings).unwrap();

    let certificate = dir.join("tls/node.crt");
    let whole = fs::read(&certificate).unwrap();
    fs::write(&certificate, &whole[..whole.len() / 2]).unwrap();
    refuses_to_run(&dir).await.fails(1, &["tls"]);
    fs::write(&certificate, &whole).unwrap();

    // Mended, it runs and has its value.
    cluster.run(0).unwrap();
    let client = cluster.client().await.unwrap();
    assert!(client.get("k").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_is_refused_for_ever() {
    let mut cluster = Cluster::start().await.unwrap();
    let client = cluster.client().await.unwrap();
    cluster.stop(2).unwrap();
    let members = client.cluster().member_list().await.unwrap();
    let gone = members
        .members
        .iter()
        .find(|member| member.name == "n3")
        .unwrap()
        .id;
    client.cluster().remove(gone).await.unwrap();
    let again = client.cluster().remove(gone).await;
    assert!(matches!(
        again,
        Err(WriteError::Refused { .. } | WriteError::Invalid { .. }) | Ok(_)
    ));

    // It may start, and is told by the others that it is out; it never serves again.
    cluster.run(2).unwrap();
    let log = cluster.log(2);
    let told = || fs::read_to_string(&log).is_ok_and(|text| text.contains("removed"));
    wait::until_true("the node to be told", Duration::from_secs(60), told)
        .await
        .unwrap();
    for number in 0..20 {
        client.put("k", format!("{number}")).await.unwrap();
    }
}
