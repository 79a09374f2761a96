//! Channels to peers, kept for as long as they work.
//!
//! Each is opened before it is needed: a handshake in the middle of an election, or before a new
//! leader's first entry, is time in which nobody can write.

use std::{collections::HashMap, error::Error, io, sync::Arc, time::Duration};

use futures::future::join_all;
use holdfast_proto::{limits::MESSAGE_BYTES, peer::v1::raft_client::RaftClient};
use parking_lot::Mutex;
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::options::{Dial, DialError, PeerNode, Purpose};

/// A peer's client over one channel.
pub(crate) type Client = RaftClient<Channel>;

/// Longest wait for a channel that is opened ahead of need.
const WARM_LIMIT: Duration = Duration::from_secs(1);

/// Whether a peer's process is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Answers,
    /// Its machine says that nobody listens there.
    Refused,
    Unknown,
}

/// The channels of one replica.
pub(crate) struct Channels {
    dial: Arc<dyn Dial>,
    open: Mutex<HashMap<(u64, Purpose), (String, Channel)>>,
}

impl Channels {
    pub(crate) fn new(dial: Arc<dyn Dial>) -> Self {
        Self {
            dial,
            open: Mutex::default(),
        }
    }

    /// A client for a peer; dials only if there is no channel, or the peer has moved.
    pub(crate) fn client(&self, peer: &PeerNode, purpose: Purpose) -> Result<Client, DialError> {
        let key = (peer.id.0, purpose);
        let mut open = self.open.lock();
        let known = open
            .get(&key)
            .filter(|(address, _)| *address == peer.address)
            .map(|(_, channel)| channel.clone());
        let channel = match known {
            Some(channel) => channel,
            None => {
                let channel = self.dial.channel(peer, purpose)?;
                open.insert(key, (peer.address.clone(), channel.clone()));
                channel
            }
        };
        Ok(RaftClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES))
    }

    /// Drops a channel that no longer answers: a connection whose other end vanished would
    /// otherwise be waited for until the kernel gives it up.
    pub(crate) fn forget(&self, peer: &PeerNode, purpose: Purpose) {
        self.open.lock().remove(&(peer.id.0, purpose));
    }

    /// Opens what votes, heartbeats and entries to these peers will need.
    pub(crate) async fn warm(&self, peers: &[PeerNode]) {
        let wanted = peers
            .iter()
            .flat_map(|peer| [Purpose::Heartbeat, Purpose::Append].map(|purpose| (peer, purpose)));
        join_all(wanted.map(|(peer, purpose)| self.touch(peer, purpose))).await;
    }

    /// Asks the peer, over a new connection if the old one broke.
    pub(crate) async fn presence(&self, peer: &PeerNode) -> Presence {
        self.touch(peer, Purpose::Heartbeat).await
    }

    async fn touch(&self, peer: &PeerNode, purpose: Purpose) -> Presence {
        let Ok(mut client) = self.client(peer, purpose) else {
            return Presence::Unknown;
        };
        // An empty question costs one round trip and opens the connection.
        match timeout(WARM_LIMIT, client.read_index(futures::stream::empty())).await {
            Ok(Ok(_)) => Presence::Answers,
            Ok(Err(status)) if is_refusal(&status) => Presence::Refused,
            Ok(Err(_)) => Presence::Unknown,
            Err(_) => {
                self.forget(peer, purpose);
                Presence::Unknown
            }
        }
    }
}

fn is_refusal(status: &tonic::Status) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(status);
    while let Some(error) = cause {
        let here = error.downcast_ref::<io::Error>();
        if here.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use holdfast_proto::NodeId;
    use tonic::transport::Endpoint;

    use super::*;

    /// Notes every dial, and reaches nobody.
    #[derive(Default)]
    struct Noted(Mutex<Vec<(String, Purpose)>>);

    impl Dial for Noted {
        fn channel(&self, peer: &PeerNode, purpose: Purpose) -> Result<Channel, DialError> {
            self.0.lock().push((peer.address.clone(), purpose));
            Ok(Endpoint::from_static("http://127.0.0.1:1").connect_lazy())
        }
    }

    fn peer(address: &str) -> PeerNode {
        PeerNode {
            id: NodeId(2),
            name: "n2".to_owned(),
            address: address.to_owned(),
        }
    }

    #[tokio::test]
    async fn each_purpose_has_one_channel_that_is_kept() {
        let dial = Arc::new(Noted::default());
        let channels = Channels::new(dial.clone());
        let purposes = [Purpose::Heartbeat, Purpose::Append, Purpose::Snapshot];
        for _ in 0..100 {
            for purpose in purposes {
                channels.client(&peer("here:1"), purpose).unwrap();
            }
        }
        let dialled = dial.0.lock().clone();
        assert_eq!(
            dialled,
            purposes.map(|purpose| ("here:1".to_owned(), purpose))
        );
    }

    #[tokio::test]
    async fn a_channel_is_dialled_anew_when_the_peer_moved_or_stopped_answering() {
        let dial = Arc::new(Noted::default());
        let channels = Channels::new(dial.clone());
        channels.client(&peer("here:1"), Purpose::Append).unwrap();
        channels.client(&peer("there:2"), Purpose::Append).unwrap();
        channels.forget(&peer("there:2"), Purpose::Append);
        channels.client(&peer("there:2"), Purpose::Append).unwrap();
        let addresses: Vec<_> = dial.0.lock().iter().map(|(to, _)| to.clone()).collect();
        assert_eq!(addresses, ["here:1", "there:2", "there:2"]);
    }
}
