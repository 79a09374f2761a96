//! Reads every key of a prefix at one revision, then keeps a mirror of it.
//!
//! `kvd dev` in one terminal; in another, with the context that it names:
//! `HOLDFAST_CONTEXT=… cargo run -p holdfast-client --example read_prefix -- shop/`

use std::{env, error::Error, time::Duration};

use holdfast_client::{Client, Context, KeyRange, RangeOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let prefix = env::args().nth(1).unwrap_or_default();
    let client = Client::connect(&Context::discover()?).await?;

    // All pages come from the same revision, however long it takes.
    let page = client
        .range_all(KeyRange::prefix(prefix.clone()), RangeOptions::default())
        .await?;
    println!("{} keys at revision {}", page.entries.len(), page.revision);
    for entry in &page.entries {
        println!("{} by {}", entry.key, entry.author);
    }

    // A mirror keeps them in memory. Reading it needs no server; it says how old it is.
    let mirror = client.mirror(prefix).await?;
    loop {
        println!("{} keys, {:?} old", mirror.read().len(), mirror.age());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
