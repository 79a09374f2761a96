//! The sidecar of a node that keeps files for two services, serves a socket, and tells how it is.

use std::time::Duration;

use holdfast_tests::harness::{Agent, Cluster, http, ports, wait};

use crate::report::{Report, Target, megabytes};

/// Resident memory with nothing to do.
pub(crate) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    report.title("kvagent: two sets of files, a socket, HTTP; 200 keys of 64 B");
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    for number in 0..KEYS {
        let service = ["web", "billing"][number % 2];
        let key = format!("{service}/setting_{number:03}");
        client.put(key.as_str(), "x".repeat(64)).await?;
    }
    let listen = format!("127.0.0.1:{}", ports::free::<1>()[0]);
    let mut agent = Agent::new(&cluster, "agent", &SETTINGS.replace("LISTEN", &listen))?;
    agent.start()?;
    wait::until("both sets to be installed", LIMIT, || async {
        let page = http::page(&listen, "/readyz").await.ok()?;
        page.contains("200 OK").then_some(())
    })
    .await?;
    // Idle is a state, not a moment: it goes on to ask whether it is up to date.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let idle = megabytes(agent.process().resident_bytes()?);
    report.add("agent", "resident, idle", idle, "MB", Target::AtMost(25.0));
    Ok(())
}

const KEYS: usize = 200;
const LIMIT: Duration = Duration::from_secs(30);
const SETTINGS: &str = r#"
[http]
listen = "LISTEN"
[socket]
path = "agent.sock"
[[socket.allow]]
user = 0
prefixes = ["web/", "billing/"]
[[set]]
name = "web"
folder = "web"
prefixes = ["web/"]
[[set.file]]
path = "web.env"
format = "env"
[[set]]
name = "billing"
folder = "billing"
prefixes = ["billing/"]
[[set.file]]
path = "billing.json"
format = "json"
"#;
