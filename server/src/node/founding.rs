//! How a node comes into its cluster, and is known there.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use holdfast_proto::{
    log::v1::{self as log, command::Body},
    v1,
};
use holdfast_raft::{InitializeError, PeerNode};

use crate::{dir::NodeDir, host::Host, identity::Identity};

/// Forms the cluster, if this node is its founder and there is none yet; then waits until the node
/// is a known member, and notes that it ran.
pub(super) async fn run(host: Arc<Host>, dir: Arc<NodeDir>, identity: Identity) {
    let public_key = match identity {
        Identity::Node { public_key, .. } => public_key,
        Identity::Client { .. } => Bytes::new(),
    };
    if dir.configuration().founder && dir.is_first_start() {
        found(&host, &dir, public_key).await;
    }
    loop {
        let member = host.read(|state| state.member(host.id).cloned());
        if let Some(member) = member {
            if let Err(error) = dir.mark_started() {
                tracing::warn!(%error, "could not note that the node ran");
            }
            let advertise = &dir.configuration().advertise;
            if !member.removed && *member.address != **advertise {
                tell_address(&host, advertise).await;
            }
            return;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn found(host: &Host, dir: &NodeDir, public_key: Bytes) {
    let configuration = dir.configuration();
    let founder = PeerNode {
        id: host.id,
        name: host.name.to_string(),
        address: configuration.advertise.clone(),
    };
    match host.replica.initialize(founder).await {
        Ok(()) | Err(InitializeError::AlreadyInitialized) => {}
        Err(error) => {
            tracing::error!(%error, "the cluster could not be formed");
            return;
        }
    }
    while host.read(|state| state.cluster().is_none()) && !host.closing.is_cancelled() {
        let body = Body::ClusterInit(log::ClusterInit {
            cluster_id: configuration.cluster_id.clone(),
            cluster_name: configuration.cluster_name.clone(),
            founder: Some(v1::Member {
                id: host.id.0,
                name: host.name.to_string(),
                address: configuration.advertise.clone(),
                role: v1::Role::Voter.into(),
                joined_at_ms: 0,
            }),
            public_key: public_key.clone(),
        });
        let deadline = Instant::now() + PROPOSAL;
        if let Err(status) = host
            .propose_own(host.author(), String::new(), body, deadline)
            .await
        {
            tracing::warn!(%status, "the cluster is not formed yet");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    tracing::info!(cluster = %configuration.cluster_name, "the cluster was formed");
}

/// The node moved: the others must know where to reach it.
async fn tell_address(host: &Host, address: &str) {
    while !host.closing.is_cancelled() {
        let body = Body::MemberUpdate(log::MemberUpdate {
            id: host.id.0,
            address: address.to_owned(),
            role: v1::Role::Unspecified.into(),
        });
        let deadline = Instant::now() + PROPOSAL;
        match host
            .propose_own(host.author(), String::new(), body, deadline)
            .await
        {
            Ok(_) => {
                tracing::info!(%address, "the node's new address is known");
                return;
            }
            Err(status) => {
                tracing::warn!(%status, %address, "the node's new address is not known yet");
                tokio::time::sleep(LOOK_AGAIN * 20).await;
            }
        }
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(25);
const PROPOSAL: Duration = Duration::from_secs(5);
