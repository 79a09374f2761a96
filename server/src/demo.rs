//! `kvd demo`: a service keeps working while its cluster loses the leader. On real processes, with
//! nothing played: what the summary says was counted.

mod check;
mod service;
mod summary;
mod telling;

use std::{
    io,
    time::{Duration, Instant},
};

use holdfast_client::{
    Client, Context, ContextError, NodeId,
    formats::{self, Format, FormatError, ImportPlan, PlanError},
};

use self::{check::Nodes, service::Service, summary::Summary, telling::Telling};
use crate::{
    dev::{ClusterError, Home, LocalCluster},
    signals::StopSignals,
};

/// Why the story could not be told to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The operating system refused something.
    #[error("the process could not be set up")]
    Process(#[from] io::Error),
    /// The cluster did not come up, or a node did not come back.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The context cannot be used.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The settings cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The settings cannot be imported.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Something that the story needs did not happen.
    #[error("{0}")]
    Story(String),
    /// Ctrl-c.
    #[error("stopped; nothing was left behind")]
    Interrupted,
}

/// Tells the story. `true`: each promise held.
pub fn run() -> Result<bool, DemoError> {
    // One thread, the one that lives longest: children end with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut stop = StopSignals::listen()?;
        let home = Home::open(None)?;
        let mut telling = Telling::begin();
        let told = tokio::select! {
            told = tell(&home, &mut telling) => told,
            _ = stop.received() => Err(DemoError::Interrupted),
        };
        drop(telling);
        home.discard().await?;
        let summary = told?;
        summary.print();
        Ok(summary.every_promise_held())
    })
}

async fn tell(home: &Home, telling: &mut Telling) -> Result<Summary, DemoError> {
    telling.doing("starting three nodes, each a process of its own");
    let mut cluster = LocalCluster::start(home.path(), NODES, None, false).await?;
    let context = cluster.context()?;
    let client = connect(&context).await?;
    telling.done("three nodes run, each a process of its own; they trust only their own authority");

    telling.doing("importing the settings of a service");
    let imported = import(&client).await?;
    telling.done(&format!(
        "imported AccessManager.reg: {imported} typed parameters in one revision"
    ));

    telling.doing("starting a service that reads and writes all the time");
    let service = Service::start(&client, PREFIX)
        .await
        .map_err(|e| story(&e))?;
    go_on(&service, STEADY).await?;
    telling.done(&format!(
        "a service reads and writes: {}",
        service.in_words()
    ));

    let nodes = Nodes::of(&context, &client).await?;
    let old = nodes.leader().await?;
    let old_name = nodes.name(old)?.to_owned();
    let pid = cluster
        .nodes()
        .iter()
        .find(|node| node.name() == old_name)
        .and_then(|n| n.pid());
    telling.doing(&format!("killing {old_name}, the leader"));
    let killed_at = Instant::now();
    cluster.kill(&old_name).await?;
    telling.struck(&format!(
        "SIGKILL to {old_name}, the leader (process {})",
        pid.unwrap_or(0)
    ));

    telling.doing("waiting for the others to agree on a new leader");
    let new = nodes.new_leader(old).await?;
    let new_name = nodes.name(new)?.to_owned();
    go_on(&service, STEADY).await?;
    telling.done(&format!(
        "{new_name} leads, and the service goes on: {}",
        service.in_words()
    ));

    telling.doing(&format!("bringing {old_name} back"));
    cluster.restart(&old_name).await?;
    go_on(&service, STEADY / 2).await?;
    let record = service.stop().await;
    nodes.catch_up(record.last_revision()).await?;
    telling.done(&format!("{old_name} is back and has caught up"));

    telling.doing("asking every node for every acknowledged write");
    let lost = nodes.lost(&record).await?;
    let hashes = nodes.hashes().await?;
    telling.done("every node was asked for every acknowledged write");

    telling.doing("tidying up");
    cluster.stop().await;
    Ok(Summary {
        record,
        killed_at,
        old: old_name,
        new: new_name,
        lost,
        hashes,
        nodes: NODES,
    })
}

async fn connect(context: &Context) -> Result<Client, DemoError> {
    Client::connect(context)
        .await
        .map_err(|error| story(&error))
}

/// Imports the export of a real service's registry key.
async fn import(client: &Client) -> Result<usize, DemoError> {
    let document = formats::read(SETTINGS, Format::Reg)?;
    let plan = ImportPlan::new(&document, PREFIX, [])?;
    let count = plan.changes().len();
    for transaction in plan.transactions() {
        let note = "imported AccessManager.reg";
        let done = client
            .transact(transaction, note)
            .await
            .map_err(|error| story(&error))?;
        if !done.succeeded {
            return Err(DemoError::Story(
                "the settings were there already".to_owned(),
            ));
        }
    }
    Ok(count)
}

/// Lets the service work for a while, and long enough to have written something.
async fn go_on(service: &Service, time: Duration) -> Result<(), DemoError> {
    let goal = service.acknowledged() + STEADY_WRITES;
    let reached = async {
        tokio::time::sleep(time).await;
        while service.acknowledged() < goal {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached)
        .await
        .map_err(|_| DemoError::Story(format!("no {goal} writes within {PATIENCE:?}")))
}

fn story(error: &dyn std::error::Error) -> DemoError {
    DemoError::Story(error.to_string())
}

/// A member as the story needs it.
#[derive(Clone, Debug)]
struct KnownNode {
    id: NodeId,
    name: String,
    address: String,
}

const SETTINGS: &[u8] = include_bytes!("../data/AccessManager.reg");
const PREFIX: &str = "services/access-manager";
const NODES: usize = 3;
const STEADY: Duration = Duration::from_millis(1_500);
const STEADY_WRITES: usize = 50;
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(60);
