//! Secrets that are not sealed at all, and a keyring that only counts.

use bytes::Bytes;
use holdfast_proto::v1;
use tonic::{Request, Response, Status, async_trait};

use super::{Context, Manner, absent, refusal};

#[async_trait]
impl v1::secrets_server::Secrets for Context {
    async fn put(
        &self,
        request: Request<v1::SecretPutRequest>,
    ) -> Result<Response<v1::SecretPutResponse>, Status> {
        let request = request.into_inner();
        let id = request.request.unwrap();
        self.shared.world().arrivals.push((self.id, id.clone()));
        self.misbehave().await?;
        let done = {
            let mut world = self.shared.world();
            let name = (id.session.clone(), id.sequence);
            match world.answers.get(&name) {
                Some(answer) => *answer,
                None => {
                    let found = world.entries.get(&request.key).map_or(0, |e| e.modified);
                    let answer = match request.expected {
                        Some(expected) if expected != found => Err(found),
                        _ => Ok(world.put(request.key.clone(), Some(sealed()))),
                    };
                    if let Ok(revision) = answer {
                        let place = (request.key.clone(), revision);
                        world.plaintexts.insert(place, request.plaintext);
                    }
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
            Ok(revision) => Ok(Response::new(v1::SecretPutResponse {
                header: self.header(),
                revision,
                version: self.shared.world().entries[&request.key].version,
            })),
            Err(found) => {
                let status = Status::failed_precondition("the key has moved on");
                let mut status = refusal(status, "conflict");
                status.metadata_mut().insert("holdfast-found", found.into());
                Err(status)
            }
        }
    }

    async fn reveal(
        &self,
        request: Request<v1::RevealRequest>,
    ) -> Result<Response<v1::RevealResponse>, Status> {
        let request = request.into_inner();
        self.misbehave().await?;
        while self.shared.world().reveals_hang {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let header = self.header();
        let mut world = self.shared.world();
        if world.denies {
            let status = Status::permission_denied("no rule allows it");
            return Err(refusal(status, "not_allowed"));
        }
        if world.wants_reason && request.reason.is_empty() {
            let status = Status::failed_precondition("the policy wants a reason");
            return Err(refusal(status, "reason_required"));
        }
        let entry = world.entries.get(&request.key).cloned();
        let revision = match (request.revision, &entry) {
            (0, Some(entry)) => entry.modified,
            (revision, _) => revision,
        };
        let place = (request.key.clone(), revision);
        let (Some(plaintext), Some(entry)) = (world.plaintexts.get(&place).cloned(), entry) else {
            let status = Status::not_found("there is no such secret");
            return Err(refusal(status, "key_missing"));
        };
        world.reveals.push((request.key, revision, request.reason));
        Ok(Response::new(v1::RevealResponse {
            header,
            plaintext,
            entry: Some(v1::Entry {
                modified: revision,
                ..entry
            }),
        }))
    }

    async fn destroy(
        &self,
        request: Request<v1::SecretDestroyRequest>,
    ) -> Result<Response<v1::SecretDestroyResponse>, Status> {
        self.misbehave().await?;
        let request = request.into_inner();
        let destroyed = {
            let mut world = self.shared.world();
            let before = world.plaintexts.len();
            world.plaintexts.retain(|(key, revision), _| {
                *key != request.key || (request.revision != 0 && *revision != request.revision)
            });
            if request.revision == 0 {
                world.delete(&request.key);
            }
            (before - world.plaintexts.len()) as u64
        };
        self.shared.changed.send_modify(|_| {});
        Ok(Response::new(v1::SecretDestroyResponse {
            header: self.header(),
            destroyed,
        }))
    }
}

#[async_trait]
impl v1::keyring_server::Keyring for Context {
    async fn status(
        &self,
        _: Request<v1::KeyringStatusRequest>,
    ) -> Result<Response<v1::KeyringStatusResponse>, Status> {
        self.misbehave().await?;
        let header = self.header();
        let mut world = self.shared.world();
        let secrets = world.plaintexts.len() as u64;
        let rewrapped = secrets.saturating_sub(world.unwrapped);
        if !world.stalled {
            world.unwrapped = world.unwrapped.saturating_sub(1);
        }
        Ok(Response::new(v1::KeyringStatusResponse {
            secrets,
            rewrapped,
            header,
            epoch: world.epochs.len() as u64,
            epochs: world.epochs.clone(),
            recovery: world.recovery.clone(),
            ..v1::KeyringStatusResponse::default()
        }))
    }

    async fn init_recovery(
        &self,
        request: Request<v1::InitRecoveryRequest>,
    ) -> Result<Response<v1::InitRecoveryResponse>, Status> {
        self.misbehave().await?;
        let request = request.into_inner();
        let mut world = self.shared.world();
        let found = world.recovery.as_ref().map(|recovery| recovery.set.clone());
        if found != request.replaces {
            let status = Status::failed_precondition("there is another set of shares");
            return Err(refusal(status, "conflict"));
        }
        world.recovery = Some(v1::Recovery {
            set: request.set,
            public_key: request.public_key,
            shares: request.shares,
            threshold: request.threshold,
            at_ms: 1,
            ..v1::Recovery::default()
        });
        let epoch = world.begin_epoch("recovery");
        drop(world);
        Ok(Response::new(v1::InitRecoveryResponse {
            header: self.header(),
            epoch,
        }))
    }

    async fn challenge_recovery(
        &self,
        _: Request<v1::ChallengeRecoveryRequest>,
    ) -> Result<Response<v1::ChallengeRecoveryResponse>, Status> {
        let header = self.header();
        let world = self.shared.world();
        match world.challenge.clone() {
            None => absent(),
            Some(challenge) => Ok(Response::new(v1::ChallengeRecoveryResponse {
                header,
                recovery: world.recovery.clone(),
                ..challenge
            })),
        }
    }

    async fn verify_recovery(
        &self,
        request: Request<v1::VerifyRecoveryRequest>,
    ) -> Result<Response<v1::VerifyRecoveryResponse>, Status> {
        self.misbehave().await?;
        let request = request.into_inner();
        {
            let mut world = self.shared.world();
            let challenge = world.challenge.clone().unwrap_or_default();
            if (request.challenge, request.proof) != (challenge.challenge, world.proof.clone()) {
                let status = Status::failed_precondition("the proof is wrong");
                return Err(refusal(status, "invalid"));
            }
            if let Some(recovery) = &mut world.recovery {
                recovery.verified_at_ms = 2;
            }
        }
        Ok(Response::new(v1::VerifyRecoveryResponse {
            header: self.header(),
        }))
    }

    async fn rotate(
        &self,
        request: Request<v1::RotateRequest>,
    ) -> Result<Response<v1::RotateResponse>, Status> {
        let request = request.into_inner();
        let id = request.request.unwrap();
        self.misbehave().await?;
        let epoch = {
            let mut world = self.shared.world();
            let name = (id.session, id.sequence);
            match world.answers.get(&name) {
                Some(answer) => answer.unwrap(),
                None => {
                    let epoch = world.begin_epoch(&request.reason);
                    world.answers.insert(name, Ok(epoch));
                    epoch
                }
            }
        };
        if self.manner() == Manner::Forgetful {
            return Err(Status::unavailable("the connection broke"));
        }
        Ok(Response::new(v1::RotateResponse {
            header: self.header(),
            epoch,
        }))
    }
}

/// With a payload, which a server never sends: a client must not show it all the same.
fn sealed() -> v1::Value {
    let payload = Bytes::from_static(b"payload");
    let sealed = v1::value::Kind::Sealed(v1::Sealed { payload });
    v1::Value { kind: Some(sealed) }
}
