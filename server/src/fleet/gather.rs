//! Gathers reports into commands.
//!
//! Invariants: (1) who says something new is answered when it is applied. (2) Who says the same again
//! waits for nobody, and its word for others; one that is lost is said again in a minute.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_core::{ReplyBody, Report};
use holdfast_proto::{
    limits,
    log::v1::{self as log, command::Body},
};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::{
    deadline,
    host::{self, Host},
};

/// What one client says.
pub(super) struct Word {
    identity: Arc<str>,
    report: Report,
    answer: Option<oneshot::Sender<Taken>>,
}

/// Why a word was not taken, if it was not.
type Taken = Result<Option<String>, Status>;

/// A word that is on its way.
pub(super) struct Awaited(oneshot::Receiver<Taken>);

/// Where words go.
pub(super) struct Gathering {
    host: Arc<Host>,
    words: mpsc::Sender<Word>,
}

impl Word {
    pub(super) fn new(identity: Arc<str>, report: Report) -> Self {
        Self {
            identity,
            report,
            answer: None,
        }
    }

    fn bytes(&self) -> usize {
        self.report.to_wire().encoded_len() + self.identity.len() + OVERHEAD
    }
}

impl Awaited {
    /// Why it was not taken; `None`: it was.
    pub(super) async fn wait(self, deadline: Instant) -> Taken {
        match tokio::time::timeout_at(deadline.into(), self.0).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(_)) => Err(host::closing()),
            Err(_) => Err(deadline::too_late()),
        }
    }
}

impl Gathering {
    /// Runs until the node stops.
    pub(super) fn begin(host: Arc<Host>) -> Self {
        let (words, to_gather) = mpsc::channel(WAITING);
        tokio::spawn(run(host.clone(), to_gather));
        Self { host, words }
    }

    /// Takes a word in. `None`: it says what is known, and nobody needs to wait.
    pub(super) async fn add(
        &self,
        mut word: Word,
        deadline: Instant,
    ) -> Result<Option<Awaited>, Status> {
        if self.is_known(&word) {
            // Where there is no room now, it is said again.
            drop(self.words.try_send(word));
            return Ok(None);
        }
        let (answer, taken) = oneshot::channel();
        word.answer = Some(answer);
        let sent = tokio::time::timeout_at(deadline.into(), self.words.send(word)).await;
        match sent {
            Ok(Ok(())) => Ok(Some(Awaited(taken))),
            Ok(Err(_)) => Err(host::closing()),
            Err(_) => Err(deadline::too_late()),
        }
    }

    fn is_known(&self, word: &Word) -> bool {
        let key = word.report.key(word.identity.clone());
        self.host.read(|state| {
            let before = state.fleet().get(&key);
            before.is_some_and(|before| before.report.says_the_same(&word.report))
        })
    }
}

async fn run(host: Arc<Host>, mut words: mpsc::Receiver<Word>) {
    loop {
        let first = tokio::select! {
            first = words.recv() => first,
            () = host.closing.cancelled() => return,
        };
        let Some(first) = first else {
            return;
        };
        let batch = tokio::select! {
            batch = gather(first, &mut words) => batch,
            () = host.closing.cancelled() => return,
        };
        tokio::spawn(propose(host.clone(), batch));
    }
}

/// What comes until a new word has waited for long enough, or an old one for longer.
async fn gather(first: Word, words: &mut mpsc::Receiver<Word>) -> Vec<Word> {
    let until = |word: &Word| {
        let pause = match word.answer {
            Some(_) => NEW_WAIT,
            None => KNOWN_WAIT,
        };
        Instant::now() + pause
    };
    let (mut deadline, mut bytes) = (until(&first), first.bytes());
    let mut batch = vec![first];
    while batch.len() < limits::FLEET_COMMAND_REPORTS && bytes < COMMAND_BYTES {
        match tokio::time::timeout_at(deadline.into(), words.recv()).await {
            Ok(Some(word)) => {
                deadline = deadline.min(until(&word));
                bytes += word.bytes();
                batch.push(word);
            }
            Ok(None) | Err(_) => break,
        }
    }
    batch
}

/// Has a batch applied, and tells who waits.
async fn propose(host: Arc<Host>, batch: Vec<Word>) {
    let reports = batch.iter().map(|word| log::FleetReported {
        identity: word.identity.to_string(),
        report: Some(word.report.to_wire()),
    });
    let body = Body::FleetReports(log::FleetReports {
        reports: reports.collect(),
    });
    let until = Instant::now() + PROPOSAL;
    let applied = host
        .propose_own(host.author(), String::new(), body, until)
        .await;
    let refused = match &applied {
        Ok(reply) => match &reply.body {
            ReplyBody::FleetTaken { refused } => refused.as_slice(),
            _ => &[],
        },
        Err(status) => {
            tracing::debug!(%status, "reports of clients were not recorded; they come again");
            &[]
        }
    };
    for (place, word) in (0..).zip(batch) {
        let Some(answer) = word.answer else {
            continue;
        };
        let taken = match &applied {
            Ok(_) if refused.contains(&place) => Ok(Some(no_room(&word.identity))),
            Ok(_) => Ok(None),
            Err(status) => Err(status.clone()),
        };
        // Nobody waits any more: then it is said again.
        drop(answer.send(taken));
    }
}

fn no_room(identity: &str) -> String {
    format!(
        "there is no room for one more report of {identity}: {} of one identity, {} in all and {} \
         MiB are the most, and none is stale; it was not taken; end instances that are not needed, \
         or have them forgotten with `kvctl fleet forget`",
        limits::FLEET_REPORTS_OF_ONE,
        limits::FLEET_REPORTS,
        limits::FLEET_BYTES >> 20,
    )
}

/// What says something new is applied after this.
const NEW_WAIT: Duration = Duration::from_millis(200);
/// What says the same again waits this long for company.
const KNOWN_WAIT: Duration = Duration::from_secs(5);
const WAITING: usize = 4_096;
const PROPOSAL: Duration = Duration::from_secs(5);
/// Well below the limit of a request.
const COMMAND_BYTES: usize = 1024 * 1024;
/// Of one report's envelope.
const OVERHEAD: usize = 16;
