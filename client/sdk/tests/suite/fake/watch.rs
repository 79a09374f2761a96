//! Watches over the shared log; large revisions come in two messages.

use futures::Stream;
use holdfast_proto::{KeyRange, v1};
use std::pin::Pin;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};
use v1::watch_response::Body;

use super::Context;

type Answers = mpsc::Sender<Result<v1::WatchResponse, Status>>;

#[async_trait]
impl v1::watch_server::Watch for Context {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<v1::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.misbehave_alone().await?;
        let mut asked = request.into_inner();
        let Some(v1::watch_request::Request::Create(create)) =
            asked.message().await?.and_then(|message| message.request)
        else {
            return Err(Status::invalid_argument("create first"));
        };
        let (answers, receiver) = mpsc::channel(64);
        let context = self.clone();
        tokio::spawn(async move { context.serve(create, asked, answers).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl Context {
    async fn serve(
        self,
        create: v1::WatchCreate,
        mut asked: Streaming<v1::WatchRequest>,
        answers: Answers,
    ) -> Option<()> {
        let range = KeyRange::from(create.range?);
        let mut changed = self.shared.changed.subscribe();
        let (newest, compacted) = {
            let world = self.shared.world();
            (world.revision, world.compacted)
        };
        let mut next = match (create.snapshot, create.from) {
            (true, _) | (_, 0) => newest + 1,
            (false, from) => from,
        };
        let created = Body::Created(v1::WatchCreated { from: next });
        self.send(&answers, created).await?;
        let too_old = next <= compacted;
        if too_old {
            let body = Body::Compacted(v1::WatchCompacted { compacted });
            self.send(&answers, body).await?;
        }
        if create.snapshot || too_old {
            next = self.snapshot(&range, &answers).await? + 1;
        }
        loop {
            next = self.deliver(&range, next, &answers).await?;
            tokio::select! {
                _ = changed.changed() => {}
                message = asked.message() => {
                    message.ok()??;
                    self.send(&answers, progress(next)).await?;
                }
                () = tokio::time::sleep(std::time::Duration::from_millis(200)) => {
                    self.misbehave_alone().await.ok()?;
                    self.send(&answers, progress(next)).await?;
                }
            }
        }
    }

    async fn snapshot(&self, range: &KeyRange, answers: &Answers) -> Option<u64> {
        let (revision, entries) = {
            let world = self.shared.world();
            let all = world.entries.values();
            let inside = all.filter(|entry| range.contains(&entry.key)).cloned();
            (world.revision, inside.collect::<Vec<_>>())
        };
        for entry in entries {
            let part = v1::WatchSnapshot {
                revision,
                entries: vec![entry],
                last: false,
            };
            self.send(answers, Body::Snapshot(part)).await?;
        }
        let last = v1::WatchSnapshot {
            revision,
            entries: Vec::new(),
            last: true,
        };
        self.send(answers, Body::Snapshot(last)).await?;
        Some(revision)
    }

    /// Sends the events from `next` on; returns what is next then.
    async fn deliver(&self, range: &KeyRange, next: u64, answers: &Answers) -> Option<u64> {
        let (newest, events) = {
            let world = self.shared.world();
            let new = world.log.iter().filter(|event| {
                let entry = event.entry.as_ref().unwrap();
                entry.modified >= next && range.contains(&entry.key)
            });
            (world.revision, new.cloned().collect::<Vec<_>>())
        };
        let count = events.len();
        for (place, event) in events.into_iter().enumerate() {
            let revision = event.entry.as_ref().unwrap().modified;
            // As a server does with what does not fit one message: half a revision first.
            let half = v1::WatchEvents {
                events: vec![event],
                revision: revision - 1,
            };
            self.send(answers, Body::Events(half)).await?;
            let whole = v1::WatchEvents {
                events: Vec::new(),
                revision: if place + 1 == count { newest } else { revision },
            };
            self.send(answers, Body::Events(whole)).await?;
        }
        Some(next.max(newest + 1))
    }

    async fn send(&self, answers: &Answers, body: Body) -> Option<()> {
        let response = v1::WatchResponse {
            header: self.header(),
            body: Some(body),
        };
        answers.send(Ok(response)).await.ok()
    }
}

fn progress(next: u64) -> Body {
    Body::Progress(v1::WatchProgress { revision: next - 1 })
}
