//! `Secrets`: sealed here, before anything is proposed, and opened here, for one caller.
//!
//! Consensus, the log, archives and the other nodes see ciphertext. A put is sealed for the version
//! that it will make and for the newest epoch; `apply` refuses it if either moved on meanwhile, and
//! it is sealed again. A reveal is recorded in the audit log before it is answered.

use std::{sync::Arc, time::Instant};

use holdfast_core::{Located, State, VersionId};
use holdfast_proto::{
    Key, KeyRange, Revision, Value,
    log::v1::{self as log, command::Body, reply},
    v1::{self, secrets_server::Secrets},
};
use holdfast_seal::{SecretBytes, envelope};
use tonic::{Request, Response, Status};

use crate::{
    access::Permit,
    audit::Entry,
    caller::Caller,
    convert, deadline,
    envelopes::{self, OPENS_SOON},
    host::{Host, Proposal},
    keyring::pause,
    kv::past,
    status::{Reason, invalid},
};

/// Serves `Secrets`.
pub(crate) struct SecretsService {
    host: Arc<Host>,
}

impl SecretsService {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self { host }
    }
}

#[tonic::async_trait]
impl Secrets for SecretsService {
    async fn put(
        &self,
        request: Request<v1::SecretPutRequest>,
    ) -> Result<Response<v1::SecretPutResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let author = caller.author().to_string();
        let mut request = request.into_inner();
        let plaintext = SecretBytes::new(std::mem::take(&mut request.plaintext).to_vec());
        if plaintext.len() > envelope::MAX_PLAINTEXT {
            return Err(Reason::TooLarge.status(format!(
                "the secret has {} bytes; at most {} are allowed",
                plaintext.len(),
                envelope::MAX_PLAINTEXT
            )));
        }
        let key = convert::key(request.key.clone())?;
        let check = |state: &State, permit: &Permit| {
            permit.write(key.as_bytes())?;
            permit.use_lease(state, request.lease)
        };
        self.host.permit(&caller, deadline, check).await?;
        let patience = deadline.min(Instant::now() + OPENS_SOON);
        let mut is_fresh = false;
        loop {
            let state = self.host.replica.store().view();
            let sealed = match envelopes::seal(&self.host.keys, &state, &key, &plaintext) {
                Ok(sealed) => sealed,
                Err(status) if Reason::KeyringClosed.is_of(&status) => {
                    pause(patience, status).await?;
                    continue;
                }
                // The shares may have been shown to work at another node, a moment ago.
                Err(status) if Reason::NoKeyring.is_of(&status) && !is_fresh => {
                    self.host.barrier(deadline).await?;
                    is_fresh = true;
                    continue;
                }
                Err(status) => return Err(status),
            };
            drop(state);
            let version = sealed.seal.as_ref().map_or(0, |seal| seal.version);
            let put = log::Put {
                put: Some(v1::PutOperation {
                    lease: request.lease,
                    ..sealed
                }),
                expected: request.expected,
            };
            let proposal = Proposal {
                request: request.request.clone(),
                author: author.clone(),
                note: request.note.clone(),
                body: Body::Put(put),
            };
            match self.host.propose(proposal, deadline).await {
                Ok(reply) => {
                    let revision = reply.into_wire().revision;
                    // A repeat is answered with its first answer, which made another version.
                    let made = Revision::new(revision).and_then(|revision| {
                        self.host
                            .read(|state| state.sealed_version(key.as_bytes(), revision))
                    });
                    let version = made.map_or(version, |made| made.version);
                    return Ok(Response::new(v1::SecretPutResponse {
                        header: self.host.header(revision),
                        revision,
                        version,
                    }));
                }
                // Somebody else wrote the key, or a new epoch began, since it was sealed.
                Err(status) if Reason::Reseal.is_of(&status) => {
                    pause(deadline, status).await?;
                    self.host.barrier(deadline).await?;
                }
                Err(status) => return Err(status),
            }
        }
    }

    async fn reveal(
        &self,
        request: Request<v1::RevealRequest>,
    ) -> Result<Response<v1::RevealResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let act = Entry::by_caller(request.extensions(), REVEAL);
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let key = convert::key(request.key)?;
        self.host.freshen(request.consistency, deadline).await?;
        let decide = || {
            let permit = caller.permit_now(&self.host);
            permit.reveal(key.as_bytes(), &request.reason)
        };
        let rule = match decide() {
            Ok(rule) => rule,
            // As [`Host::permit`]: who lags refuses nobody.
            Err(_) => {
                self.host.barrier(deadline).await?;
                decide()?
            }
        };
        let (id, mut entry) = self.find(&key, request.revision)?;
        // Before anything is opened, and with the version that it is about.
        let act = act
            .target(id.key.to_bytes())
            .revision(id.revision.get())
            .allowed(rule)
            .reason(request.reason);
        self.host.audit.record(act).await?;
        let payload = self.payload(&id).await?;
        let patience = deadline.min(Instant::now() + OPENS_SOON);
        let plaintext = loop {
            match self.open(&id, entry.version, &payload) {
                // A rotation began a moment ago: the new epoch is opened in a moment.
                Err(status) if Reason::KeyringClosed.is_of(&status) => {
                    pause(patience, status).await?
                }
                done => break done?,
            }
        };
        entry.value = None;
        Ok(Response::new(v1::RevealResponse {
            header: self.host.header_now(),
            plaintext: plaintext.into_exposed().into(),
            entry: Some(entry),
        }))
    }

    async fn destroy(
        &self,
        request: Request<v1::SecretDestroyRequest>,
    ) -> Result<Response<v1::SecretDestroyResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let author = caller.author().to_string();
        let request = request.into_inner();
        let key = convert::key(request.key)?;
        let range = KeyRange::single(&key);
        let check = |_: &State, permit: &Permit| permit.delete(&range);
        self.host.permit(&caller, deadline, check).await?;
        let proposal = Proposal {
            request: request.request,
            author,
            note: request.note,
            body: Body::SecretDestroy(log::SecretDestroy {
                key: key.to_bytes(),
                revision: request.revision,
            }),
        };
        let reply = self.host.propose(proposal, deadline).await?.into_wire();
        let destroyed = match reply.body {
            Some(reply::Body::Delete(result)) => result.deleted,
            _ => {
                return Err(invalid(
                    "this request id was used before, for another kind of request",
                ));
            }
        };
        Ok(Response::new(v1::SecretDestroyResponse {
            header: self.host.header(reply.revision),
            destroyed,
        }))
    }
}

impl SecretsService {
    /// The version of a secret that was current at a revision; 0: the current one.
    fn find(&self, key: &Key, revision: u64) -> Result<(VersionId, v1::Entry), Status> {
        let state = self.host.replica.store().view();
        let missing = || {
            Reason::KeyMissing.status(match revision {
                0 => format!("there is no secret {key}; `kvctl secret list` shows what there is"),
                _ => format!("there was no secret {key} at revision {revision}, or it is not kept"),
            })
        };
        if revision > state.revision() {
            return Err(Reason::FutureRevision.status(format!(
                "there is no revision {revision} yet; the newest is {}",
                state.revision()
            )));
        }
        let versions = state.history(key.as_bytes());
        let mut versions = versions.into_iter();
        let meta = versions
            .find(|meta| revision == 0 || meta.revision.get() <= revision)
            .filter(|meta| meta.kind.is_some())
            .ok_or_else(missing)?;
        let id = VersionId {
            key: key.clone(),
            revision: meta.revision,
        };
        if state.sealed_version(key.as_bytes(), id.revision).is_none() {
            return Err(Reason::NotPossible
                .status(format!("{key} is not a secret; read it with `kvctl get`")));
        }
        Ok((id, meta.to_wire(key)))
    }

    fn open(&self, id: &VersionId, version: u64, payload: &[u8]) -> Result<SecretBytes, Status> {
        let state = self.host.replica.store().view();
        envelopes::open(&self.host.keys, &state, id, version, payload)
    }

    async fn payload(&self, id: &VersionId) -> Result<bytes::Bytes, Status> {
        let located = self.host.read(|state| state.locate(id));
        let value = match located {
            Some(Located::Here(entry)) => entry.value.clone(),
            Some(Located::Past(id)) => {
                let store = self.host.replica.store().clone();
                past::on_blocking_thread(move || past::value(&store, &id)).await?
            }
            None => {
                return Err(Reason::Compacted.status(format!(
                    "version {} of the secret is not kept any more",
                    id.revision
                )));
            }
        };
        match value {
            Value::Sealed(payload) => Ok(payload),
            _ => Err(invalid("this is no secret")),
        }
    }
}

const REVEAL: &str = "holdfast.v1.Secrets/Reveal";

// What may be sealed fits where it goes.
const _: () = assert!(
    envelope::payload_length(envelope::MAX_PLAINTEXT) <= holdfast_proto::limits::SEALED_BYTES
);
