//! Mutual TLS with the papers of a node and of a client, outside of either side.

use std::{path::Path, sync::Arc};

use holdfast_client::Context;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

/// With the certificate of a node, for clients that `authority` vouches for.
pub(crate) fn server(node: &Path, authority: &[u8]) -> anyhow::Result<ServerConfig> {
    let verifier = WebPkiClientVerifier::builder(roots(authority)?).build()?;
    let read = |name: &str| std::fs::read(node.join(name));
    Ok(ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(&read("tls/node.crt")?)?, key(&read("tls/node.key")?)?)?)
}

/// With the papers of a client.
pub(crate) fn client(papers: &Context) -> anyhow::Result<ClientConfig> {
    Ok(ClientConfig::builder()
        .with_root_certificates(roots(&papers.ca)?)
        .with_client_auth_cert(chain(&papers.cert)?, key(&papers.key)?)?)
}

fn roots(pem: &[u8]) -> anyhow::Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(pem)? {
        roots.add(certificate)?;
    }
    Ok(Arc::new(roots))
}

fn chain(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    Ok(CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?)
}

fn key(pem: &[u8]) -> anyhow::Result<PrivateKeyDer<'static>> {
    Ok(PrivateKeyDer::from_pem_slice(pem)?)
}
