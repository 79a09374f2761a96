//! Counts up a key from many tasks at once, and loses none: read, then write only if unchanged.
//!
//! `HOLDFAST_CONTEXT=… cargo run -p holdfast-client --example compare_and_set`

use std::error::Error;

use holdfast_client::{Client, Context, Expected, PutOptions, Value, WriteError};

const KEY: &str = "examples/counter";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let client = Client::connect(&Context::discover()?).await?;
    let tasks: Vec<_> = (0..8)
        .map(|_| tokio::spawn(count_up(client.clone())))
        .collect();
    for task in tasks {
        println!("counted {}", task.await??);
    }
    Ok(())
}

async fn count_up(client: Client) -> Result<i64, Box<dyn Error + Send + Sync>> {
    loop {
        let (next, expected) = match client.get(KEY).await? {
            None => (1, Expected::Absent),
            Some(found) => match found.value() {
                Value::Integer(number) => (number + 1, Expected::At(found.entry.modified)),
                other => return Err(format!("{KEY} is {}, not an integer", other.kind()).into()),
            },
        };
        let options = PutOptions {
            expected: Some(expected),
            note: "counted up".to_owned(),
            ..PutOptions::default()
        };
        match client.put_with(KEY, next, options).await {
            Ok(_) => return Ok(next),
            Err(WriteError::Conflict { .. }) => {} // somebody was quicker: read again
            Err(error) => return Err(error.into()),
        }
    }
}
