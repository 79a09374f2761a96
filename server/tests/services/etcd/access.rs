//! Who may use the front.

use std::{sync::Arc, time::SystemTime};

use holdfast_client::Context;
use holdfast_proto::{
    etcd::etcdserverpb::kv_client::KvClient,
    v1::{self, RemoveRequest},
};
use holdfast_server::{
    configuration::ConfigurationError,
    identity::NodeKey,
    init::{InitOptions, init},
    node::Node,
    tls::NodeTls,
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Uri},
};

use super::{get, put};
use crate::nodes::{Clients as _, Nodes, eventually};

/// Certificate and key of a caller, PEM.
pub(super) struct Papers {
    authority: String,
    certificate: String,
    key: String,
}

/// Those of the first operator.
pub(super) fn admin(nodes: &Nodes) -> Papers {
    let dir = nodes.all[0].dir();
    let context = Context::load(dir.context().unwrap()).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Papers {
        authority: text(&context.ca),
        certificate: text(&context.cert),
        key: text(&context.key),
    }
}

/// Those of a node, from its folder.
fn of_node(path: &std::path::Path) -> Papers {
    let read = |name: &str| std::fs::read_to_string(path.join("tls").join(name)).unwrap();
    Papers {
        authority: read("ca.crt"),
        certificate: read("node.crt"),
        key: read("node.key"),
    }
}

/// A channel to the front of `node` with these papers.
pub(super) fn channel(node: &Node, papers: &Papers) -> Channel {
    let key = NodeKey::from_pem(&papers.key).unwrap();
    let tls = NodeTls::load(
        &papers.authority,
        &papers.certificate,
        &key,
        SystemTime::now(),
    )
    .unwrap();
    dial(node, tls.client_config(node.name()))
}

fn dial(node: &Node, config: Arc<rustls::ClientConfig>) -> Channel {
    let address = node.etcd_address().unwrap();
    let connector = tower::service_fn(move |_: Uri| {
        let tls = TlsConnector::from(config.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::IpAddress(address.ip().into());
            Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, stream).await?))
        }
    });
    Endpoint::from_static("http://front").connect_with_connector_lazy(connector)
}

async fn put_as(node: &Node, papers: &Papers) -> Result<(), Status> {
    let mut etcd = KvClient::new(channel(node, papers));
    etcd.put(put("a", "1")).await.map(drop)
}

#[tokio::test]
async fn the_certificate_says_who_changed_what() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    put_as(node, &admin(&nodes)).await.unwrap();
    let request = v1::HistoryRequest {
        key: "a".into(),
        ..v1::HistoryRequest::default()
    };
    let history = node.kv().history(request).await.unwrap().into_inner();
    let entry = history.versions[0].entry.as_ref().unwrap();
    assert_eq!(entry.author, "client/admin");
    nodes.shutdown().await;
}

#[tokio::test]
async fn strangers_the_nameless_and_the_removed_are_refused() {
    let mut nodes = Nodes::three().await;
    let others = Nodes::one().await;
    let stranger = put_as(&nodes.all[0], &admin(&others)).await;
    assert_eq!(stranger.unwrap_err().code(), Code::Unavailable);
    // It trusts us, but shows a certificate that another cluster's authority signed.
    let mixed = Papers {
        authority: admin(&nodes).authority,
        ..admin(&others)
    };
    assert!(put_as(&nodes.all[0], &mixed).await.is_err());
    others.shutdown().await;

    // Without a certificate the handshake is let through, and every method refuses.
    let pem = admin(&nodes).authority;
    let nameless = {
        use rustls_pki_types::{CertificateDer, pem::PemObject as _};
        let mut roots = rustls::RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        roots.add(authority).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        dial(&nodes.all[0], Arc::new(config))
    };
    let refused = KvClient::new(nameless).range(get("a")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");

    let papers = of_node(&nodes.path("n3"));
    // A member it is, but no client: it is let in, and may write nothing.
    let refused = put_as(&nodes.all[0], &papers).await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: permission denied");
    let third = nodes.all.pop().unwrap();
    third.shutdown().await;
    let remove = RemoveRequest {
        id: 3,
        ..RemoveRequest::default()
    };
    nodes.all[0].cluster().remove(remove).await.unwrap();
    let is_removed = || {
        nodes.all[0].replica().store().read(|state| {
            state
                .member(holdfast_proto::NodeId(3))
                .is_some_and(|member| member.removed)
        })
    };
    eventually("the removal arrives", is_removed).await;
    let refused = put_as(&nodes.all[0], &papers).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("removed"), "{refused}");
    nodes.shutdown().await;
}

#[test]
fn plaintext_goes_on_loopback_and_nowhere_else() {
    let home = tempfile::tempdir().unwrap();
    let options = InitOptions {
        dir: home.path().join("n1"),
        name: "n1".parse().unwrap(),
        cluster_name: "test".to_owned(),
        listen: "127.0.0.1:7101".to_owned(),
        advertise: None,
        http: None,
        etcd: None,
        key_protector: holdfast_seal::Protector::File,
    };
    let mut dir = init(&options, SystemTime::now()).unwrap();
    for (address, allowed) in [
        ("127.0.0.1:0", true),
        ("[::1]:0", true),
        ("0.0.0.0:0", false),
        ("10.0.0.1:7301", false),
        ("db-1.example:7301", false),
    ] {
        let set = dir.configure(|configuration| {
            configuration.etcd = Some(address.to_owned());
            configuration.etcd_plaintext = true;
        });
        assert_eq!(set.is_ok(), allowed, "{address}");
        let Err(error) = set else {
            continue;
        };
        let why = std::error::Error::source(&error).unwrap();
        assert!(matches!(
            why.downcast_ref(),
            Some(ConfigurationError::Setting {
                setting: "etcd_plaintext",
                ..
            })
        ));
        assert!(why.to_string().contains("only loopback"), "{why}");
    }
}

#[tokio::test]
async fn a_write_through_any_node_is_read_through_any_other() {
    let nodes = Nodes::three().await;
    let papers = admin(&nodes);
    let write = async |node: &Node| put_as(node, &papers).await.unwrap();
    for (index, node) in nodes.all.iter().enumerate() {
        write(node).await;
        for reader in &nodes.all {
            let mut etcd = KvClient::new(channel(reader, &papers));
            let pairs = etcd.range(get("a")).await.unwrap().into_inner().kvs;
            assert_eq!(pairs[0].version, index as i64 + 1);
        }
    }
    nodes.shutdown().await;
}
