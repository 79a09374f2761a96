//! Keys and values for the measurements.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use holdfast_client::{Client, Key, Operation, Transaction, Value};

/// The key of a number.
pub(crate) fn key(number: u64) -> String {
    format!("bench/{number:08}")
}

/// The key of a secret's number.
pub(crate) fn secret(number: u64) -> String {
    format!("secret/{number:08}")
}

/// A value of so many bytes, which does not compress.
pub(crate) fn value(bytes: usize) -> Value {
    let mut value = vec![0; bytes];
    rand::fill(&mut value[..]);
    Value::Bytes(Bytes::from(value))
}

/// Puts the keys of `numbers`, 256 a transaction, a few transactions at a time.
pub(crate) async fn fill(
    client: &Client,
    numbers: std::ops::Range<u64>,
    value_bytes: usize,
) -> anyhow::Result<()> {
    let batches = numbers.clone().step_by(BATCH).map(|first| {
        let numbers = first..numbers.end.min(first + BATCH as u64);
        async move {
            let mut transaction = Transaction::new();
            for number in numbers {
                let key = Key::try_from(key(number).as_str())?;
                transaction = transaction.then(Operation::put(&key, value(value_bytes)));
            }
            client.transact(transaction, "").await?;
            anyhow::Ok(())
        }
    });
    futures::stream::iter(batches)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

const BATCH: usize = 256;
const AT_ONCE: usize = 4;
