//! The past: versions of a key, what changed between revisions, and going back.

use std::time::Duration;

use holdfast_proto::{Key, KeyRange, Revision, v1};

use crate::{Client, Entry, ReadError, WriteError, entry::Unreadable, read};

/// One kept version of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// When, who, why; the value if it was asked for.
    pub entry: Entry,
    /// Whether this version is a deletion.
    pub deleted: bool,
    /// BLAKE3-256 of the typed value; empty for a deletion.
    pub digest: Vec<u8>,
}

/// How to read a key's history.
#[derive(Clone, Debug, Default)]
pub struct HistoryOptions {
    /// At most so many versions; 0: all that are kept.
    pub limit: u64,
    /// Only versions older than this; `None`: from the newest on.
    pub before: Option<Revision>,
    /// With the values.
    pub values: bool,
}

/// Kept versions of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Newest first.
    pub versions: Vec<Version>,
    /// Whether older ones are kept too: go on before the last one's revision.
    pub more: bool,
}

/// What differs between two revisions.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff {
    /// By key.
    pub differences: Vec<Difference>,
    /// The older side.
    pub from: u64,
    /// The newer side.
    pub to: u64,
}

/// One key that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The key.
    pub key: Key,
    /// What it was; `None`: it was not there.
    pub before: Option<Entry>,
    /// What it is; `None`: it is gone.
    pub after: Option<Entry>,
}

/// A rollback that went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// The revision it made; `None`: everything was so already.
    pub revision: Option<Revision>,
    /// How many keys it changed.
    pub changed: u64,
}

/// How much history keys keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Keep at least so many older versions …
    pub versions: u64,
    /// … and every one younger than this …
    pub age: Duration,
    /// … within so many bytes for each key.
    pub bytes: u64,
}

impl Client {
    /// The kept versions of a key, newest first.
    pub async fn history<K>(&self, key: K, options: HistoryOptions) -> Result<History, ReadError>
    where
        K: TryInto<Key>,
        K::Error: std::fmt::Display,
    {
        let request = v1::HistoryRequest {
            key: read::parse_key(key)?.to_bytes(),
            limit: options.limit,
            before: options.before.map_or(0, Revision::get),
            values: options.values,
        };
        let answer = self
            .call(self.reading(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.kv().history(request).await }
            })
            .await?;
        Ok(History {
            versions: answer
                .message
                .versions
                .into_iter()
                .map(Version::from_wire)
                .collect::<Result<_, _>>()?,
            more: answer.message.more,
        })
    }

    /// What differs in a range between two revisions; `to: None`: the newest.
    pub async fn diff(
        &self,
        range: KeyRange,
        from: Revision,
        to: Option<Revision>,
    ) -> Result<Diff, ReadError> {
        let request = v1::DiffRequest {
            range: Some(range.into()),
            from: from.get(),
            to: to.map_or(0, Revision::get),
        };
        let answer = self
            .call(self.reading(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.kv().diff(request).await }
            })
            .await?
            .message;
        Ok(Diff {
            differences: answer
                .differences
                .into_iter()
                .map(Difference::from_wire)
                .collect::<Result<_, _>>()?,
            from: answer.from,
            to: answer.to,
        })
    }

    /// Puts every key of a range back to what it was at a revision, as one new revision.
    pub async fn rollback(
        &self,
        range: KeyRange,
        to: Revision,
        note: impl Into<String>,
    ) -> Result<RolledBack, WriteError> {
        let write = self.begin_write();
        let request = v1::RollbackRequest {
            request: Some(write.id().into()),
            range: Some(range.into()),
            to: to.get(),
            note: note.into(),
        };
        let answer = self
            .call(self.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.kv().rollback(request).await }
            })
            .await?;
        Ok(RolledBack {
            revision: Revision::new(answer.message.revision),
            changed: answer.message.changed,
        })
    }

    /// Forgets every version that was replaced before `revision`. There is no way back.
    pub async fn compact(&self, revision: Revision) -> Result<(), WriteError> {
        let write = self.begin_write();
        let request = v1::CompactRequest {
            request: Some(write.id().into()),
            revision: revision.get(),
        };
        self.call(self.writing(), |attempt| {
            let request = attempt.request(request.clone());
            async move { attempt.kv().compact(request).await }
        })
        .await?;
        Ok(())
    }

    /// Sets how much history keys under a prefix keep; `None`: the default.
    pub async fn set_retention(
        &self,
        prefix: impl Into<Vec<u8>>,
        retention: Option<Retention>,
    ) -> Result<(), WriteError> {
        let write = self.begin_write();
        let request = v1::SetRetentionRequest {
            request: Some(write.id().into()),
            prefix: prefix.into().into(),
            retention: retention.map(|retention| v1::Retention {
                versions: retention.versions,
                age_ms: retention.age.as_millis() as u64,
                bytes: retention.bytes,
            }),
        };
        self.call(self.writing(), |attempt| {
            let request = attempt.request(request.clone());
            async move { attempt.kv().set_retention(request).await }
        })
        .await?;
        Ok(())
    }
}

impl Version {
    fn from_wire(wire: v1::Version) -> Result<Self, Unreadable> {
        Ok(Self {
            entry: Entry::from_wire(wire.entry.ok_or(Unreadable("version"))?)?,
            deleted: wire.deleted,
            digest: wire.digest.to_vec(),
        })
    }
}

impl Difference {
    fn from_wire(wire: v1::Difference) -> Result<Self, Unreadable> {
        Ok(Self {
            key: Key::new(wire.key).map_err(|_| Unreadable("key"))?,
            before: wire.before.map(Entry::from_wire).transpose()?,
            after: wire.after.map(Entry::from_wire).transpose()?,
        })
    }
}
