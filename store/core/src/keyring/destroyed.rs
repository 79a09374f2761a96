//! Secrets that were destroyed while their versions are still known.
//!
//! Destroying takes the data key away and leaves what is known of the version, so the history itself
//! says which they are. It does not say when: of one version nothing else changes.

use holdfast_proto::{KeyRange, Revision, ValueKind};

use crate::{State, entry::VersionId};

impl State {
    /// The versions of secrets, by key and revision, whose data key was destroyed; as far as the
    /// history reaches. O(n) in all versions.
    pub fn destroyed_secrets(&self) -> Vec<VersionId> {
        let is_open = |key: &[u8], revision: Revision| self.wrap(key, revision).is_some();
        let older = self.keys.older_range(&KeyRange::all());
        let current = self.keys.range(&KeyRange::all());
        let current = current.map(|(key, entry)| (key, &entry.meta));
        let destroyed = older.chain(current).filter_map(|(key, meta)| {
            let is_sealed = meta.kind == Some(ValueKind::Sealed);
            (is_sealed && !is_open(key.as_bytes(), meta.revision)).then(|| VersionId {
                key: key.clone(),
                revision: meta.revision,
            })
        });
        let mut destroyed: Vec<VersionId> = destroyed.collect();
        destroyed.sort_unstable();
        destroyed
    }
}
