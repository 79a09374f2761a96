//! The dialling side: channels to peers, one for each purpose, each sure of whom it talks to.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use holdfast_client::gather::Gathered;
use holdfast_proto::{NodeId, NodeName};
use holdfast_raft::{Dial, DialError, PeerNode, Purpose};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};

use super::NodeTls;

/// Reaches peers over mTLS. Cheap to clone; clones share their channels.
#[derive(Clone)]
pub struct PeerDialer {
    tls: NodeTls,
    channels: Arc<Mutex<HashMap<(NodeId, Purpose), Cached>>>,
}

struct Cached {
    name: String,
    address: String,
    channel: Channel,
}

impl PeerDialer {
    /// A dialler that speaks as the node of this TLS.
    pub fn new(tls: NodeTls) -> Self {
        Self {
            tls,
            channels: Arc::default(),
        }
    }
}

impl Dial for PeerDialer {
    fn channel(&self, peer: &PeerNode, purpose: Purpose) -> Result<Channel, DialError> {
        let mut channels = self.channels.lock();
        if let Some(cached) = channels.get(&(peer.id, purpose))
            && cached.address == peer.address
            && cached.name == peer.name
        {
            return Ok(cached.channel.clone());
        }
        let failed = |why: String| DialError {
            address: peer.address.clone(),
            why,
        };
        let name: NodeName = peer
            .name
            .parse()
            .map_err(|error| failed(format!("{error}")))?;
        let channel = connect(&peer.address, self.tls.client_config(&name)).map_err(failed)?;
        let cached = Cached {
            name: peer.name.clone(),
            address: peer.address.clone(),
            channel: channel.clone(),
        };
        channels.insert((peer.id, purpose), cached);
        Ok(channel)
    }
}

/// A channel over TLS that connects when it is first used, and again when it broke.
pub(crate) fn connect(address: &str, config: Arc<ClientConfig>) -> Result<Channel, String> {
    // The scheme is for HTTP/2 only: TLS is the connector's business.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| error.to_string())?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    let connector = TlsConnector::from(config);
    let address: Arc<str> = address.into();
    Ok(
        endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let (connector, address) = (connector.clone(), address.clone());
            async move { open(&connector, &address).await.map(TokioIo::new) }
        })),
    )
}

/// One handshake, to see who answers there. An error is in words.
pub(crate) async fn probe(address: &str, config: Arc<ClientConfig>) -> Result<(), String> {
    let connector = TlsConnector::from(config);
    match tokio::time::timeout(PROBE_TIMEOUT, open(&connector, address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {PROBE_TIMEOUT:?}")),
    }
}

async fn open(
    connector: &TlsConnector,
    address: &str,
) -> io::Result<Gathered<TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // Identity is checked by the verifier; this name is not sent to anybody who looks at it.
    let name = ServerName::try_from("holdfast").map_err(io::Error::other)?;
    connector.connect(name, stream).await.map(Gathered::new)
}

const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_secs(2);
