//! Whole copies of the state that leave the cluster, and how one becomes the first state of another.

use std::{io::Read, path::Path};

use bytes::Bytes;
use holdfast_core::State;
use holdfast_disk::{ArchiveError, ArchiveJob, Restored};
use prost::Message as _;

use crate::{
    errors,
    options::PeerNode,
    record::meta_to_wire,
    replica::Replica,
    types::{Membership, SnapshotMeta, StoredMembership, log_id},
};

impl Replica {
    /// The state and its past as they are now, to be written elsewhere. O(1); nothing waits for it.
    pub async fn backup(&self) -> Result<ArchiveJob, errors::ArchiveError> {
        self.raft()
            .with_state_machine(|machine| {
                let (_, job) = machine.prepare();
                Box::pin(async move { job })
            })
            .await
            .map_err(|fatal| errors::ArchiveError::Stopped {
                why: fatal.to_string(),
            })
    }
}

/// Makes what [`Replica::backup`] wrote the first archive of a folder, in which `founder` is the only
/// member and `change` made the state. A replica that starts there goes on after it. Blocks.
pub fn restore<E: From<ArchiveError>>(
    name: &Path,
    from: impl Read + Send + 'static,
    dir: &Path,
    change: impl FnOnce(State) -> Result<(State, PeerNode), E>,
) -> Result<Restored, E> {
    holdfast_disk::restore(name, from, dir, |state, index| {
        let (state, founder) = change(state)?;
        Ok((state, meta_of_founder(&founder, index)))
    })
}

/// Term 0 is before every election.
fn meta_of_founder(founder: &PeerNode, index: u64) -> Bytes {
    let last = log_id(0, index);
    let members = std::collections::BTreeMap::from([(founder.id.0, founder.place())]);
    let voters = vec![std::collections::BTreeSet::from([founder.id.0])];
    let membership = Membership::new(voters, members).expect("the voter has its place");
    let meta = SnapshotMeta {
        last_log_id: Some(last),
        last_membership: StoredMembership::new(Some(last), membership),
    };
    meta_to_wire(&meta).encode_to_vec().into()
}
