//! A node is killed while it records: whatever was answered is in its log.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use holdfast_client::{Client, ClientOptions, Context};

use super::{records, verify};
use crate::nodes::{Nodes, PATIENCE, restart};

/// A child that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answered_act_is_lost_when_the_node_is_killed() {
    let (home, dir) = Nodes::unborn();
    let path = dir.path().to_owned();
    let context = Context::load(dir.context().unwrap()).unwrap();
    drop(dir);
    let mut answered = BTreeSet::new();
    for round in 0..3 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kvd"))
            .args(["run", "--log-format", "json", "--dir"])
            .arg(&path)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let node = Running(child);
        let mut lines = log.lines();
        assert!(
            lines.any(|line| line.unwrap().contains("the node serves")),
            "it serves"
        );
        // Goes on reading, so that the node can go on logging.
        std::thread::spawn(move || lines.for_each(drop));
        let options = ClientOptions {
            request_timeout: Duration::from_millis(300),
            ..ClientOptions::default()
        };
        let client = Client::with_options(&context, options).await.unwrap();
        let (sender, mut acts) = tokio::sync::mpsc::unbounded_channel();
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let (client, sender) = (client.clone(), sender.clone());
                tokio::spawn(async move {
                    for number in 0.. {
                        let prefix = format!("{round}/{worker}/{number}");
                        if client.set_retention(prefix.clone(), None).await.is_err() {
                            break;
                        }
                        let _ = sender.send(prefix);
                    }
                })
            })
            .collect();
        drop(sender);
        // In the midst of it.
        for _ in 0..60 {
            let act = tokio::time::timeout(PATIENCE, acts.recv()).await;
            answered.insert(act.unwrap().unwrap());
        }
        drop(node);
        for worker in workers {
            worker.await.unwrap();
        }
        while let Some(act) = acts.recv().await {
            answered.insert(act);
        }
    }
    let node = restart(&path).await;
    let recorded: BTreeSet<String> = records(&node, 0)
        .await
        .into_iter()
        .map(|record| String::from_utf8(record.target.to_vec()).unwrap())
        .collect();
    let lost: Vec<_> = answered.difference(&recorded).collect();
    assert_eq!(
        lost,
        Vec::<&String>::new(),
        "of {} answered",
        answered.len()
    );
    assert_eq!(verify(&node, 1).await[0].damages, []);
    node.shutdown().await;
    drop(home);
}
