//! The example settings do what they say: each is checked and run, with its paths in a folder of the
//! test.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use holdfast_tests::{
    escrow,
    harness::{Agent, Cluster, program::run, wait},
};

use crate::{LIMIT, one_node, put};

/// An agent with an example's settings; `/etc` and `/var/lib` are in its folder.
fn with_example(cluster: &Cluster, name: &str, change: impl Fn(String) -> String) -> Agent {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/agent/examples");
    let text = fs::read_to_string(examples.join(format!("{name}.toml"))).unwrap();
    let text = text.replace("context = \"/etc/holdfast/context.toml\"\n", "");
    let text = text
        .replace("\"/etc/", "\"@DIR@/etc/")
        .replace("\"/var/lib/", "\"@DIR@/");
    let agent = Agent::new(cluster, name, &change(text)).unwrap();
    let templates = examples.join(name);
    if let Ok(files) = fs::read_dir(&templates) {
        for file in files {
            let file = file.unwrap();
            let text = fs::read_to_string(file.path()).unwrap();
            let name = format!("{name}/{}", file.file_name().to_string_lossy());
            agent.write(&name, &text).unwrap();
        }
    }
    agent
}

async fn check(agent: &Agent) {
    let kvagent = holdfast_tests::harness::binaries::kvagent();
    let mut command = tokio::process::Command::new(kvagent);
    let ran = run(command.arg("check").arg("--config").arg(agent.config())).await;
    assert!(ran.success().contains("is sound"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_service_gets_its_environment_and_certificates_come_together() {
    let (cluster, client) = one_node().await;
    escrow::prove(&cluster.context_file(), &cluster.folder().join("shares"))
        .await
        .unwrap();
    for (key, secret) in [
        ("old-service/DATABASE_PASSWORD", "p4$s \"w0rd\""),
        ("tls/key", "the key\n"),
    ] {
        wait::until("a secret to be taken", LIMIT, || async {
            client.secrets().put(key, secret.to_owned()).await.ok()
        })
        .await
        .unwrap();
    }
    let values = [
        ("old-service/LISTEN", "0.0.0.0:9000"),
        ("old-service/WORKERS", "4"),
        ("tls/certificate", "the certificate\n"),
        ("tls/chain", "the chain\n"),
    ];
    put(&client, &values).await;

    let hook = |text: String| text.replace("reload = \"old-service.service\"", "exec = [\"true\"]");
    let agent = with_example(&cluster, "old-service", hook);
    fs::create_dir_all(agent.join("etc/old-service")).unwrap();
    check(&agent).await;
    agent.render(&["--once"]).await.success();
    let file = agent.join("etc/old-service/env");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let script = format!(
        ". {}; printf '%s|%s|%s' \"$LISTEN\" \"$WORKERS\" \"$DATABASE_PASSWORD\"",
        file.display()
    );
    let read = run(tokio::process::Command::new("sh").args(["-c", &script]))
        .await
        .success();
    assert_eq!(read, "0.0.0.0:9000|4|p4$s \"w0rd\"");

    let hook = |text: String| text.replace("/usr/local/bin/certificates-changed", "true");
    let agent = with_example(&cluster, "certificates", hook);
    check(&agent).await;
    agent.render(&["--once"]).await.success();
    let tls = |name: &str| agent.read(Path::new("kvagent/sets/tls/current").join(name));
    assert_eq!(
        tls("site.crt") + &tls("chain.crt") + &tls("site.key"),
        "the certificate\nthe chain\nthe key\n"
    );
    let mode = fs::metadata(agent.join("kvagent/sets/tls/current/site.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    client.delete("tls/chain").await.unwrap();
    agent
        .render(&["--once"])
        .await
        .fails(1, &["3 keys became 2"]);
}

/// The settings of nginx as they are shipped: checked here, run in `nginx`.
pub(crate) fn nginx(cluster: &Cluster, change: impl Fn(String) -> String) -> Agent {
    with_example(cluster, "nginx", change)
}
