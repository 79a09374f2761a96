//! Secrets: sealed by the server that takes them, opened on demand, wiped when they are let go of.
//!
//! A read, a watch or a [`Mirror`](crate::Mirror) tells that there is a secret, of which version and
//! by whom. Its plaintext comes from [`SecretsClient::reveal`] alone, which the servers record; or
//! from a mirror that was told to keep it.
//!
//! What is wiped: every [`Secret`], with the request that carried it and the answer that brought
//! it. What is not: the buffers of the transport underneath, which are freed as they are.

mod opened;
mod recipe;

use std::{fmt, time::Duration};

use bytes::Bytes;
use holdfast_proto::{Key, LeaseId, Revision, limits, v1};
use zeroize::Zeroize as _;

pub(crate) use opened::SECRET;
pub use opened::{Secret, SecretError};
pub use recipe::{Alphabet, Recipe, RecipeError};

use crate::{
    Client, Consistency, DestroyOptions, Entry, Origin, ReadError, RevealOptions, SecretPutOptions,
    WriteError,
    entry::Unreadable,
    read,
    write::{self, conflict_or},
};

/// What is done with secrets. From [`Client::secrets`].
#[derive(Clone, Debug)]
pub struct SecretsClient {
    client: Client,
}

/// A secret that was opened, with where it comes from.
#[derive(Debug)]
pub struct Revealed {
    /// The plaintext.
    pub secret: Secret,
    /// The version that was opened; its value is empty.
    pub entry: Entry,
    /// The store's revision when it was opened.
    pub revision: u64,
    /// Where it comes from.
    pub origin: Origin,
    /// How long ago it was known to be current, at most: the time the call took.
    pub age: Duration,
}

/// A put of a secret that went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretWritten {
    /// The revision it made.
    pub revision: Revision,
    /// The version it is of its key.
    pub version: u64,
}

impl Client {
    /// What is done with secrets.
    pub fn secrets(&self) -> SecretsClient {
        SecretsClient {
            client: self.clone(),
        }
    }
}

impl SecretsClient {
    /// Puts a secret, whatever is there.
    pub async fn put<K>(
        &self,
        key: K,
        secret: impl Into<Secret>,
    ) -> Result<SecretWritten, WriteError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        self.put_with(key, secret, SecretPutOptions::default())
            .await
    }

    /// Puts a secret: only if the expected version is there, under a lease, with a note.
    pub async fn put_with<K>(
        &self,
        key: K,
        secret: impl Into<Secret>,
        options: SecretPutOptions,
    ) -> Result<SecretWritten, WriteError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        let key = write::parse_key(key)?;
        let secret = secret.into();
        let size = secret.expose().len();
        if size > limits::VALUE_BYTES {
            return Err(WriteError::Invalid {
                message: format!(
                    "the secret has {size} bytes; at most {} are allowed",
                    limits::VALUE_BYTES
                ),
            });
        }
        let write = self.client.begin_write();
        let request = v1::SecretPutRequest {
            request: Some(write.id().into()),
            key: key.to_bytes(),
            // Every repeat shares these bytes; they are wiped with the last of them.
            plaintext: secret.into_bytes(),
            lease: options.lease.map_or(0, LeaseId::get),
            note: options.note,
            expected: options.expected.map(write::Expected::to_wire),
        };
        let answer = self
            .client
            .call(self.client.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.secrets().put(request).await }
            })
            .await
            .map_err(|failure| conflict_or(failure, options.expected, || key.clone()))?
            .message;
        Ok(SecretWritten {
            revision: Revision::new(answer.revision).ok_or(Unreadable("revision"))?,
            version: answer.version,
        })
    }

    /// Makes a secret by chance and puts it. The plaintext never leaves this process otherwise.
    pub async fn generate<K>(
        &self,
        key: K,
        recipe: &Recipe,
        options: SecretPutOptions,
    ) -> Result<(Secret, SecretWritten), WriteError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        let secret = recipe.make().map_err(|error| WriteError::Invalid {
            message: error.to_string(),
        })?;
        let copy = Secret::from(secret.expose().clone());
        let written = self.put_with(key, copy, options).await?;
        Ok((secret, written))
    }

    /// Opens a secret as it is now. The servers record who did.
    pub async fn reveal<K>(&self, key: K) -> Result<Revealed, ReadError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        self.reveal_with(key, RevealOptions::default()).await
    }

    /// Opens a secret: of an older revision, with a reason. The servers record who did and why.
    pub async fn reveal_with<K>(
        &self,
        key: K,
        options: RevealOptions,
    ) -> Result<Revealed, ReadError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        let request = v1::RevealRequest {
            key: read::parse_key(key)?.to_bytes(),
            revision: options.revision.map_or(0, Revision::get),
            reason: options.reason,
            consistency: match options.consistency {
                Consistency::Linearizable => v1::Consistency::Linearizable,
                Consistency::Local => v1::Consistency::Local,
            }
            .into(),
        };
        let answer = self
            .client
            .call(self.client.reading(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.secrets().reveal(request).await }
            })
            .await?;
        // Taken in first, so that it is wiped whatever is wrong with the rest.
        let secret = take_in(answer.message.plaintext);
        let entry = answer.message.entry.ok_or(Unreadable("entry"))?;
        Ok(Revealed {
            secret,
            entry: Entry::from_wire(entry)?,
            revision: answer.message.header.unwrap_or_default().revision,
            origin: answer.origin,
            age: answer.age,
        })
    }

    /// Destroys versions of a secret for good: their keys are thrown away, so that nothing opens
    /// what is left of them. Returns how many cannot be opened any more.
    pub async fn destroy<K>(&self, key: K, options: DestroyOptions) -> Result<u64, WriteError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        let write = self.client.begin_write();
        let request = v1::SecretDestroyRequest {
            request: Some(write.id().into()),
            key: write::parse_key(key)?.to_bytes(),
            revision: options.revision.map_or(0, Revision::get),
            note: options.note,
        };
        let answer = self
            .client
            .call(self.client.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.secrets().destroy(request).await }
            })
            .await?;
        Ok(answer.message.destroyed)
    }
}

/// The plaintext of an answer as a secret; what the answer held is wiped.
fn take_in(plaintext: Bytes) -> Secret {
    let secret = Secret::from(plaintext.to_vec());
    // It is nobody else's once the answer is complete.
    if let Ok(mut answered) = plaintext.try_into_mut() {
        answered.as_mut().zeroize();
    }
    secret
}
