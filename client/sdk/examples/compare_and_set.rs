//! Counts up a key from many tasks at once, and loses none: read, then write only if unchanged.
//!
//! `HOLDFAST_CONTEXT=… cargo run -p holdfast-client --example compare_and_set`

use holdfast_client::{Client, Context, Expected, Found, PutOptions, Value, WriteError};

const KEY: &str = "examples/counter";
type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::connect(&Context::discover()?).await?;
    let tasks = [(); 8].map(|()| tokio::spawn(count_up(client.clone())));
    for task in tasks {
        println!("counted {}", task.await??);
    }
    Ok(())
}

async fn count_up(client: Client) -> Result<i64, Error> {
    loop {
        let found = client.get(KEY).await?;
        let next = match found.as_ref().map(Found::value) {
            None => 1,
            Some(Value::Integer(number)) => number + 1,
            Some(other) => return Err(format!("{KEY} is {}, not an integer", other.kind()).into()),
        };
        let expected = found.map_or(Expected::Absent, |f| Expected::At(f.entry.modified));
        let options = PutOptions {
            expected: Some(expected),
            ..PutOptions::default()
        };
        match client.put_with(KEY, next, options).await {
            Ok(_) => return Ok(next),
            Err(WriteError::Conflict { .. }) => {} // somebody was quicker: read again
            Err(error) => return Err(error.into()),
        }
    }
}
