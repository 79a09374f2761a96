//! Trust: a server is a node of the context's cluster by its certificate, or nobody.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_client::{Client, ClientOptions, ConnectError, Context};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::net::TcpListener;

macro_rules! pem {
    ($name:literal) => {
        include_bytes!(concat!("trust/", $name))
    };
}

/// A TLS server that says nothing but who it is. Returns its address.
async fn server(certificate: &[u8], key: &[u8], clients: &[u8]) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(clients).unwrap())
        .unwrap();
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate).unwrap()],
            PrivateKeyDer::from_pem_slice(key).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut sink = tokio::io::sink();
                    let _ = tokio::io::copy(&mut stream, &mut sink).await;
                }
            });
        }
    });
    address
}

fn context(endpoint: String) -> Context {
    Context {
        cluster: "home".to_owned(),
        endpoints: vec![endpoint],
        ca: pem!("ca.crt").to_vec(),
        cert: pem!("client.crt").to_vec(),
        key: pem!("client.key").to_vec(),
        ..Context::default()
    }
}

async fn connect(endpoint: String) -> ConnectError {
    let options = ClientOptions {
        request_timeout: Duration::from_millis(600),
        attempt_timeout: Duration::from_millis(300),
        ..ClientOptions::default()
    };
    let context = context(endpoint);
    Client::with_options(&context, options).await.unwrap_err()
}

#[tokio::test]
async fn a_node_of_the_context_s_cluster_is_trusted_whatever_its_host_name() {
    let endpoint = server(pem!("node.crt"), pem!("node.key"), pem!("ca.crt")).await;
    // It speaks no gRPC, so that a connection is as far as it gets.
    let error = connect(endpoint).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn nobody_else_is_trusted_and_that_is_said_at_once() {
    let (ca, stranger) = (pem!("ca.crt"), pem!("stranger.crt"));
    let servers = [
        (
            "another cluster's",
            server(pem!("away.crt"), pem!("away.key"), ca).await,
        ),
        (
            "a client",
            server(pem!("client.crt"), pem!("client.key"), ca).await,
        ),
        (
            "forged",
            server(pem!("forged.crt"), pem!("forged.key"), ca).await,
        ),
        (
            "not trusting us",
            server(pem!("node.crt"), pem!("node.key"), stranger).await,
        ),
    ];
    for (what, endpoint) in servers {
        let started = Instant::now();
        let error = connect(endpoint).await;
        assert!(
            matches!(error, ConnectError::Unauthorized { .. }),
            "{what}: {error}"
        );
        assert!(started.elapsed() < Duration::from_millis(500), "{what}");
    }
}

#[tokio::test]
async fn unusable_credentials_are_named() {
    let mut context = context("127.0.0.1:1".to_owned());
    context.key = b"no PEM at all".to_vec();
    let error = Client::connect(&context).await.unwrap_err();
    assert!(error.to_string().contains("key cannot be used"), "{error}");
    context.ca = Vec::new();
    let error = Client::connect(&context).await.unwrap_err();
    assert!(error.to_string().contains("CA cannot be used"), "{error}");
}
