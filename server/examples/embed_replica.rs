//! Runs a replica inside this program and reads through it, without a network between.
//!
//! `cargo run -p holdfast-server --example embed_replica`

use std::{env, error::Error, time::SystemTime};

use holdfast_client::Value;
use holdfast_server::{
    init::{InitOptions, init},
    node::Node,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let home = tempfile::tempdir()?; // a real program keeps it, and calls NodeDir::open next time
    let options = InitOptions {
        dir: home.path().join("n1"),
        name: "n1".parse()?,
        cluster_name: "embedded".to_owned(),
        // Where other replicas of the cluster join.
        listen: env::args().nth(1).unwrap_or("127.0.0.1:7191".to_owned()),
        advertise: None,
        http: None,
        etcd: None,
        key_protector: holdfast_seal::Protector::File,
    };
    let node = Node::start(init(&options, SystemTime::now())?).await?;
    node.ready().await;

    let client = node.client();
    let revision = client.put("shop/greeting", "hello").await?.revision;
    let found = client.get("shop/greeting").await?.ok_or("it was written")?;
    if let Value::Text(greeting) = found.value() {
        println!("{greeting}, written at revision {revision}");
    }

    node.shutdown().await;
    Ok(())
}
