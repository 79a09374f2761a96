//! One attempt of a call: the connection it takes, its time limit, and the service it asks.

use std::{sync::Arc, time::Duration};

use holdfast_proto::{limits, v1};
use tonic::transport::Channel;

use crate::node::Node;

/// One try at one node. While it exists it counts as a call under way there.
pub(crate) struct Attempt {
    node: Arc<Node>,
    lane: usize,
    timeout: Duration,
}

impl Attempt {
    pub(crate) fn new(node: &Arc<Node>, timeout: Duration) -> Self {
        Self {
            node: Arc::clone(node),
            lane: node.lanes.enter(),
            timeout,
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.node.lanes.channel(self.lane)
    }

    /// The message with this attempt's time limit.
    pub(crate) fn request<M>(&self, message: M) -> tonic::Request<M> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    pub(crate) fn kv(&self) -> v1::kv_client::KvClient<Channel> {
        v1::kv_client::KvClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES)
    }

    pub(crate) fn secrets(&self) -> v1::secrets_client::SecretsClient<Channel> {
        v1::secrets_client::SecretsClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES)
    }

    pub(crate) fn keyring(&self) -> v1::keyring_client::KeyringClient<Channel> {
        v1::keyring_client::KeyringClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES)
    }

    pub(crate) fn watch(&self) -> v1::watch_client::WatchClient<Channel> {
        v1::watch_client::WatchClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES)
    }

    pub(crate) fn lease(&self) -> v1::lease_client::LeaseClient<Channel> {
        v1::lease_client::LeaseClient::new(self.channel())
    }

    pub(crate) fn lock(&self) -> v1::lock_client::LockClient<Channel> {
        v1::lock_client::LockClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES)
    }

    pub(crate) fn audit(&self) -> v1::audit_client::AuditClient<Channel> {
        v1::audit_client::AuditClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES)
    }

    pub(crate) fn backup(&self) -> v1::backup_client::BackupClient<Channel> {
        v1::backup_client::BackupClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES)
    }

    pub(crate) fn access(&self) -> v1::access_client::AccessClient<Channel> {
        v1::access_client::AccessClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES)
    }

    pub(crate) fn fleet(&self) -> v1::fleet_client::FleetClient<Channel> {
        v1::fleet_client::FleetClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES)
    }

    pub(crate) fn cluster(&self) -> v1::cluster_client::ClusterClient<Channel> {
        v1::cluster_client::ClusterClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.node.lanes.leave(self.lane);
    }
}
