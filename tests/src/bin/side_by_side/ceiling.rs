//! What tonic leaves to win: members that do nothing.
//!
//! With `--ceiling`, a process stands in for each `kvd`. It has tonic, TLS, one thread and writes that
//! are joined as `kvd`'s are, and answers each request at once: it looks nothing up, writes nothing,
//! syncs nothing and asks nobody. Only a watcher hears of a put at another member, by one datagram. Its
//! ratio to etcd is what would be left if storing, replicating and syncing took no time at all.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    pin::Pin,
    process::Command,
    sync::Arc,
};

use anyhow::Context as _;
use futures::{Stream, StreamExt as _};
use holdfast_client::gather::Gathered;
use holdfast_proto::etcd::{
    etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
        PutResponse, RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
        WatchRequest, WatchResponse,
        kv_server::{Kv, KvServer},
        watch_request::RequestUnion,
        watch_server::{Watch, WatchServer},
    },
    mvccpb::{Event, KeyValue, event::EventType},
};
use holdfast_tests::{etcd::Endpoints, harness::Process};
use rustls::ServerConfig;
use tokio::{net::TcpStream, sync::broadcast};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::{BroadcastStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::{pair::MEMBERS, tls};

/// This program, even if a build has put another in its place meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Members that do nothing, running.
pub(crate) struct Ceiling {
    members: Vec<Process>,
    endpoints: Endpoints,
}

impl Ceiling {
    /// Starts them with the certificates of nodes, for clients of `endpoints`. Watchers are told of
    /// puts only if that is measured: a datagram is more than a put needs.
    pub(crate) fn start(
        nodes: [&Path; MEMBERS],
        endpoints: Endpoints,
        tells: bool,
    ) -> anyhow::Result<Self> {
        let papers = endpoints.papers.as_ref().context("papers")?;
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for _ in nodes {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            addresses.push(listener.local_addr()?);
            listeners.push(listener);
        }
        let mut members = Vec::new();
        for (node, listener) in nodes.into_iter().zip(listeners) {
            let authority = node.join("ceiling.ca");
            std::fs::write(&authority, &papers.ca)?;
            let mut command = Command::new(OWN_PROGRAM);
            command.arg("--member").arg(node);
            for address in addresses.iter().filter(|_| tells) {
                command.arg("--tell").arg(address.to_string());
            }
            let log = node.join("ceiling.log");
            members.push(Process::spawn_on(&mut command, listener.into(), &log)?);
        }
        let urls = addresses.iter().map(|address| format!("https://{address}"));
        Ok(Self {
            members,
            endpoints: Endpoints {
                urls: urls.collect(),
                ..endpoints
            },
        })
    }

    /// Where clients reach them.
    pub(crate) fn endpoints(&self) -> Endpoints {
        self.endpoints.clone()
    }

    /// Their processes.
    pub(crate) fn pids(&self) -> [u32; MEMBERS] {
        std::array::from_fn(|member| self.members[member].pid())
    }
}

/// One of them: how the program starts itself.
#[derive(clap::Args)]
pub(crate) struct Member {
    /// Be a member that does nothing, with this node's certificate, at the socket of standard input.
    #[arg(long, hide = true)]
    member: Option<PathBuf>,
    /// Where the members are told of puts.
    #[arg(long, hide = true)]
    tell: Vec<SocketAddr>,
}

impl Member {
    /// Serves until killed, if this process is to.
    pub(crate) fn serve(&self) -> anyhow::Result<bool> {
        let Some(node) = &self.member else {
            return Ok(false);
        };
        // As many threads as kvd has on this machine.
        let cores = std::thread::available_parallelism()?.get();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads((cores / 2).max(1))
            .enable_all()
            .build()?
            .block_on(self.serve_node(node))?;
        Ok(true)
    }

    async fn serve_node(&self, node: &Path) -> anyhow::Result<()> {
        let listener = TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        listener.set_nonblocking(true)?;
        let told = UdpSocket::bind(listener.local_addr()?)?;
        told.set_nonblocking(true)?;
        let told = Arc::new(tokio::net::UdpSocket::from_std(told)?);
        let (changes, _) = broadcast::channel(CHANGES);
        let nothing = Nothing {
            changes: changes.clone(),
            told: told.clone(),
            tell: self.tell.clone().into(),
        };
        tokio::spawn(async move {
            let mut key = [0; 64];
            while let Ok(length) = told.recv(&mut key).await {
                // Nobody may be watching.
                let _ = changes.send(key[..length].to_vec());
            }
        });
        let tls = tls::server(node, &std::fs::read(node.join("ceiling.ca"))?)?;
        let acceptor = TlsAcceptor::from(Arc::new(with_http2(tls)));
        let connections = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?)
            .map(move |connection| accept(acceptor.clone(), connection))
            .buffer_unordered(HANDSHAKES);
        Server::builder()
            .add_service(KvServer::new(nothing.clone()))
            .add_service(WatchServer::new(nothing))
            .serve_with_incoming(connections)
            .await?;
        Ok(())
    }
}

fn with_http2(mut tls: ServerConfig) -> ServerConfig {
    tls.alpn_protocols = vec![b"h2".to_vec()];
    tls
}

/// A connection as `kvd` has them.
async fn accept(
    acceptor: TlsAcceptor,
    connection: io::Result<TcpStream>,
) -> io::Result<Gathered<TlsStream<TcpStream>>> {
    let connection = connection?;
    connection.set_nodelay(true)?;
    acceptor.accept(connection).await.map(Gathered::new)
}

/// Answers.
#[derive(Clone)]
struct Nothing {
    changes: broadcast::Sender<Vec<u8>>,
    told: Arc<tokio::net::UdpSocket>,
    tell: Arc<[SocketAddr]>,
}

#[tonic::async_trait]
impl Kv for Nothing {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        Ok(Response::new(RangeResponse {
            header: Some(header()),
            kvs: vec![pair(request.into_inner().key)],
            count: 1,
            ..RangeResponse::default()
        }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        for member in &self.tell[..] {
            self.told.send_to(&request.get_ref().key, member).await?;
        }
        Ok(Response::new(PutResponse {
            header: Some(header()),
            ..PutResponse::default()
        }))
    }

    async fn delete_range(
        &self,
        _: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Ok(Response::new(TxnResponse {
            header: Some(header()),
            succeeded: true,
            ..TxnResponse::default()
        }))
    }

    async fn compact(
        &self,
        _: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl Watch for Nothing {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let changes = BroadcastStream::new(self.changes.subscribe());
        let events = changes.filter_map(async |key| {
            Some(Ok(WatchResponse {
                events: vec![Event {
                    r#type: EventType::Put.into(),
                    kv: Some(pair(key.ok()?)),
                    prev_kv: None,
                }],
                ..of_watch()
            }))
        });
        let created = request.into_inner().filter_map(async |message| {
            let union = message.ok()?.request_union?;
            let is_creation = matches!(union, RequestUnion::CreateRequest(_));
            is_creation.then(|| {
                Ok(WatchResponse {
                    created: true,
                    ..of_watch()
                })
            })
        });
        let answers = futures::stream::select(created, events);
        Ok(Response::new(Box::pin(answers)))
    }
}

fn of_watch() -> WatchResponse {
    WatchResponse {
        header: Some(header()),
        ..WatchResponse::default()
    }
}

fn header() -> ResponseHeader {
    ResponseHeader {
        cluster_id: 1,
        member_id: 1,
        revision: 1,
        raft_term: 1,
    }
}

fn pair(key: impl Into<bytes::Bytes>) -> KeyValue {
    KeyValue {
        key: key.into(),
        create_revision: 1,
        mod_revision: 1,
        version: 1,
        value: bytes::Bytes::from_static(&[7; 256]),
        lease: 0,
    }
}

/// Connections that may shake hands at the same time.
const HANDSHAKES: usize = 64;
/// Changes that a slow watcher may lag behind.
const CHANGES: usize = 1_024;
