//! Keeps a typed configuration, and says what becomes of each change. Stop every server, start it again:
//! it goes on with what it took last.
//!
//! `kvd dev` in one terminal; in another, with the context that it names:
//! `kvctl put shop/greeting hello` and `kvctl put shop/seconds 1 --type integer`, then
//! `HOLDFAST_CONTEXT=… cargo run -p holdfast-client --example config -- /tmp/shop-cache`

use std::{env, error::Error, time::Duration};

use holdfast_client::{Client, ClientOptions, Context};

#[derive(serde::Deserialize)]
struct Shop {
    greeting: String,
    seconds: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args().nth(1).ok_or("name a folder for the cache")?;
    // Connects when it is needed: a service must start while every server is down.
    let client = Client::lazy(&Context::discover()?, ClientOptions::default())?;
    let config = client
        .config::<Shop>("shop/")
        .validate(|shop: &Shop| match shop.seconds {
            1..=60 => Ok(()),
            other => Err(format!("a greeting each {other} seconds")),
        })
        .cache(folder)
        .open()
        .await?;
    loop {
        let (shop, status) = (config.load_full(), config.status());
        println!(
            "{} (revision {}, {:?})",
            shop.greeting, status.revision, status.origin
        );
        if let Some(rejected) = status.rejected {
            println!(
                "not taken: revision {}: {}",
                rejected.revision, rejected.error
            );
        }
        tokio::time::sleep(Duration::from_secs(shop.seconds)).await;
    }
}
