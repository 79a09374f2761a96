//! Clients whose context names no node but a name of DNS: they find the cluster, wait for it, and follow
//! it when it is moved. Real servers; the name server is one of this test's own.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    net::SocketAddr,
    str::FromStr as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hickory_resolver::proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, rdata::SRV},
};
use holdfast_client::{Client, ClientOptions, ConnectError, Context, ReadError};
use holdfast_tests::harness::{Cluster, wait::until_true};
use parking_lot::Mutex;
use tokio::net::UdpSocket;

const NAME: &str = "_holdfast._tcp.shop.example";
const LIMIT: Duration = Duration::from_secs(30);

/// Answers for [`NAME`] with ports of this machine, and says of anything else that it is not there.
struct NameServer {
    at: SocketAddr,
    ports: Arc<Mutex<Vec<u16>>>,
    asked: Arc<AtomicU64>,
}

impl NameServer {
    async fn start(ports: &[u16]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            at: socket.local_addr().unwrap(),
            ports: Arc::new(Mutex::new(ports.to_vec())),
            asked: Arc::default(),
        };
        let (ports, asked) = (Arc::clone(&server.ports), Arc::clone(&server.asked));
        tokio::spawn(async move {
            let mut datagram = [0; 2048];
            loop {
                let (length, from) = socket.recv_from(&mut datagram).await.unwrap();
                let question = Message::from_vec(&datagram[..length]).unwrap();
                let answer = answer(question, &ports.lock()).to_vec().unwrap();
                asked.fetch_add(1, Ordering::Relaxed);
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        server
    }

    fn set(&self, ports: &[u16]) {
        *self.ports.lock() = ports.to_vec();
    }
}

fn answer(question: Message, ports: &[u16]) -> Message {
    let mut answer = question.into_response();
    let asked = answer.queries[0].name().clone();
    if asked != Name::from_str(&format!("{NAME}.")).unwrap() || ports.is_empty() {
        answer.metadata.response_code = ResponseCode::NXDomain;
        return answer;
    }
    for port in ports {
        let target = Name::from_str("localhost.").unwrap();
        let record = RData::SRV(SRV::new(0, 0, *port, target));
        answer.add_answer(Record::from_rdata(asked.clone(), 1, record));
    }
    answer
}

/// The cluster's context with a name in place of the addresses.
fn by_name(cluster: &Cluster) -> Context {
    let mut context = cluster.context().unwrap();
    context.endpoints = vec![format!("srv:{NAME}")];
    context.file = None;
    context
}

fn options(server: &NameServer) -> ClientOptions {
    ClientOptions {
        name_server: Some(server.at),
        ..ClientOptions::default()
    }
}

fn port(cluster: &Cluster, node: usize) -> u16 {
    let (_, port) = cluster.address(node).rsplit_once(':').unwrap();
    port.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_finds_the_cluster_by_a_name_and_outlives_the_node_it_named() {
    let mut cluster = Cluster::start().await.unwrap();
    let server = NameServer::start(&[port(&cluster, 0)]).await;
    let client = Client::with_options(&by_name(&cluster), options(&server))
        .await
        .unwrap();
    client.put("shop/greeting", "hello").await.unwrap();
    // The others are known from the cluster by now: DNS names only the one that dies.
    until_true("all three to be known", LIMIT, || {
        client.endpoints().len() >= 3
    })
    .await
    .unwrap();
    cluster.kill(0);
    let found = client.get("shop/greeting").await.unwrap();
    assert!(found.is_some(), "the other nodes were not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_waits_for_a_name_and_follows_it_when_it_is_moved() {
    let cluster = Cluster::of(1).await.unwrap();
    let server = NameServer::start(&[]).await;
    let client = Client::lazy(&by_name(&cluster), options(&server)).unwrap();
    until_true("the name to be asked for", LIMIT, || {
        server.asked.load(Ordering::Relaxed) > 0
    })
    .await
    .unwrap();
    // Nobody listens there.
    server.set(&[1]);
    until_true("the first address", LIMIT, || {
        !client.endpoints().is_empty()
    })
    .await
    .unwrap();
    server.set(&[port(&cluster, 0)]);
    let wanted = format!("localhost:{}", port(&cluster, 0));
    until_true("the second address", LIMIT, || {
        client.endpoints().contains(&wanted)
    })
    .await
    .unwrap();
    client.put("shop/greeting", "hello").await.unwrap();
    // The next list of members leaves out what nobody names any more.
    client.cluster().member_list().await.unwrap();
    let known = client.endpoints();
    assert!(!known.contains(&"localhost:1".to_owned()), "{known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_nobodys_is_said_in_the_error() {
    let cluster = Cluster::of(1).await.unwrap();
    let server = NameServer::start(&[]).await;
    let options = ClientOptions {
        request_timeout: Duration::from_millis(500),
        ..options(&server)
    };
    let error = Client::with_options(&by_name(&cluster), options.clone()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(NAME), "{error}");
    let client = Client::lazy(&by_name(&cluster), options).unwrap();
    let error = client.get("shop/greeting").await.unwrap_err();
    assert!(matches!(error, ReadError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(NAME), "{error}");
}
