//! The wraps of secrets: by version, counted by epoch.

use bytes::Bytes;
use holdfast_proto::{Key, Revision, Value, ValueKind};

use super::Keyring;
use crate::{
    State,
    entry::{Position, VersionId},
    hash::{Digest, RowBuffer, RowHash},
    operation::PutOperation,
    reply::{Reason, Refusal},
};

/// What a sealed value was sealed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The version that the put makes of the key.
    pub version: u64,
    /// The keyring's newest epoch.
    pub epoch: u64,
    /// The data key, sealed by the epoch's key.
    pub wrap: Bytes,
}

/// The data key of one version of one secret, sealed by an epoch's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrap {
    /// Whose key seals it.
    pub epoch: u64,
    /// The sealed data key.
    pub wrap: Bytes,
}

/// What a wrap is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedVersion {
    /// The version of the key.
    pub version: u64,
    /// Of the value: it names the payload.
    pub digest: Digest,
}

/// What a wrap costs in memory beside its key and itself, bytes.
const WRAP_OVERHEAD: u64 = 128;

impl State {
    /// The wrap of a version; `None`: it is no secret, or was destroyed.
    pub fn wrap(&self, key: &[u8], revision: Revision) -> Option<&Wrap> {
        self.keyring.wraps.get(&Position { key, revision })
    }

    /// All wraps, by key and revision, after one of them.
    pub fn wraps_after(
        &self,
        after: Option<&VersionId>,
    ) -> impl Iterator<Item = (&VersionId, &Wrap)> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.clone()));
        self.keyring.wraps.range((from, Bound::Unbounded))
    }

    /// How many secret versions there are by the epoch that seals them; none of 0.
    pub fn wraps_by_epoch(&self) -> impl Iterator<Item = (u64, u64)> {
        self.keyring
            .counts
            .iter()
            .map(|(epoch, count)| (*epoch, *count))
    }

    /// Whether there is any secret, current or older, that can be opened.
    pub fn has_secrets(&self) -> bool {
        !self.keyring.wraps.is_empty()
    }

    /// What the wrap of a version is bound to; `None`: there is no such sealed version.
    pub fn sealed_version(&self, key: &[u8], revision: Revision) -> Option<SealedVersion> {
        if let Some(entry) = self.keys.current(key)
            && entry.meta.revision == revision
        {
            let sealed = entry.value.kind() == ValueKind::Sealed;
            return sealed.then_some(SealedVersion {
                version: entry.meta.version,
                digest: entry.meta.digest,
            });
        }
        let meta = self.keys.older(key, revision)?;
        (meta.kind == Some(ValueKind::Sealed)).then_some(SealedVersion {
            version: meta.version,
            digest: meta.digest,
        })
    }

    /// Whether a put may write what it brings as the key's `version`; gives its wrap.
    pub(crate) fn check_seal(
        &self,
        put: &PutOperation,
        version: u64,
    ) -> Result<Option<Wrap>, Refusal> {
        let seal = match (&put.value, &put.seal) {
            (Some(Value::Sealed(_)), Some(seal)) => seal,
            (Some(Value::Sealed(_)), None) => {
                return Err(invalid(&put.key, "a sealed value comes with its seal"));
            }
            (_, Some(_)) => return Err(invalid(&put.key, "only a sealed value has a seal")),
            (_, None) => return Ok(None),
        };
        let newest = self.keyring.check_open()?;
        if seal.version == version && seal.epoch == newest {
            return Ok(Some(Wrap {
                epoch: newest,
                wrap: seal.wrap.clone(),
            }));
        }
        let message = format!(
            "{} was sealed as version {} under epoch {}, but becomes version {version} under epoch \
             {newest}; nothing was written: seal it again",
            put.key, seal.version, seal.epoch
        );
        Err(Refusal::new(Reason::Reseal, message)
            .about(&put.key)
            .numbers(version, seal.version))
    }

    /// Removes the wraps of one version, or of all; says how many there were.
    pub(crate) fn destroy_wraps(&mut self, key: &Key, revision: Option<Revision>) -> u64 {
        let ids: Vec<VersionId> = match revision {
            Some(revision) => vec![VersionId {
                key: key.clone(),
                revision,
            }],
            None => {
                let from = VersionId {
                    key: key.clone(),
                    revision: Revision::after(None),
                };
                let wraps = self.keyring.wraps.range(from..);
                let of_key = wraps.take_while(|(id, _)| id.key == *key);
                of_key.map(|(id, _)| id.clone()).collect()
            }
        };
        let removed = ids.iter().filter(|id| self.keyring.remove_wrap(id));
        removed.count() as u64
    }

    /// Puts newer wraps in the place of older ones; passes over what is gone or newer already.
    pub(crate) fn rewrap(
        &mut self,
        epoch: u64,
        wraps: Vec<(VersionId, Bytes)>,
    ) -> Result<u64, Refusal> {
        let newest = self.keyring.newest_number();
        if epoch != newest {
            let message =
                format!("epoch {epoch} is not the newest, {newest}; nothing was rewrapped");
            return Err(Refusal::new(Reason::Reseal, message).numbers(newest, epoch));
        }
        let mut done = 0;
        for (id, wrap) in wraps {
            let stale = |there: &Wrap| there.epoch < epoch;
            if self.keyring.wraps.get(&id).is_some_and(stale) {
                self.keyring.insert_wrap(id, Wrap { epoch, wrap });
                done += 1;
            }
        }
        Ok(done)
    }
}

impl Keyring {
    pub(crate) fn insert_wrap(&mut self, id: VersionId, wrap: Wrap) {
        self.remove_wrap(&id);
        self.hash.add(row_hash(&id, &wrap));
        *self.counts.entry(wrap.epoch).or_insert(0) += 1;
        self.wrap_bytes += wrap_bytes(&id.key, &wrap);
        self.wraps.insert(id, wrap);
    }

    /// The version is forgotten or destroyed. False: it had no wrap.
    pub(crate) fn remove_wrap(&mut self, id: &VersionId) -> bool {
        let Some(wrap) = self.wraps.remove(id) else {
            return false;
        };
        self.hash.remove(row_hash(id, &wrap));
        self.wrap_bytes -= wrap_bytes(&id.key, &wrap);
        match self.counts.get_mut(&wrap.epoch) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.counts.remove(&wrap.epoch);
            }
        }
        true
    }
}

/// What a wrap counts for in the state's limit, bytes.
pub(crate) fn wrap_bytes(key: &Key, wrap: &Wrap) -> u64 {
    (key.as_bytes().len() + wrap.wrap.len()) as u64 + WRAP_OVERHEAD
}

fn invalid(key: &Key, message: &'static str) -> Refusal {
    Refusal::new(Reason::Invalid, message).about(key)
}

fn row_hash(id: &VersionId, wrap: &Wrap) -> RowHash {
    RowBuffer::new(b'w')
        .bytes(id.key.as_bytes())
        .number(id.revision.get())
        .number(wrap.epoch)
        .bytes(&wrap.wrap)
        .finish()
}
