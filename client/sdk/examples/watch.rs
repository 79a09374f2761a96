//! Prints each change of a prefix: every revision once, in order, whichever node is killed.
//!
//! `HOLDFAST_CONTEXT=… cargo run -p holdfast-client --example watch -- shop/`

use holdfast_client::{Client, Context, EventKind, KeyRange, WatchItem, WatchOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prefix = std::env::args().nth(1).unwrap_or_default();
    let client = Client::connect(&Context::discover()?).await?;
    let options = WatchOptions {
        snapshot: true, // begin with what is there
        ..WatchOptions::default()
    };
    let mut watch = client.watch(KeyRange::prefix(prefix), options);
    loop {
        match watch.next().await? {
            // At first, and should the history that comes next be compacted meanwhile.
            WatchItem::Reset { revision, entries } => {
                println!("{} keys at revision {revision}", entries.len());
            }
            WatchItem::Events { events, .. } => {
                for event in events {
                    let deleted = event.kind == EventKind::Delete;
                    let what = if deleted { "deleted" } else { "put" };
                    println!("{}: {what} {}", event.entry.modified, event.entry.key);
                }
            }
            _ => {} // a progress mark: nothing is missing up to here
        }
    }
}
