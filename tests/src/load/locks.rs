//! Clients that contend for one lock, and say so when they hold it and when they lost it.

use std::time::Duration;

use holdfast_client::{LockError, LockOptions};
use rand::RngExt as _;

use super::Worker;
use crate::history::{Answer, Call, Event};

/// Takes the lock, holds it for a moment, gives it back; again and again.
pub(super) async fn contend(mut worker: Worker) -> anyhow::Result<()> {
    let client = worker.connect()?;
    let process = worker.process;
    while !worker.is_over() {
        let name = || LOCK.to_owned();
        let operation = worker.recorder.invoke(process, Call::Lock { name: name() });
        let options = LockOptions {
            ttl: TTL,
            wait: Some(WAIT),
        };
        let guard = match client.lock(LOCK, options).await {
            Ok(guard) => guard,
            Err(error) => {
                let why = error.to_string();
                let event = match error {
                    LockError::Held { .. } => Event::Fail { operation, why },
                    _ => Event::Unknown { operation, why },
                };
                worker.recorder.record(process, event);
                worker.pause().await;
                continue;
            }
        };
        let token = guard.token().get();
        worker.recorder.record(
            process,
            Event::Ok {
                operation,
                answer: Answer::Locked { token },
            },
        );
        let held = Duration::from_millis(worker.random.random_range(0..30));
        tokio::select! {
            () = tokio::time::sleep(held) => {
                let call = Call::Release { name: name(), token };
                let operation = worker.recorder.invoke(process, call);
                let event = match guard.release().await {
                    Ok(_) => Event::Ok { operation, answer: Answer::Released },
                    Err(error) => Event::Unknown { operation, why: error.to_string() },
                };
                worker.recorder.record(process, event);
            }
            _ = guard.lost() => {
                worker.recorder.record(process, Event::Lost { name: name(), token });
            }
        }
    }
    Ok(())
}

const LOCK: &str = "locks/load";
const TTL: Duration = Duration::from_secs(3);
const WAIT: Duration = Duration::from_secs(3);
