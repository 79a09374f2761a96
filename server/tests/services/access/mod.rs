//! Access: what somebody may do at each door of a node, and how a change of that takes effect.

mod doors;
mod etcd;
mod keys;
mod policy;
mod streams;

use std::{sync::Arc, time::SystemTime};

use holdfast_client::{Client, Rule};
use holdfast_server::{
    identity::{NodeKey, authority::to_pem},
    node::Node,
    tls::NodeTls,
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{
    Status,
    transport::{Channel, Endpoint, Uri},
};
use tonic_prost::ProstCodec;

use crate::nodes::Nodes;

/// The certificate of one caller, and the key that it is for.
struct Papers {
    authority: String,
    certificate: String,
    key: NodeKey,
}

impl Papers {
    /// Those of a new identity of this name, which has no roles.
    async fn issue(nodes: &Nodes, name: &str) -> Self {
        let key = NodeKey::generate().unwrap();
        let request = key.certificate_request().unwrap();
        let access = nodes.all[0].client().access();
        let issued = access.issue(name, request, None).await.unwrap();
        let pem = |der: &[u8]| to_pem(&CertificateDer::from(der.to_vec()));
        Self {
            authority: pem(&issued.authority),
            certificate: pem(&issued.certificate),
            key,
        }
    }

    /// Those of a node, from its folder.
    fn of_node(nodes: &Nodes, name: &str) -> Self {
        let folder = nodes.path(name).join("tls");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        Self {
            authority: read("ca.crt"),
            certificate: read("node.crt"),
            key: NodeKey::from_pem(&read("node.key")).unwrap(),
        }
    }

    fn tls(&self, node: &Node) -> Arc<rustls::ClientConfig> {
        let now = SystemTime::now();
        let tls = NodeTls::load(&self.authority, &self.certificate, &self.key, now);
        tls.unwrap().client_config(node.name())
    }

    /// A channel to the node's own front.
    fn channel(&self, node: &Node) -> Channel {
        dial(node.address(), self.tls(node))
    }

    /// A channel to its front for etcd's clients.
    fn etcd(&self, node: &Node) -> Channel {
        dial(node.etcd_address().unwrap(), self.tls(node))
    }

    fn client(&self, node: &Node) -> Client {
        let cluster = node.dir().configuration().cluster_id.clone();
        Client::from_channel(self.channel(node), cluster)
    }
}

fn dial(address: std::net::SocketAddr, config: Arc<rustls::ClientConfig>) -> Channel {
    let connector = tower::service_fn(move |_: Uri| {
        let tls = TlsConnector::from(config.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::IpAddress(address.ip().into());
            Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, stream).await?))
        }
    });
    Endpoint::from_static("http://node").connect_with_connector_lazy(connector)
}

/// Calls a method with an empty message.
async fn call(channel: &Channel, method: &str) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = format!("/{method}").parse().unwrap();
    let codec: ProstCodec<(), ()> = ProstCodec::default();
    let mut request = tonic::Request::new(());
    request.set_timeout(std::time::Duration::from_secs(5));
    grpc.unary(request, path, codec).await.map(drop)
}

/// Gives `client/NAME` a role of its own with these rules, and no other.
async fn allow(nodes: &Nodes, name: &str, rules: &[&str]) {
    let access = nodes.all[0].client().access();
    let rules = rules.iter().map(|rule| rule.parse::<Rule>().unwrap());
    let role = format!("of-{name}");
    access.set_role(role.as_str(), rules).await.unwrap();
    let identity = format!("client/{name}");
    access.change_grant(identity, &[&role], &[]).await.unwrap();
}
