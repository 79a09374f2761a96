//! A hook is owed until it succeeded, whatever becomes of the agent.

use holdfast_tests::harness::Agent;

use crate::{one_node, put, until};

const SETTINGS: &str = r#"
[[set]]
name = "web"
folder = "web"
prefixes = ["web/"]
settle = "10ms"
[[set.file]]
path = "file"
format = "raw"
key = "web/text"
[set.hook]
exec = ["@DIR@/hook"]
timeout = "1s"
backoff = "50ms"
longest_backoff = "100ms"
"#;

const HOOK: &str = r#"cd "$(dirname "$0")"; echo x >> tried; test ! -e hangs || sleep 600; test ! -e broken || exit 7; cat "$HOLDFAST_FOLDER/file" >> done; echo >> done"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_fails_is_repeated_and_not_forgotten_by_a_restart() {
    let (cluster, client) = one_node().await;
    let mut agent = Agent::new(&cluster, "agent", SETTINGS).unwrap();
    agent.write_script("hook", HOOK).unwrap();
    agent.write("broken", "").unwrap();
    put(&client, &[("web/text", "1")]).await;
    agent.start().unwrap();
    until("a third attempt", || {
        agent.read("tried").lines().count() >= 3
    })
    .await;
    assert_eq!(agent.read("web/current/file"), "1");
    assert!(agent.said().contains("exit status 7"), "{}", agent.said());
    until("the record", || {
        agent
            .read("state/records/web.json")
            .contains("exit status 7")
    })
    .await;
    let fleet = || async {
        let context = cluster.context_file();
        let fleet = holdfast_tests::harness::program::asked(&context, &["fleet"]).await;
        fleet.to_string().contains("exit status 7").then_some(())
    };
    holdfast_tests::harness::wait::until("the fleet's view", crate::LIMIT, fleet)
        .await
        .unwrap();

    // The agent dies before the hook ever succeeded: the next one runs it, though nothing changed.
    agent.kill();
    // A hook that the agent left behind would succeed, too.
    until("the last attempt to end", || !agent.has_programs()).await;
    std::fs::remove_file(agent.join("broken")).unwrap();
    agent.start().unwrap();
    until("the hook", || agent.read("done") == "1\n").await;
    until("the record", || {
        agent
            .read("state/records/web.json")
            .contains("\"failure\": null")
    })
    .await;

    // It succeeded for this: the one after that does not run it again.
    let tried = agent.read("tried");
    agent.start().unwrap();
    put(&client, &[("web/text", "2")]).await;
    until("the next", || agent.read("done") == "1\n2\n").await;
    assert_eq!(agent.read("tried"), format!("{tried}x\n"));

    // One that hangs is ended, and holds up no change for longer than that.
    agent.write("hangs", "").unwrap();
    put(&client, &[("web/text", "3")]).await;
    until("it is told", || {
        agent.said().contains("did not end within 1s")
    })
    .await;
    std::fs::remove_file(agent.join("hangs")).unwrap();
    put(&client, &[("web/text", "4")]).await;
    until("the newest", || agent.read("done").ends_with("4\n")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_told_to_reload_the_unit_and_nothing_else() {
    let (cluster, client) = one_node().await;
    let settings = SETTINGS.replace("exec = [\"@DIR@/hook\"]", "reload = \"web@1.service\"");
    let mut agent = Agent::new(&cluster, "agent", &settings).unwrap();
    // There is no systemd where tests run.
    agent
        .write_script(
            "bin/systemctl",
            "echo \"$*\" > \"$(dirname \"$0\")/../asked\"",
        )
        .unwrap();
    let path = format!(
        "{}:{}",
        agent.join("bin").display(),
        std::env::var("PATH").unwrap()
    );
    put(&client, &[("web/text", "1")]).await;
    agent.start_with(&[("PATH", &path)]).unwrap();
    until("systemd was asked", || {
        agent.read("asked") == "reload -- web@1.service\n"
    })
    .await;
}
