//! `kvctl` as a user runs it: every command, against a real cluster, with its output as people,
//! programs and pipes get it.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use holdfast_tests::harness::{
    Cluster, ClusterOptions, Process, binaries,
    program::{kvctl, kvctl_with_input},
    wait,
};
use serde_json::{Value, json};

async fn one_node() -> Cluster {
    let options = ClusterOptions {
        nodes: 1,
        ..ClusterOptions::default()
    };
    Cluster::start_with(options).await.unwrap()
}

/// `kvctl -o json …`, which must succeed.
async fn asked(context: &Path, arguments: &[&str]) -> Value {
    kvctl(context, &[&["-o", "json"], arguments].concat())
        .await
        .json()
}

/// `kvctl -o raw get KEY`.
async fn raw(context: &Path, key: &str) -> String {
    kvctl(context, &["-o", "raw", "get", key]).await.success()
}

/// What lies under a prefix: relative key, type and value.
async fn under(context: &Path, prefix: &str) -> BTreeMap<String, (String, Value)> {
    let listed = asked(context, &["list", prefix]).await;
    let entries = listed["entries"].as_array().unwrap().iter().map(|entry| {
        let key = entry["key"]
            .as_str()
            .unwrap()
            .strip_prefix(prefix)
            .unwrap()
            .to_owned();
        (
            key,
            (
                entry["type"].as_str().unwrap().to_owned(),
                entry["value"].clone(),
            ),
        )
    });
    entries.collect()
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data")
        .join(name)
}

fn registry_export() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/data/AccessManager.reg")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_put_read_listed_and_deleted() {
    let cluster = one_node().await;
    let context = cluster.context_file();

    let put = asked(&context, &["put", "svc/name", "billing", "--note", "first"]).await;
    let first = put["revision"].as_u64().unwrap();
    assert_eq!(put["key"], "svc/name");
    let got = asked(&context, &["get", "svc/name"]).await;
    assert_eq!(got["value"], "billing");
    assert_eq!(got["type"], "text");
    assert_eq!(got["revision"], first);
    assert_eq!(got["author"], "client/admin");
    assert_eq!(got["note"], "first");
    assert!(got["at"].as_str().unwrap().ends_with('Z'));

    for (kind, given, value) in [
        ("integer", "-5", json!(-5)),
        ("float", "0.75", json!(0.75)),
        ("boolean", "true", json!(true)),
        ("json", r#"{"a":[1]}"#, json!(r#"{"a":[1]}"#)),
        ("bytes", "AAEC", json!("AAEC")),
        ("list", r#"["a","b"]"#, json!(["a", "b"])),
    ] {
        let key = format!("typed/{kind}");
        kvctl(&context, &["put", &key, given, "--type", kind])
            .await
            .success();
        let got = asked(&context, &["get", &key]).await;
        assert_eq!((&got["type"], &got["value"]), (&json!(kind), &value));
    }

    let file = cluster.folder().join("file");
    fs::write(&file, "from a file\n").unwrap();
    kvctl(&context, &["put", "svc/file", "--file", text(&file)])
        .await
        .success();
    assert_eq!(raw(&context, "svc/file").await, "from a file\n");
    kvctl_with_input(&context, &["put", "svc/input", "-"], b"from a pipe")
        .await
        .success();
    assert_eq!(raw(&context, "svc/input").await, "from a pipe");

    let listed = asked(&context, &["list", "svc/"]).await;
    assert_eq!(listed["count"], 3);
    let limited = asked(&context, &["list", "--limit", "2"]).await;
    assert_eq!(
        (
            limited["entries"].as_array().unwrap().len(),
            &limited["more"]
        ),
        (2, &json!(true))
    );
    let names = kvctl(&context, &["-o", "raw", "list", "svc/", "--keys"])
        .await
        .success();
    assert_eq!(names, "svc/file\nsvc/input\nsvc/name\n");
    let table = kvctl(&context, &["list", "svc/"]).await.success();
    assert!(
        table.contains("svc/name") && table.contains("billing"),
        "{table}"
    );
    assert!(!table.contains('\x1b'), "colours only on a terminal");

    // Only if it is as it was seen, or absent.
    let seen = first.to_string();
    kvctl(&context, &["put", "svc/name", "x", "--if-revision", &seen])
        .await
        .success();
    kvctl(&context, &["put", "svc/name", "y", "--if-revision", &seen])
        .await
        .fails(1, &["nothing"]);
    kvctl(&context, &["put", "svc/new", "z", "--if-revision", "0"])
        .await
        .success();

    kvctl(&context, &["delete", "svc/new", "--if-revision", "1"])
        .await
        .fails(1, &["not at revision 1", "nothing was written"]);
    assert_eq!(asked(&context, &["delete", "svc/new"]).await["deleted"], 1);
    assert_eq!(asked(&context, &["delete", "svc/new"]).await["deleted"], 0);
    assert_eq!(
        asked(&context, &["delete", "--prefix", "typed/"]).await["deleted"],
        6
    );
    assert_eq!(asked(&context, &["list", "typed/"]).await["count"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_shown_compared_and_brought_back() {
    let cluster = one_node().await;
    let context = cluster.context_file();
    let mut revisions = Vec::new();
    for value in ["one", "two", "three"] {
        let put = asked(&context, &["put", "k", value, "--note", value]).await;
        revisions.push(put["revision"].as_u64().unwrap().to_string());
    }
    let history = asked(&context, &["history", "k"]).await;
    let versions = history["versions"].as_array().unwrap();
    let notes: Vec<_> = versions
        .iter()
        .map(|version| version["note"].as_str().unwrap())
        .collect();
    assert_eq!(notes, ["three", "two", "one"]);

    let old = kvctl(
        &context,
        &["-o", "raw", "get", "k", "--revision", &revisions[0]],
    )
    .await;
    assert_eq!(old.success(), "one");
    let diff = asked(&context, &["diff", "k", &revisions[0], &revisions[2]]).await;
    let difference = &diff["differences"][0];
    assert_eq!(difference["before"]["value"], "one");
    assert_eq!(difference["after"]["value"], "three");
    let shown = kvctl(&context, &["diff", "k"]).await.success();
    assert!(
        shown.contains("- two") && shown.contains("+ three"),
        "{shown}"
    );

    let back = asked(&context, &["rollback", "k", "--to", &revisions[0]]).await;
    assert_eq!(back["changed"], 1);
    assert_eq!(raw(&context, "k").await, "one");
    let again = asked(&context, &["rollback", "k", "--to", &revisions[0]]).await;
    assert_eq!(again["changed"], 0);
    kvctl(&context, &["rollback", "slip", "--to", "1"])
        .await
        .fails(1, &["slip", "nothing was changed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_from_a_file_is_all_or_nothing() {
    let cluster = one_node().await;
    let context = cluster.context_file();
    let help = kvctl(&context, &["txn", "--help"]).await.success();
    let file = cluster.folder().join("txn.json");
    let transaction = json!({
        "if": [{ "key": "lock", "exists": false }],
        "then": [{ "put": "lock", "value": "me" }, { "put": "count", "value": 1 }],
        "else": [{ "get": "lock" }],
    });
    fs::write(&file, transaction.to_string()).unwrap();
    let first = kvctl(&context, &["-o", "json", "txn", text(&file)]).await;
    let first: Value = serde_json::from_str(&first.success())
        .unwrap_or_else(|error| panic!("{error}; the shape is documented as: {help}"));
    assert_eq!(first["succeeded"], true);
    assert_eq!(raw(&context, "lock").await, "me");
    let second = asked(&context, &["txn", text(&file)]).await;
    assert_eq!(second["succeeded"], false);
    assert_eq!(raw(&context, "count").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_export_comes_in_typed_and_goes_out_as_it_came() {
    let cluster = one_node().await;
    let context = cluster.context_file();
    let file = registry_export();
    let import = ["import", text(&file), "--prefix", "am"];

    let plan = asked(&context, &[&import[..], &["--dry-run"]].concat()).await;
    assert_eq!(plan["dry_run"], true);
    assert_eq!(
        asked(&context, &["list", "am/"]).await["count"],
        0,
        "a dry run writes nothing"
    );
    let done = asked(&context, &import).await;
    assert_eq!(done["added"], plan["added"]);
    let revision = done["revision"].as_u64().unwrap();

    let expected: BTreeMap<String, Value> =
        serde_json::from_slice(&fs::read(data("AccessManager.parameters.json")).unwrap()).unwrap();
    let found = under(&context, "am/").await;
    assert_eq!(found.len(), expected.len() - 1, "{found:?}");
    for (name, parameter) in expected.iter().filter(|(name, _)| *name != "_about") {
        let (kind, value) = &found[name];
        assert_eq!(parameter["type"], kind.as_str(), "{name}");
        match parameter.get("hex") {
            Some(hex) => {
                let bytes = kvctl(&context, &["-o", "json", "get", &format!("am/{name}")]).await;
                let base64 = bytes.json::<Value>()["value"].as_str().unwrap().to_owned();
                assert_eq!(
                    hex::encode(BASE64_STANDARD.decode(&base64).unwrap()),
                    hex.as_str().unwrap(),
                    "{name}"
                );
            }
            None => assert_eq!(&parameter["value"], value, "{name}"),
        }
    }
    let listed = asked(&context, &["list", "am/"]).await;
    let one = listed["entries"]
        .as_array()
        .unwrap()
        .iter()
        .all(|entry| entry["revision"] == revision);
    assert!(one, "one transaction, one revision: {listed}");

    let again = asked(&context, &import).await;
    assert_eq!((&again["added"], &again["changed"]), (&json!(0), &json!(0)));
    kvctl(
        &context,
        &["put", "am/LogRetentionDays", "31", "--type", "integer"],
    )
    .await
    .success();
    let diff = kvctl(&context, &[&import[..], &["--dry-run"]].concat())
        .await
        .success();
    assert!(diff.contains("- 31") && diff.contains("+ 30"), "{diff}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_imported_is_exported_and_imports_as_the_same() {
    let cluster = one_node().await;
    let context = cluster.context_file();
    let yaml = data("services.yaml");
    kvctl(&context, &["import", text(&yaml), "--prefix", "services"])
        .await
        .success();
    let reg = registry_export();
    kvctl(&context, &["import", text(&reg), "--prefix", "registry"])
        .await
        .success();
    assert_eq!(raw(&context, "services/mail/smtp_port").await, "587");
    let attempts = asked(&context, &["get", "services/billing/retry/attempts"]).await;
    assert_eq!(
        (&attempts["type"], &attempts["value"]),
        (&json!("integer"), &json!(4))
    );

    for prefix in ["services", "registry"] {
        let original = under(&context, &format!("{prefix}/")).await;
        for format in ["json", "yaml", "toml"] {
            let exported = cluster.folder().join(format!("{prefix}.{format}"));
            let out = kvctl(&context, &["export", prefix, "--format", format])
                .await
                .success();
            fs::write(&exported, out).unwrap();
            let copy = format!("copy/{format}/{prefix}");
            kvctl(&context, &["import", text(&exported), "--prefix", &copy])
                .await
                .success();
            assert_eq!(
                under(&context, &format!("{copy}/")).await,
                original,
                "{format}"
            );
        }
    }

    let env = cluster.folder().join("plain.env");
    fs::write(
        &env,
        "HOST=example.org\nPORT=8080\nGREETING=\"hello, world\"\n",
    )
    .unwrap();
    kvctl(&context, &["import", text(&env), "--prefix", "plain"])
        .await
        .success();
    let out = kvctl(&context, &["export", "plain", "--format", "env"])
        .await
        .success();
    fs::write(&env, out).unwrap();
    let again = asked(&context, &["import", text(&env), "--prefix", "plain"]).await;
    assert_eq!((&again["added"], &again["changed"]), (&json!(0), &json!(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_import_is_one_transaction_for_512_keys() {
    let cluster = one_node().await;
    let context = cluster.context_file();
    let many: BTreeMap<String, u32> = (0..1_200)
        .map(|number| (format!("k{number:04}"), number))
        .collect();
    let file = cluster.folder().join("many.json");
    fs::write(&file, serde_json::to_vec(&many).unwrap()).unwrap();
    let before = asked(&context, &["list", "--limit", "1"]).await["revision"]
        .as_u64()
        .unwrap();
    assert_eq!(
        asked(&context, &["import", text(&file), "--prefix", "m"]).await["added"],
        1_200
    );
    let after = asked(&context, &["list", "m/"]).await;
    assert_eq!(after["count"], 1_200);
    assert_eq!(after["revision"].as_u64().unwrap() - before, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_prints_each_change_as_a_line_of_json() {
    let cluster = one_node().await;
    let context = cluster.context_file();
    let first = asked(&context, &["put", "w/a", "1"]).await["revision"]
        .as_u64()
        .unwrap();
    let mut command = Command::new(binaries::kvctl());
    command.args(["-o", "json", "watch", "w/", "--from", &first.to_string()]);
    command.env("HOLDFAST_CONTEXT", &context);
    let log = cluster.folder().join("watch.log");
    let mut watch = Process::spawn_piped(&mut command, &log).unwrap();
    let mut lines = BufReader::new(watch.stdout().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };

    let event = next();
    assert!(event.to_string().contains("w/a"), "{event}");
    kvctl(&context, &["put", "w/b", "2"]).await.success();
    let event = next();
    assert!(event.to_string().contains("w/b"), "{event}");
    kvctl(&context, &["delete", "w/a"]).await.success();
    let event = next();
    assert!(
        event.to_string().contains("w/a") && event.to_string().contains("delete"),
        "{event}"
    );
    watch.signal(rustix::process::Signal::INT);
    watch.wait(Duration::from_secs(10)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_held_while_its_command_runs() {
    let cluster = one_node().await;
    let context = cluster.context_file();
    let went = cluster.folder().join("went");
    let script = format!("echo ran > {}; exit 7", went.display());
    let ran = kvctl(
        &context,
        &["lock", "jobs/nightly", "--", "sh", "-c", &script],
    )
    .await;
    assert_eq!(ran.code, Some(7), "the command's own exit code: {ran:?}");
    assert_eq!(fs::read_to_string(&went).unwrap(), "ran\n");

    // While one holds it, its key is there; a second waits for the first.
    let held = cluster.folder().join("held");
    let go = cluster.folder().join("go");
    let script = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.05; done",
        held.display(),
        go.display()
    );
    let mut command = Command::new(binaries::kvctl());
    command.args(["lock", "jobs/nightly", "--", "sh", "-c", &script]);
    command.env("HOLDFAST_CONTEXT", &context);
    let log = cluster.folder().join("lock.log");
    let mut first = Process::spawn(&mut command, &log).unwrap();
    let limit = Duration::from_secs(20);
    wait::until_true("the lock", limit, || held.exists())
        .await
        .unwrap();
    let contenders = asked(&context, &["list", "jobs/nightly/"]).await;
    assert_eq!(contenders["count"], 1);
    fs::write(&go, "").unwrap();
    assert!(first.wait(limit).unwrap().success());
    kvctl(&context, &["lock", "jobs/nightly", "--", "true"])
        .await
        .success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_listed_let_in_promoted_led_and_removed() {
    let cluster = Cluster::start().await.unwrap();
    let context = cluster.context_file();
    let members = asked(&context, &["member", "list"]).await;
    assert_eq!(members["members"].as_array().unwrap().len(), 3, "{members}");
    let status = asked(&context, &["status"]).await;
    assert_eq!(status["members"].as_array().unwrap().len(), 3, "{status}");
    let table = kvctl(&context, &["status"]).await.success();
    for word in ["n1", "n2", "n3", "leader", "revision"] {
        assert!(
            table.to_lowercase().contains(word),
            "no {word:?} in {table}"
        );
    }

    kvctl(&context, &["member", "transfer-leader", "n2"])
        .await
        .success();
    let led = || async {
        let status = asked(&context, &["status"]).await;
        let leader = status["members"]
            .as_array()?
            .iter()
            .find(|one| one["leader"] == true)?;
        (leader["name"] == "n2").then_some(())
    };
    wait::until("n2 to lead", Duration::from_secs(20), led)
        .await
        .unwrap();

    let token = asked(
        &context,
        &["member", "token", "--name", "n4", "--role", "learner"],
    )
    .await;
    assert!(
        token["token"].as_str().unwrap().starts_with("hf1-"),
        "{token}"
    );
    kvctl(&context, &["member", "remove", "n3"]).await.success();
    let members = asked(&context, &["member", "list"]).await;
    assert_eq!(members["members"].as_array().unwrap().len(), 2, "{members}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shells_get_their_completion_without_a_cluster() {
    let nowhere = Path::new("/nonexistent/context.toml");
    for shell in ["bash", "zsh", "fish"] {
        let script = kvctl(nowhere, &["completion", shell]).await.success();
        assert!(
            script.contains("kvctl") && script.contains("rollback"),
            "{shell}"
        );
    }
}
