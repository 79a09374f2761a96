//! Long work beside the requests: archives and backups.

use std::{io, thread};

use tokio::sync::oneshot;

/// How much nicer a thread for long work is: each step is worth a fifth of its share of a processor, so
/// this leaves a tenth.
const NICENESS: i32 = 10;

/// Does long work on a thread of its own, which the system calls by this name. Where processors are short,
/// requests come first; it gets on there, too, if slowly. It goes on to its end, whether or not somebody
/// waits for it. An error if there is no thread, or if the work panicked.
pub async fn aside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, io::Error> {
    let (answer, answered) = oneshot::channel();
    let work = move || {
        // Of this thread alone; one of the runtime's would keep it.
        if let Err(error) = rustix::process::nice(NICENESS) {
            tracing::debug!(%error, "long work is as urgent as requests are");
        }
        drop(answer.send(work()));
    };
    thread::Builder::new().name(name.to_owned()).spawn(work)?;
    answered
        .await
        .map_err(|_| io::Error::other("the thread that did it panicked; standard error says why"))
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    #[tokio::test]
    async fn requests_come_first_and_stay_as_urgent_as_they_are() {
        let usual = getpriority_process(None).unwrap();
        let lowered = aside("long", || getpriority_process(None).unwrap());
        assert_eq!(lowered.await.unwrap(), (usual + NICENESS).min(19));
        assert_eq!(getpriority_process(None).unwrap(), usual);
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error() {
        let error = aside("long", || panic!("on purpose")).await.unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
    }
}
