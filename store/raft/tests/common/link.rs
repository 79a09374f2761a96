//! A network between replicas of one process, whose links can be cut, hung or delayed one way.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use holdfast_proto::NodeId;
use holdfast_raft::{Dial, DialError, PeerNode, Purpose};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream},
    sync::{mpsc, watch},
};
use tonic::transport::{Channel, Endpoint, Uri};

/// What happens to bytes on their way from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// They arrive, so much later.
    Open(Duration),
    /// They do not arrive and nobody is told: a black hole.
    Hung,
    /// Connections break and new ones are refused.
    Cut,
}

/// What bytes from one node to another belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Carries {
    /// A connection that the sender dialled.
    Requests,
    /// One that the receiver dialled.
    Answers,
}

type Wires = HashMap<(u64, u64, Carries), watch::Sender<Link>>;

/// All links, and where each node listens.
#[derive(Clone, Default)]
pub(crate) struct Network {
    wires: Arc<Mutex<Wires>>,
    listeners: Arc<Mutex<HashMap<u64, mpsc::UnboundedSender<io::Result<DuplexStream>>>>>,
}

impl Network {
    /// Where a node's server takes its connections from.
    pub(crate) fn listen(&self, id: u64) -> mpsc::UnboundedReceiver<io::Result<DuplexStream>> {
        let (accepted, connections) = mpsc::unbounded_channel();
        self.listeners.lock().insert(id, accepted);
        connections
    }

    /// Nobody listens there any more.
    pub(crate) fn silence(&self, id: u64) {
        self.listeners.lock().remove(&id);
    }

    /// Sets one direction.
    pub(crate) fn set(&self, from: u64, to: u64, link: Link) {
        self.wire(from, to, Carries::Requests).send_replace(link);
        self.set_answers(from, to, link);
    }

    /// Sets what `from` answers to `to`, and not what it asks by itself.
    pub(crate) fn set_answers(&self, from: u64, to: u64, link: Link) {
        self.wire(from, to, Carries::Answers).send_replace(link);
    }

    /// Sets both directions between a node and some others.
    pub(crate) fn isolate(&self, id: u64, others: &[u64], link: Link) {
        for other in others.iter().filter(|other| **other != id) {
            self.set(id, *other, link);
            self.set(*other, id, link);
        }
    }

    /// How `from` dials.
    pub(crate) fn dialer(&self, from: u64) -> Arc<dyn Dial> {
        Arc::new(Dialer {
            network: self.clone(),
            from,
        })
    }

    fn wire(&self, from: u64, to: u64, carries: Carries) -> watch::Sender<Link> {
        let mut wires = self.wires.lock();
        let open = || watch::Sender::new(Link::Open(Duration::ZERO));
        wires
            .entry((from, to, carries))
            .or_insert_with(open)
            .clone()
    }

    async fn connect(self, from: u64, to: u64) -> io::Result<DuplexStream> {
        let there = self.wire(from, to, Carries::Requests);
        let back = self.wire(to, from, Carries::Answers);
        // A connection needs an answer, so both directions count.
        for wire in [&there, &back] {
            let mut wire = wire.subscribe();
            let link = wire.wait_for(|link| *link != Link::Hung).await;
            if link.is_ok_and(|link| *link == Link::Cut) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
        }
        let (client, near) = tokio::io::duplex(256 * 1024);
        let (far, server) = tokio::io::duplex(256 * 1024);
        let listener = self.listeners.lock().get(&to).cloned();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        listener
            .and_then(|listener| listener.send(Ok(server)).ok())
            .ok_or_else(refused)?;
        let (near_read, near_write) = tokio::io::split(near);
        let (far_read, far_write) = tokio::io::split(far);
        tokio::spawn(async move {
            // Either direction ending ends the connection.
            tokio::select! {
                () = pump(near_read, far_write, there.subscribe()) => {}
                () = pump(far_read, near_write, back.subscribe()) => {}
            }
        });
        Ok(client)
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut link: watch::Receiver<Link>,
) {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut chunk) => read.unwrap_or(0),
            _ = link.wait_for(|link| *link == Link::Cut) => return,
        };
        if read == 0 {
            return;
        }
        let now = match link.wait_for(|link| *link != Link::Hung).await {
            Ok(now) => *now,
            Err(_) => return,
        };
        match now {
            Link::Open(delay) if delay.is_zero() => {}
            Link::Open(delay) => tokio::time::sleep(delay).await,
            Link::Hung | Link::Cut => return,
        }
        if to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}

struct Dialer {
    network: Network,
    from: u64,
}

impl Dial for Dialer {
    fn channel(&self, peer: &PeerNode, _purpose: Purpose) -> Result<Channel, DialError> {
        let NodeId(to) = peer.id;
        let (network, from) = (self.network.clone(), self.from);
        let connector = tower::service_fn(move |_: Uri| {
            let network = network.clone();
            async move { network.connect(from, to).await.map(TokioIo::new) }
        });
        Ok(Endpoint::from_static("http://replica").connect_with_connector_lazy(connector))
    }
}
