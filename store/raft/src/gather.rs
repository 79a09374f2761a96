//! Proposals of a leader, gathered while the batch before them is on its way.
//!
//! Each proposal by itself would cost a write and a sync on each node and a message to each follower.
//! Consensus gathers what reaches it in the same moment, which is little while the machine is busy
//! with clients. So a batch waits until the one before it is applied, and then a few times until
//! whatever else is ready has run: those who were answered ask again. A lone proposal waits for
//! nothing, and the busier the leader is, the more of them share the cost.

use std::time::Duration;

use tokio::{sync::mpsc, time::timeout};

use crate::{
    batch::top_up,
    record::Record,
    types::{Responder, WriteResult},
};

/// Most proposals in a batch.
const BATCH: usize = 512;
/// How often a batch lets others run first, that they may join it.
const TURNS: usize = 4;
/// Longest wait for the batch before. Without a quorum it may never be applied, and then what waits
/// behind it must reach the log all the same, as it would have by itself.
const PATIENCE: Duration = Duration::from_millis(50);

/// Takes proposals for the next batch.
#[derive(Clone)]
pub(crate) struct Gather(mpsc::UnboundedSender<Proposal>);

struct Proposal {
    record: Record,
    /// Answers without a result when it is dropped.
    responder: Responder<WriteResult>,
}

impl Gather {
    /// The handle, and the task that somebody must run. `propose` hands one to consensus.
    pub(crate) fn new<P, F>(propose: P) -> (Self, impl Future<Output = ()> + Send)
    where
        P: Fn(Record, Responder<WriteResult>) -> F + Send,
        F: Future<Output = ()> + Send,
    {
        let (proposals, queue) = mpsc::unbounded_channel();
        (Self(proposals), run(propose, queue))
    }

    /// Adds one to the next batch. `answer` is called exactly once: with nothing if consensus, or the
    /// task, went away without a result.
    pub(crate) fn add(
        &self,
        record: Record,
        answer: impl FnOnce(Option<WriteResult>) + Send + 'static,
    ) {
        let proposal = Proposal {
            record,
            responder: Responder::new(answer),
        };
        // A task that has ended drops the responder.
        drop(self.0.send(proposal));
    }
}

async fn run<P, F>(propose: P, mut queue: mpsc::UnboundedReceiver<Proposal>)
where
    P: Fn(Record, Responder<WriteResult>) -> F + Send,
    F: Future<Output = ()> + Send,
{
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        top_up(&mut batch, &mut queue, BATCH, TURNS).await;
        let last = batch.pop();
        for Proposal { record, responder } in batch.drain(..) {
            propose(record, responder).await;
        }
        if let Some(Proposal { record, responder }) = last {
            // They end in the order of the log, so the last one's end is the batch's.
            let (responder, ended) = responder.watched();
            propose(record, responder).await;
            // Ended or not: the next batch goes.
            drop(timeout(PATIENCE, ended).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use openraft::raft::responder::Responder as _;
    use parking_lot::Mutex;
    use tokio::{sync::oneshot, time::Instant};

    use super::*;
    use crate::types::ClientWriteError;

    /// What reached consensus and has no result yet.
    #[derive(Clone, Default)]
    struct Consensus(Arc<Mutex<Vec<Responder<WriteResult>>>>);

    impl Consensus {
        fn gather(&self) -> Gather {
            let taken = self.0.clone();
            let (gather, task) = Gather::new(move |_, responder| {
                taken.lock().push(responder);
                std::future::ready(())
            });
            tokio::spawn(task);
            gather
        }

        /// Lets the task run as far as it can without time passing.
        async fn waiting(&self) -> usize {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            self.0.lock().len()
        }

        fn refuse_all(&self) {
            for responder in std::mem::take(&mut *self.0.lock()) {
                responder.on_complete(Err(ClientWriteError::ForwardToLeader(
                    openraft::errors::ForwardToLeader::empty(),
                )));
            }
        }
    }

    fn record() -> Record {
        Record::stamp(1, &Bytes::from_static(b"command"))
    }

    #[tokio::test(start_paused = true)]
    async fn what_arrives_while_a_batch_is_on_its_way_goes_together_after_it() {
        let consensus = Consensus::default();
        let gather = consensus.gather();
        gather.add(record(), |_| ());
        assert_eq!(consensus.waiting().await, 1, "a lone one waits for nothing");
        for _ in 0..5 {
            gather.add(record(), |_| ());
            assert_eq!(consensus.waiting().await, 1);
        }
        consensus.refuse_all();
        assert_eq!(consensus.waiting().await, 5);
    }

    #[tokio::test]
    async fn those_about_to_propose_join_the_first() {
        let consensus = Consensus::default();
        let gather = consensus.gather();
        gather.add(record(), |_| ());
        for _ in 0..3 {
            let gather = gather.clone();
            // Runs when the others let it.
            tokio::spawn(async move { gather.add(record(), |_| ()) });
        }
        assert_eq!(consensus.waiting().await, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_does_not_end_holds_up_the_next_for_a_moment_only() {
        let consensus = Consensus::default();
        let gather = consensus.gather();
        let began = Instant::now();
        for most in 1..=3 {
            gather.add(record(), |_| ());
            while consensus.waiting().await < most {
                tokio::time::sleep(Duration::from_millis(1)).await;
                assert!(began.elapsed() < 10 * PATIENCE, "{most} never came");
            }
        }
        let took = began.elapsed();
        assert!(took >= 2 * PATIENCE && took < 3 * PATIENCE, "{took:?}");
    }

    #[tokio::test]
    async fn each_is_answered_once_also_when_nobody_proposes_any_more() {
        let consensus = Consensus::default();
        let gather = consensus.gather();
        let (told, answer) = oneshot::channel();
        gather.add(record(), |result| told.send(result.is_some()).unwrap());
        assert_eq!(consensus.waiting().await, 1);
        consensus.refuse_all();
        assert!(answer.await.unwrap(), "with its result");

        let (gather, task) = Gather::new(|_, _| std::future::ready(()));
        let (told, waiting) = oneshot::channel();
        gather.add(record(), |result| told.send(result.is_none()).unwrap());
        drop(task);
        assert!(waiting.await.unwrap(), "with nothing");
        let (told, late) = oneshot::channel();
        gather.add(record(), |result| told.send(result.is_none()).unwrap());
        assert!(late.await.unwrap(), "with nothing");
    }
}
