//! Puts with dedupe, and ranges.

use holdfast_proto::{KeyRange, v1};
use tonic::{Request, Response, Status, async_trait};

use super::{Context, Manner, absent, refusal};

#[async_trait]
impl v1::kv_server::Kv for Context {
    async fn range(
        &self,
        request: Request<v1::RangeRequest>,
    ) -> Result<Response<v1::RangeResponse>, Status> {
        let request = request.into_inner();
        if request.consistency() == v1::Consistency::Local {
            self.misbehave_alone().await?;
        } else {
            self.shared.world().reads.push(self.id);
            self.misbehave().await?;
        }
        let range = KeyRange::from(request.range.unwrap());
        let header = self.header();
        let world = self.shared.world();
        let all: Vec<_> = world
            .entries
            .values()
            .filter(|entry| range.contains(&entry.key))
            .cloned()
            .collect();
        let limit = match request.limit {
            0 => 2,
            limit => limit as usize,
        };
        let revision = match request.revision {
            0 => world.revision,
            old => old,
        };
        Ok(Response::new(v1::RangeResponse {
            header,
            more: all.len() > limit,
            next_key: all
                .get(limit)
                .map(|entry| entry.key.clone())
                .unwrap_or_default(),
            count: all.len() as u64,
            entries: if request.count_only {
                Vec::new()
            } else {
                all.into_iter().take(limit).collect()
            },
            revision,
        }))
    }

    async fn put(
        &self,
        request: Request<v1::PutRequest>,
    ) -> Result<Response<v1::PutResponse>, Status> {
        let request = request.into_inner();
        let id = request.request.unwrap();
        self.shared.world().arrivals.push((self.id, id.clone()));
        self.misbehave().await?;
        let done = {
            let mut world = self.shared.world();
            let there = world.entries.get(&request.key);
            if !request.replace_secret && there.is_some_and(is_secret) {
                let status = Status::failed_precondition("the key is a secret");
                return Err(refusal(status, "is_secret"));
            }
            let name = (id.session.clone(), id.sequence);
            match world.answers.get(&name) {
                Some(answer) => *answer,
                None => {
                    let found = world.entries.get(&request.key).map_or(0, |e| e.modified);
                    let answer = match request.expected {
                        Some(expected) if expected != found => Err(found),
                        _ => Ok(world.put(request.key, request.value)),
                    };
                    world.answers.insert(name, answer);
                    answer
                }
            }
        };
        if let Ok(revision) = done {
            self.shared.changed.send_replace(revision);
        }
        if self.manner() == Manner::Forgetful {
            return Err(Status::unavailable("the connection broke"));
        }
        match done {
            Ok(revision) => Ok(Response::new(v1::PutResponse {
                header: self.header(),
                revision,
                previous: None,
            })),
            Err(found) => {
                let status = Status::failed_precondition("the key has moved on");
                let mut status = refusal(status, "conflict");
                status.metadata_mut().insert("holdfast-found", found.into());
                Err(status)
            }
        }
    }

    async fn delete(
        &self,
        _: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        absent()
    }

    async fn transact(
        &self,
        _: Request<v1::TransactRequest>,
    ) -> Result<Response<v1::TransactResponse>, Status> {
        absent()
    }

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        self.misbehave().await?;
        let key = request.into_inner().key;
        let header = self.header();
        let world = self.shared.world();
        let versions = world.log.iter().rev().filter_map(|event| {
            let entry = event.entry.clone().filter(|entry| entry.key == key)?;
            Some(v1::Version {
                entry: Some(entry),
                deleted: event.r#type() == v1::event::Type::Delete,
                digest: "digest".into(),
            })
        });
        Ok(Response::new(v1::HistoryResponse {
            header,
            versions: versions.collect(),
            more: false,
        }))
    }

    async fn diff(
        &self,
        _: Request<v1::DiffRequest>,
    ) -> Result<Response<v1::DiffResponse>, Status> {
        absent()
    }

    async fn rollback(
        &self,
        _: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackResponse>, Status> {
        absent()
    }

    async fn compact(
        &self,
        _: Request<v1::CompactRequest>,
    ) -> Result<Response<v1::CompactResponse>, Status> {
        absent()
    }

    async fn set_retention(
        &self,
        _: Request<v1::SetRetentionRequest>,
    ) -> Result<Response<v1::SetRetentionResponse>, Status> {
        absent()
    }
}

fn is_secret(entry: &v1::Entry) -> bool {
    let kind = entry.value.as_ref().and_then(|value| value.kind.as_ref());
    matches!(kind, Some(v1::value::Kind::Sealed(_)))
}
