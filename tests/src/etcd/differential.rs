//! The same operations on two stores, which must answer the same.
//!
//! Changes go one after the other, each to some node; reads that follow each other go at once,
//! over several connections. An answer that differs ends the run, which then looks for a short
//! course of operations that differs as well.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use etcd_client::proto::{
    PbCompactionRequest, PbDeleteRequest, PbLeaseLeasesRequest, PbLeaseRevokeRequest, PbPutRequest,
    PbRangeRequest,
};
use futures::future::try_join;
use parking_lot::Mutex;
use tonic::{Code, transport::Channel};

use super::{
    Endpoints,
    generate::Generator,
    normal,
    operation::{Answer, Operation},
    readable::readable,
    wire::Refusal,
};

/// One of the two stores.
pub struct Side {
    /// What it is, for people.
    pub name: &'static str,
    channels: Vec<Channel>,
    /// Its revision when the comparison began.
    base: i64,
}

/// The two stores, and what was done to both since they began alike.
pub struct Pair {
    sides: [Side; 2],
    done: u64,
    tally: Mutex<BTreeMap<String, u64>>,
}

/// They answered differently.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// What they were asked.
    pub operation: Operation,
    /// What each said, normalised.
    pub answers: [String; 2],
}

impl Side {
    /// Connects to each node.
    pub async fn connect(name: &'static str, endpoints: &Endpoints) -> anyhow::Result<Self> {
        let mut channels = Vec::new();
        for node in (0..endpoints.urls.len()).cycle().take(CONNECTIONS) {
            channels.push(endpoints.channel(node).await?);
        }
        Ok(Self {
            name,
            channels,
            base: 0,
        })
    }

    /// Asks over the connection of this number; the answer is normalised.
    async fn ask(&self, operation: &Operation, number: u64) -> Result<Answer, Refusal> {
        let place = usize::try_from(number).unwrap_or(0) % self.channels.len();
        let answer = operation.send(&self.channels[place], self.base).await?;
        if let (Operation::Grant(asked), Answer::Grant(granted)) = (operation, &answer)
            && asked.id == 0
        {
            // The two chose different ids, by which nobody could ask both.
            let id = granted.id;
            let revocation = Operation::Revoke(PbLeaseRevokeRequest { id });
            revocation.send(&self.channels[place], 0).await?;
        }
        Ok(normal::answer(operation, answer, self.base))
    }

    /// Empties it: no key, no lease, and nothing to be read from before.
    async fn reset(&mut self) -> anyhow::Result<()> {
        self.base = 0;
        let first = &self.channels[0];
        let send = async |operation: Operation| {
            let answer = operation.send(first, 0).await;
            answer.map_err(|refusal| anyhow::anyhow!("{}: {refusal:?}", self.name))
        };
        let Answer::Leases(leases) = send(Operation::Leases(PbLeaseLeasesRequest {})).await? else {
            unreachable!("each operation has its own answer")
        };
        for lease in leases.leases {
            send(Operation::Revoke(PbLeaseRevokeRequest { id: lease.id })).await?;
        }
        // Revisions that are surely gone, for reads below the base.
        for _ in 0..3 {
            let key = b"reset".to_vec();
            send(Operation::Put(PbPutRequest {
                key,
                ..PbPutRequest::default()
            }))
            .await?;
        }
        let deleted = send(Operation::Delete(PbDeleteRequest {
            key: vec![0],
            range_end: vec![0],
            prev_kv: false,
        }))
        .await?;
        let Answer::Delete(deleted) = deleted else {
            unreachable!("each operation has its own answer")
        };
        let revision = deleted.header.context("an answer with a header")?.revision;
        send(Operation::Compact(PbCompactionRequest {
            revision,
            physical: true,
        }))
        .await?;
        self.base = revision;
        Ok(())
    }

    /// Waits until each node has applied all that was done.
    async fn catch_up(&self) -> Result<(), Refusal> {
        let linearizable = Operation::Range(PbRangeRequest {
            key: b"reset".to_vec(),
            count_only: true,
            ..PbRangeRequest::default()
        });
        for channel in &self.channels {
            linearizable.send(channel, self.base).await?;
        }
        Ok(())
    }
}

impl Pair {
    /// Of two stores that serve nobody else.
    pub async fn new(left: Side, right: Side) -> anyhow::Result<Self> {
        let mut pair = Self {
            sides: [left, right],
            done: 0,
            tally: Mutex::default(),
        };
        pair.reset().await?;
        Ok(pair)
    }

    /// Does `count` random operations to both, from the same beginning. The error says what was
    /// answered differently or not at all, and which few operations lead there.
    pub async fn compare(&mut self, seed: u64, count: usize) -> anyhow::Result<()> {
        self.reset().await?;
        let mut generator = Generator::new(seed);
        let mut course: Vec<Operation> = Vec::new();
        let mut now = 0;
        while course.len() < count {
            let burst = generator.burst(now);
            course.extend(burst.iter().cloned());
            match self.play(&burst).await {
                Ok(revision) => now = now.max(revision),
                Err(mismatch) => return Err(self.report(seed, &course, mismatch).await),
            }
        }
        Ok(())
    }

    /// Empties both; gives their revisions, which count as 0 from now on.
    pub async fn begin_anew(&mut self) -> anyhow::Result<[i64; 2]> {
        self.reset().await?;
        Ok([self.sides[0].base, self.sides[1].base])
    }

    /// Changes both, and returns the newest revision, relative.
    pub async fn change(&mut self, operations: &[Operation]) -> anyhow::Result<i64> {
        let played = self.play(operations).await;
        played.map_err(|mismatch| anyhow::anyhow!("answered differently: {mismatch:?}"))
    }

    /// Compacts both.
    pub async fn compact(&mut self, revision: i64) -> anyhow::Result<()> {
        let physical = true;
        let compaction = Operation::Compact(PbCompactionRequest { revision, physical });
        self.change(&[compaction]).await.map(|_| ())
    }

    /// How often each kind of operation had each outcome, so far.
    pub fn tally(&self) -> BTreeMap<String, u64> {
        self.tally.lock().clone()
    }

    async fn reset(&mut self) -> anyhow::Result<()> {
        let [left, right] = &mut self.sides;
        try_join(left.reset(), right.reset()).await?;
        self.done = 0;
        Ok(())
    }

    /// Does some operations to both; returns the newest revision that an answer told, relative.
    async fn play(&mut self, operations: &[Operation]) -> Result<i64, Mismatch> {
        let mut now = 0;
        for chunk in operations.chunk_by(|one, next| one.reads() && next.reads()) {
            if chunk.iter().any(Operation::is_local) {
                let [left, right] = &self.sides;
                // Or a serializable read would see whatever its node has just then.
                let _ = futures::join!(left.catch_up(), right.catch_up());
            }
            let begin = self.done;
            let asked = chunk
                .iter()
                .zip(begin..)
                .map(|(operation, number)| self.ask(operation, number));
            for revision in futures::future::join_all(asked).await {
                now = now.max(revision?);
            }
            self.done += chunk.len() as u64;
        }
        Ok(now)
    }

    async fn ask(&self, operation: &Operation, number: u64) -> Result<i64, Mismatch> {
        let [left, right] = &self.sides;
        let (left, right) =
            futures::join!(left.ask(operation, number), right.ask(operation, number));
        let silent = |answer: &Result<Answer, Refusal>| matches!(answer, Err(it) if [Code::Unavailable, Code::Unknown].contains(&it.code));
        // Nobody was broken off or killed here: a store that does not answer has failed.
        if left != right || silent(&left) {
            return Err(Mismatch {
                operation: operation.clone(),
                answers: [readable(&left), readable(&right)],
            });
        }
        let outcome = match &left {
            Ok(_) => format!("{}: done", operation.name()),
            Err(refusal) => format!("{}: {:?}, {}", operation.name(), refusal.code, refusal.text),
        };
        *self.tally.lock().entry(outcome).or_default() += 1;
        Ok(left.map_or(0, |answer| answer.revision()))
    }

    /// Looks for a short course that differs too, and tells all.
    async fn report(
        &mut self,
        seed: u64,
        course: &[Operation],
        mismatch: Mismatch,
    ) -> anyhow::Error {
        let shrunk = self.shrink(course).await;
        let names = [self.sides[0].name, self.sides[1].name];
        let mut text = format!(
            "seed {seed}: after {} operations the answers to\n  {}\ndiffer:\n  {}: {}\n  {}: {}\n",
            course.len(),
            readable(&mismatch.operation),
            names[0],
            mismatch.answers[0],
            names[1],
            mismatch.answers[1],
        );
        match shrunk {
            Ok(shrunk) => text += &format!("a short way to a difference:\n{shrunk}"),
            Err(error) => text += &format!("no shorter way was found: {error:#}"),
        }
        anyhow::Error::msg(text)
    }

    /// First a short end of the course that still differs, then without what is not needed.
    async fn shrink(&mut self, course: &[Operation]) -> anyhow::Result<Shrunk> {
        let deadline = Instant::now() + SHRINKING;
        let mut found = None;
        for length in [8, 32, 128, 512, 2048, 8192, usize::MAX] {
            let tail = &course[course.len().saturating_sub(length)..];
            found = self.differs(tail).await?;
            if found.is_some() || length >= course.len() || Instant::now() > deadline {
                break;
            }
        }
        let mut shrunk = found.context("it does not differ when it is repeated")?;
        // Reads do no more than show it, mostly.
        let (last, before) = shrunk.course.split_last().context("something differs")?;
        let changes = before.iter().filter(|operation| !operation.reads());
        let course: Vec<Operation> = changes.chain([last]).cloned().collect();
        if let Some(shorter) = self.differs(&course).await? {
            shrunk = shorter;
        }
        let mut chunk = shrunk.course.len() / 2;
        while chunk > 0 {
            let mut at = 0;
            while at < shrunk.course.len() {
                if Instant::now() > deadline {
                    return Ok(shrunk);
                }
                let mut without = shrunk.course.clone();
                without.drain(at..(at + chunk).min(without.len()));
                match self.differs(&without).await? {
                    Some(shorter) => shrunk = shorter,
                    None => at += chunk,
                }
            }
            chunk /= 2;
        }
        Ok(shrunk)
    }

    /// Plays a course from the beginning, one operation at a time, up to the first difference.
    async fn differs(&mut self, course: &[Operation]) -> anyhow::Result<Option<Shrunk>> {
        self.reset().await?;
        for (place, operation) in course.iter().enumerate() {
            if let Err(mismatch) = self.play(std::slice::from_ref(operation)).await {
                let course = course[..=place].to_vec();
                return Ok(Some(Shrunk { course, mismatch }));
            }
        }
        Ok(None)
    }
}

impl Answer {
    /// The revision of its header.
    fn revision(&self) -> i64 {
        let header = match self {
            Self::Range(it) => &it.header,
            Self::Put(it) => &it.header,
            Self::Delete(it) => &it.header,
            Self::Txn(it) => &it.header,
            Self::Compact(it) => &it.header,
            Self::Grant(it) => &it.header,
            Self::Revoke(it) => &it.header,
            Self::KeepAlive(it) => &it.header,
            Self::TimeToLive(it) => &it.header,
            Self::Leases(it) => &it.header,
        };
        header.as_ref().map_or(0, |header| header.revision)
    }
}

/// A short course, and how it ends.
struct Shrunk {
    course: Vec<Operation>,
    mismatch: Mismatch,
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.course.len().saturating_sub(SHOWN);
        if hidden > 0 {
            writeln!(f, "  ({hidden} operations before)")?;
        }
        for operation in &self.course[hidden..] {
            writeln!(f, "  {}", readable(operation))?;
        }
        let [left, right] = &self.mismatch.answers;
        write!(f, "where they say\n  {left}\n  {right}")
    }
}

/// Of each side, spread over its nodes.
const CONNECTIONS: usize = 6;
const SHOWN: usize = 40;
const SHRINKING: Duration = Duration::from_secs(30);
