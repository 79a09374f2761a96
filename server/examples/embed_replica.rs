//! Runs a replica inside this program and reads through it, without a network between.
//!
//! `cargo run -p holdfast-server --example embed_replica`

use std::{error::Error, time::SystemTime};

use holdfast_server::{
    init::{InitOptions, init},
    node::Node,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let home = tempfile::tempdir()?; // a real program keeps it, and calls NodeDir::open next time
    let dir = init(
        &InitOptions {
            dir: home.path().join("n1"),
            name: "n1".parse()?,
            cluster_name: "embedded".to_owned(),
            listen: "127.0.0.1:7191".to_owned(), // where other replicas of the cluster join
            advertise: None,
            http: None,
        },
        SystemTime::now(),
    )?;
    let node = Node::start(dir).await?;
    node.ready().await;

    let client = node.client();
    let written = client.put("shop/greeting", "hello").await?;
    let found = client.get("shop/greeting").await?.ok_or("it was written")?;
    println!(
        "{:?}, written at revision {}",
        found.value(),
        written.revision
    );

    node.shutdown().await;
    Ok(())
}
