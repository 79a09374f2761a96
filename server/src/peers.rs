//! The other nodes of the cluster, as this one calls them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_proto::{limits, peer::v1::node_client::NodeClient};
use holdfast_raft::{Dial, PeerNode, Purpose};
use tonic::{Request, Status, transport::Channel};

use crate::status::Reason;

/// Clients of peers. The dialler keeps their channels.
pub(crate) struct Peers {
    dial: Arc<dyn Dial>,
}

impl Peers {
    pub(crate) fn new(dial: Arc<dyn Dial>) -> Self {
        Self { dial }
    }

    /// A client of `peer`. Connects when it is first used.
    pub(crate) fn client(&self, peer: &PeerNode) -> Result<NodeClient<Channel>, Status> {
        self.client_for(peer, Purpose::Heartbeat)
    }

    /// As [`Peers::client`], for what is large or takes long: nothing urgent waits behind it.
    pub(crate) fn bulk_client(&self, peer: &PeerNode) -> Result<NodeClient<Channel>, Status> {
        self.client_for(peer, Purpose::Snapshot)
    }

    fn client_for(&self, peer: &PeerNode, purpose: Purpose) -> Result<NodeClient<Channel>, Status> {
        let channel = self
            .dial
            .channel(peer, purpose)
            .map_err(|error| Reason::NoQuorum.status(error.to_string()))?;
        Ok(NodeClient::new(channel).max_decoding_message_size(limits::MESSAGE_BYTES))
    }
}

/// A request to a peer that is given up at `deadline`.
pub(crate) fn request_until<T>(message: T, deadline: Instant) -> Request<T> {
    request_within(message, deadline.saturating_duration_since(Instant::now()))
}

/// A request to a peer that is given up after `timeout`.
pub(crate) fn request_within<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}
