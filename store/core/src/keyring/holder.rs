//! The keys of nodes: whom an epoch can be wrapped for.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::NodeId;

use crate::{
    hash::{RowBuffer, RowHash},
    keyring::Keyring,
};

/// The public half of a member's node key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeKey {
    /// What epochs are wrapped for.
    pub public_key: Bytes,
    /// How the private half is kept on the member's disk, in the member's own word.
    pub protector: Arc<str>,
}

impl Keyring {
    /// A member's key; a wrap for another key of its is of no use any more.
    pub(crate) fn set_node_key(&mut self, member: NodeId, key: NodeKey) {
        let same = self
            .holders
            .get(&member)
            .is_some_and(|before| before.public_key == key.public_key);
        if !same {
            self.drop_member(member);
        }
        self.insert_node_key(member, key);
    }

    pub(super) fn insert_node_key(&mut self, member: NodeId, key: NodeKey) {
        self.hash.add(row_hash(member, &key));
        if let Some(before) = self.holders.insert(member, key) {
            self.hash.remove(row_hash(member, &before));
        }
    }

    /// The member holds nothing any more: its key is forgotten, and its wrap with it.
    pub(crate) fn drop_member(&mut self, member: NodeId) {
        if let Some(before) = self.holders.remove(&member) {
            self.hash.remove(row_hash(member, &before));
        }
        let Some(newest) = self.newest().cloned() else {
            return;
        };
        if newest
            .wraps
            .get(&member)
            .is_some_and(|wrap| wrap.is_there())
        {
            let mut changed = Arc::unwrap_or_clone(newest);
            changed.wraps.insert(member, super::MemberWrap::default());
            self.insert_epoch(changed);
        }
    }
}

fn row_hash(member: NodeId, key: &NodeKey) -> RowHash {
    RowBuffer::new(b'n')
        .number(member.0)
        .bytes(&key.public_key)
        .bytes(key.protector.as_bytes())
        .finish()
}
