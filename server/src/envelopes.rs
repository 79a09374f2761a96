//! Versions of secrets, opened and sealed with what this node's keyring has open.
//!
//! What is sealed is for the version and the epoch that a state calls next; `apply` refuses it if
//! either moved on, and the caller seals again.

use std::time::Duration;

use holdfast_core::{Refusal, State, VersionId};
use holdfast_proto::{Key, Value, v1};
use holdfast_seal::{Context, Kind, OsRandom, SecretBytes, envelope};
use tonic::Status;

use crate::{
    keyring::Keys,
    status::{self, Reason, invalid},
};

/// A new epoch opens within a moment. A node that does not open it sends its callers on.
pub(crate) const OPENS_SOON: Duration = Duration::from_secs(1);

/// The put that makes `plaintext` the next version of a key.
pub(crate) fn seal(
    keys: &Keys,
    state: &State,
    key: &Key,
    plaintext: &SecretBytes,
) -> Result<v1::PutOperation, Status> {
    state
        .check_keyring()
        .map_err(|refusal: Refusal| status::refused(&refusal))?;
    let keyring = keys.opened(state)?;
    let version = state
        .get(key.as_bytes())
        .map_or(1, |entry| entry.meta.version + 1);
    let newest = keyring.newest();
    let sealed = envelope::seal(
        &mut OsRandom,
        newest,
        &context(key, version),
        plaintext.expose(),
    )
    .map_err(invalid)?;
    Ok(v1::PutOperation {
        key: key.to_bytes(),
        value: Some(Value::Sealed(sealed.payload.into()).into()),
        seal: Some(v1::Seal {
            version,
            epoch: newest.epoch().number(),
            wrap: sealed.wrap.into(),
        }),
        ..v1::PutOperation::default()
    })
}

/// The plaintext of one version.
pub(crate) fn open(
    keys: &Keys,
    state: &State,
    id: &VersionId,
    version: u64,
    payload: &[u8],
) -> Result<SecretBytes, Status> {
    let keyring = keys.opened(state)?;
    let wrap = state.wrap(id.key.as_bytes(), id.revision).ok_or_else(|| {
        Reason::Destroyed.status(format!(
            "version {} of {} was destroyed: its data key is gone, and nothing opens it",
            id.revision, id.key
        ))
    })?;
    envelope::open(&keyring, &context(&id.key, version), payload, &wrap.wrap).map_err(|error| {
        tracing::error!(version = %id, %error, "a secret does not open");
        Reason::SecretDamaged.status(format!(
            "version {} of {} does not open: {error}",
            id.revision, id.key
        ))
    })
}

fn context(key: &Key, version: u64) -> Context<'_> {
    Context {
        key: key.as_bytes(),
        version,
        kind: Kind::Secret,
    }
}
