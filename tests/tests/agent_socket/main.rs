//! The agent's socket as services and operators use it: the real program, with a real cluster.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

mod allowed;
mod denied;
mod lasting;
mod offline;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_client::{Client, ClientOptions, Context};
use holdfast_tests::{
    escrow,
    harness::{
        Agent, Cluster, ClusterOptions, binaries,
        program::{self, Ran},
        wait,
    },
};

const LIMIT: Duration = Duration::from_secs(30);

async fn cluster_of(nodes: usize) -> (Cluster, Client) {
    let options = ClusterOptions {
        nodes,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(options).await.unwrap();
    let client = cluster.client().await.unwrap();
    (cluster, client)
}

/// Has secrets taken, and puts one.
async fn put_secret(cluster: &Cluster, operator: &Client, key: &str, secret: &str) -> u64 {
    let shares = cluster.folder().join("shares");
    if !shares.exists() {
        escrow::prove(&cluster.context_file(), &shares)
            .await
            .unwrap();
    }
    let secrets = operator.secrets();
    let written = wait::until("a secret to be taken", LIMIT, || async {
        secrets.put(key, secret.to_owned()).await.ok()
    });
    written.await.unwrap().revision.get()
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// An entry for whoever runs the test.
fn allow(rest: &str) -> String {
    format!("[[socket.allow]]\nuser = {}\n{rest}\n", own_uid())
}

/// An agent with a socket, which serves. It knows all nodes from its start.
async fn agent(cluster: &Cluster, name: &str, entries: &[String]) -> Agent {
    let context = cluster.context().unwrap();
    let of = |file: &str| cluster.context_file().with_file_name(file);
    let text = Context::file_text(
        &context.cluster,
        &context.endpoints,
        of("ca.crt"),
        of("admin.crt"),
        of("admin.key"),
    );
    let path = cluster.folder().join(format!("{name}.toml"));
    std::fs::write(&path, text).unwrap();
    agent_as(cluster, name, &path, entries).await
}

/// The same, with another context.
async fn agent_as(cluster: &Cluster, name: &str, context: &Path, entries: &[String]) -> Agent {
    let settings = format!("[socket]\npath = \"agent.sock\"\n{}", entries.concat());
    let mut agent = Agent::new(cluster, name, &settings).unwrap();
    agent.set(context, &settings).unwrap();
    start(&mut agent).await;
    agent
}

/// A context with a certificate of its own, in the name of `node`, which may do this.
async fn node_context(cluster: &Cluster, allowed: &[&str]) -> PathBuf {
    set_role(cluster, allowed).await;
    let folder = cluster.folder().join("node");
    let out = folder.to_str().unwrap();
    let issue = ["identity", "issue", "node", "--role", "node", "--out", out];
    let ran = program::kvctl(&cluster.context_file(), &issue).await;
    ran.success();
    folder.join("node.toml")
}

/// Gives the role `node` these rules in place of those it has.
async fn set_role(cluster: &Cluster, allowed: &[&str]) {
    let rules = allowed.iter().flat_map(|rule| ["--allow", rule]);
    let role: Vec<&str> = ["role", "set", "node"].into_iter().chain(rules).collect();
    let ran = program::kvctl(&cluster.context_file(), &role).await;
    ran.success();
}

async fn start(agent: &mut Agent) {
    agent.start().unwrap();
    let path = socket(agent);
    let connects = || std::os::unix::net::UnixStream::connect(&path).is_ok();
    wait::until_true("the agent's socket", LIMIT, connects)
        .await
        .unwrap_or_else(|error| panic!("{error}: {}", agent.said()));
}

fn socket(agent: &Agent) -> PathBuf {
    agent.join("agent.sock")
}

/// A service of this node.
fn service(agent: &Agent) -> Client {
    Client::agent(socket(agent)).unwrap()
}

/// One that does not wait long for what cannot be.
fn hasty(agent: &Agent) -> Client {
    let options = ClientOptions {
        request_timeout: Duration::from_secs(2),
        ..ClientOptions::default()
    };
    Client::lazy(&Context::through_agent("", socket(agent)), options).unwrap()
}

/// Runs `kvctl` through the agent.
async fn kvctl(agent: &Agent, arguments: &[&str]) -> Ran {
    let mut command = tokio::process::Command::new(binaries::kvctl());
    command
        .env_remove("HOLDFAST_CONTEXT")
        .arg("--agent")
        .arg(socket(agent))
        .args(arguments);
    program::run(&mut command).await
}
