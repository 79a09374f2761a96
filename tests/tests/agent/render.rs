//! `kvagent render`: once, or only to look.

use std::{fs, os::unix::fs::PermissionsExt as _};

use holdfast_tests::{
    escrow,
    harness::{Agent, wait},
};

use crate::{LIMIT, one_node, put};

const SETTINGS: &str = r#"
[[set]]
name = "app"
folder = "app"
prefixes = ["app/"]
secrets = true
[[set.file]]
path = "app.conf"
template = "app.j2"
[[set.file]]
path = "plain.env"
format = "raw"
key = "app/name"
[set.check]
exec = ["@DIR@/check", "{folder}"]
[set.hook]
exec = ["sh", "-c", "echo x >> @DIR@/ran"]
"#;

const PASSWORD: &str = "hunter2-of-the-app";
const OTHER: &str = "correct-horse-battery";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_shows_what_would_change_but_no_secret() {
    let (cluster, client) = one_node().await;
    let context = cluster.context_file();
    escrow::prove(&context, &cluster.folder().join("shares"))
        .await
        .unwrap();
    let agent = Agent::new(&cluster, "agent", SETTINGS).unwrap();
    agent
        .write_script("check", "test -s \"$1/app.conf\"")
        .unwrap();
    let template = "user = {{ key('app/name') }}\npassword = {{ secret('app/password') }}\n\
                    hash = {{ secret('app/password') | sha256_hex }}\n\
                    basic = {{ ('u:' ~ secret('app/password')) | base64_encode }}\n";
    agent.write("app.j2", template).unwrap();
    put(&client, &[("app/name", "one")]).await;
    let secret = |text: &'static str| {
        let client = client.clone();
        async move {
            wait::until("a secret to be taken", LIMIT, || async {
                client
                    .secrets()
                    .put("app/password", text.to_owned())
                    .await
                    .ok()
            })
            .await
            .unwrap();
        }
    };
    secret(PASSWORD).await;

    let shown = agent.render(&["--once", "--dry-run"]).await.success();
    assert!(
        shown.contains("+user = one") && shown.contains("+password = [secret app/password]"),
        "{shown}"
    );
    assert!(
        !agent.join("app").exists() && !agent.join("state").exists(),
        "it touched something"
    );

    agent.render(&["--once"]).await.success();
    let conf = agent.read("app/current/app.conf");
    assert!(conf.contains(&format!("password = {PASSWORD}\n")), "{conf}");
    let mode = |name: &str| {
        let about = fs::metadata(agent.join("app/current").join(name)).unwrap();
        about.permissions().mode() & 0o777
    };
    assert_eq!((mode("app.conf"), mode("plain.env")), (0o600, 0o644));
    assert_eq!(agent.read("ran"), "x\n");
    assert_eq!(agent.render(&["--dry-run"]).await.success(), "");
    agent.render(&["--once"]).await.success();
    assert_eq!(agent.read("ran"), "x\n", "nothing changed");

    // Another secret and another value: the old ones are no more shown than the new ones.
    secret(OTHER).await;
    put(&client, &[("app/name", "two")]).await;
    let changed = agent.render(&["--dry-run"]).await.success();
    assert!(
        changed.contains("-user = one") && changed.contains("+user = two"),
        "{changed}"
    );
    put(&client, &[("app/name", "one")]).await;
    let only = agent.render(&["--dry-run"]).await.success();
    assert!(only.contains("app.conf: secrets in it change"), "{only}");
    // What somebody wrote by hand may hold one.
    fs::write(
        agent.join("app/current/app.conf"),
        format!("mine {PASSWORD}"),
    )
    .unwrap();
    let edited = agent.render(&["--dry-run"]).await.success();
    assert!(edited.contains("is not shown"), "{edited}");
    let record = agent.read("state/records/app.json");
    let file = |name: &str| {
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        let files = record["installed"]["files"].as_array().unwrap().clone();
        files.into_iter().find(|file| file["path"] == name).unwrap()
    };
    let (conf, plain) = (file("app.conf"), file("plain.env"));
    assert_ne!(
        conf["digest"], conf["told_digest"],
        "it could be guessed by"
    );
    assert_eq!(plain["digest"], plain["told_digest"]);
    let sums = [PASSWORD, OTHER].map(|text| {
        use base64::Engine as _;
        base64::prelude::BASE64_STANDARD.encode(format!("u:{text}"))
    });
    for said in [&shown, &changed, &only, &edited, &record] {
        for leaked in [PASSWORD, OTHER, &sums[0], &sums[1]] {
            assert!(!said.contains(leaked), "{leaked} in {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_it_ends_tells_what_happened() {
    let (mut cluster, client) = one_node().await;
    let settings = SETTINGS.replace("secrets = true\n", "");
    let agent = Agent::new(&cluster, "agent", &settings).unwrap();
    agent.write("app.j2", "{{ key('app/name') }}").unwrap();
    agent.write_script("check", "exit 5").unwrap();
    agent
        .render(&["--once"])
        .await
        .fails(1, &["there is no key under app/"]);
    put(&client, &[("app/name", "one")]).await;
    agent
        .render(&["--once"])
        .await
        .fails(1, &["app", "check refused it", "exit status 5"]);
    assert!(!agent.join("app/current").exists(), "the check said no");
    agent.write_script("check", "exit 0").unwrap();
    agent
        .render(&["--once", "--set", "none"])
        .await
        .fails(2, &["there is no set \"none\""]);
    agent.render(&["--once", "--set", "app"]).await.success();
    assert_eq!(agent.read("app/current/app.conf"), "one");
    agent.write("app.j2", "{{ secret('app/name') }}").unwrap();
    agent.render(&["--once"]).await.fails(1, &["is no secret"]);
    agent.write("app.j2", "{{").unwrap();
    agent
        .render(&["--once"])
        .await
        .fails(1, &["app.conf", "line 1"]);
    assert_eq!(agent.read("app/current/app.conf"), "one");
    cluster.kill_all();
    agent.render(&["--once"]).await.fails(4, &["no server"]);
    assert_eq!(agent.read("app/current/app.conf"), "one");
}
