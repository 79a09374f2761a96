//! Takes a lock, works while it is held, and gives it back.
//!
//! `HOLDFAST_CONTEXT=… cargo run -p holdfast-client --example lock`, twice at the same time.

use std::{error::Error, time::Duration};

use holdfast_client::{Client, Context, LockOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(&Context::discover()?).await?;

    // Waits its turn. Should this process die, others wait for the time to live and not longer.
    let options = LockOptions {
        ttl: Duration::from_secs(5),
        ..LockOptions::default()
    };
    let guard = client.lock("examples/nightly-job", options).await?;

    // Pass the token on to what the lock protects, and let that refuse a lower one: a process may
    // be paused while it believes that it holds the lock.
    println!("held, fencing token {}", guard.token());
    tokio::select! {
        () = work() => println!("done"),
        () = guard.lost() => return Err("the lock was lost: stop, somebody else may have it".into()),
    }
    guard.release().await?;
    Ok(())
}

async fn work() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}
