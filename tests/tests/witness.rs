//! Two nodes and a witness: any one of the three may fail, and the witness knows no secret.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_client::{Role, WriteError};
use holdfast_tests::{
    harness::{Cluster, ClusterOptions, program::kvctl, wait},
    load::LoadOptions,
    scenario,
};

/// Its place in the harness: after the two nodes.
const WITNESS: usize = 2;

fn two_and_a_witness() -> ClusterOptions {
    ClusterOptions {
        nodes: 2,
        witnesses: 1,
        ..ClusterOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_of_the_three_dies_service_goes_on_and_nothing_is_lost() {
    scenario::run(two_and_a_witness(), LoadOptions::default(), async |scene| {
        for node in [0, 1, WITNESS] {
            scene.kill_and_run(node, 150).await?;
            let client = &scene.client;
            scene.cluster.wait_until_whole_but_busy(client).await?;
        }
        Ok(())
    })
    .await;
}

/// The one node that survives lacks what was acknowledged while it stood still; the witness has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_alone_has_everything_leads_until_somebody_else_has_it_too() {
    scenario::run(two_and_a_witness(), LoadOptions::default(), async |scene| {
        let leader = scene.leader().await?;
        anyhow::ensure!(leader != WITNESS, "a witness leads for no reason");
        let behind = 1 - leader;
        scene.fault(format!("SIGSTOP of node {behind}"));
        scene.cluster.freeze(behind);
        scene.load.progress(200).await?;
        scene.fault(format!("SIGKILL of node {leader}, and the other one wakes"));
        scene.cluster.kill(leader);
        scene.cluster.thaw(behind);
        scene.load.progress(100).await?;
        wait::until("leadership to be given back", LIMIT, || async {
            let now = scene.leader().await.ok()?;
            (now == behind).then_some(())
        })
        .await?;
        let log = fs::read_to_string(scene.cluster.log(WITNESS))?;
        anyhow::ensure!(
            log.contains("this witness gave leadership back"),
            "the witness never led, so nothing was shown"
        );
        scene.cluster.run(leader)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_holds_no_key_and_serves_no_client() {
    let options = ClusterOptions {
        etcd: true,
        ..two_and_a_witness()
    };
    let cluster = Cluster::start_with(options).await.unwrap();
    let client = cluster.client().await.unwrap();
    // The context names all three nodes: none of these may fail because one is a witness.
    for number in 0..20 {
        client
            .put(format!("k/{number}").as_str(), "v")
            .await
            .unwrap();
        client.get(format!("k/{number}").as_str()).await.unwrap();
    }

    let id = cluster.id(&client, WITNESS).await.unwrap();
    let status = client.cluster().status().await.unwrap();
    let own = status
        .members
        .iter()
        .find(|one| one.member.id == id)
        .unwrap();
    assert_eq!(own.member.role, Role::Witness);
    assert!(own.reachable && own.problem.is_empty(), "{own:?}");
    assert_eq!(status.problems, Vec::<String>::new());

    let through = cluster.context_file_through(WITNESS).unwrap();
    let refused = kvctl(&through, &["--timeout", "2s", "get", "k/1"]).await;
    for part in ["witness", "n1 (", "n2 ("] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    refused.fails(4, &["witness"]);
    let etcd = cluster.etcd().unwrap().urls[WITNESS].replace("https://", "");
    assert!(TcpStream::connect(etcd).is_err(), "its etcd front is open");

    // It is no candidate, for anything.
    let lead = client.cluster().transfer_leader(Some(id)).await;
    assert!(matches!(lead, Err(WriteError::Refused { .. })), "{lead:?}");
    let vote = client.cluster().promote(id).await.unwrap_err();
    assert!(vote.to_string().contains("join it anew"), "{vote}");
    let token = client
        .cluster()
        .create_token(Role::Learner, Duration::ZERO, None)
        .await
        .unwrap();
    assert!(!token.token.contains(cluster.address(WITNESS)));

    // All that is secret there is the key of its own certificate.
    let secret: Vec<PathBuf> = files(cluster.dir(WITNESS))
        .into_iter()
        .filter(|path| {
            let bytes = fs::read(path).unwrap();
            bytes.windows(11).any(|part| part == b"PRIVATE KEY")
        })
        .collect();
    assert_eq!(secret, [cluster.dir(WITNESS).join("tls/node.key")]);
    let keyring = Path::new("keyring/node.key");
    assert!(!cluster.dir(WITNESS).join(keyring).exists());
    assert!(cluster.dir(1).join(keyring).exists());
    let other = files(cluster.dir(1));
    assert!(other.contains(&cluster.dir(1).join("tls/ca.key")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_node_that_serves_cannot_be_removed() {
    let options = ClusterOptions {
        nodes: 1,
        witnesses: 1,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(options).await.unwrap();
    let client = cluster.client().await.unwrap();
    let id = cluster.id(&client, 0).await.unwrap();
    let refused = client.cluster().remove(id).await.unwrap_err();
    assert!(refused.to_string().contains("serves clients"), "{refused}");
    client.put("still", "there").await.unwrap();
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => all.push(path),
        }
    }
    all
}

const LIMIT: Duration = Duration::from_secs(20);
