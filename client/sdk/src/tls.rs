//! TLS towards the cluster: 1.3 only, hybrid post-quantum key exchange, both sides named.
//!
//! A server is trusted when its certificate is signed by the context's CA *and* names a node of the
//! context's cluster (`holdfast://CLUSTER/node/NAME` in the SAN). The host name plays no part:
//! nodes move, and a name that DNS gave out is no identity.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use holdfast_seal::SymmetricKey;

use crate::{ConnectError, Context};

/// The client's side of TLS for a context.
pub(crate) fn client_config(context: &Context) -> Result<Arc<ClientConfig>, ConnectError> {
    let bad = |what: &'static str| {
        move |why: &dyn std::fmt::Display| ConnectError::Credentials {
            what,
            why: why.to_string(),
        }
    };
    let (bad_ca, bad_cert, bad_key) = (bad("CA"), bad("certificate"), bad("key"));

    let mut roots = RootCertStore::empty();
    for certificate in certificates(&context.ca).map_err(|e| bad_ca(&e))? {
        roots.add(certificate).map_err(|e| bad_ca(&e))?;
    }
    let chain = certificates(&context.cert).map_err(|e| bad_cert(&e))?;
    let key = PrivateKeyDer::from_pem_slice(&context.key).map_err(|e| bad_key(&e))?;

    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = NodeVerifier {
        subjects: roots.subjects(),
        roots,
        node_prefix: format!("holdfast://{}/node/", context.cluster),
        provider: Arc::clone(&provider),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| bad_key(&e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)
        .map_err(|e| bad_key(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    if all.is_empty() {
        return Err("the PEM file holds no certificate".to_owned());
    }
    Ok(all)
}

/// Trusts nodes of one cluster.
#[derive(Debug)]
struct NodeVerifier {
    roots: RootCertStore,
    /// Told to the server, which has two certificates while the cluster's authority is rotated.
    subjects: Vec<DistinguishedName>,
    node_prefix: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        if names_node(end_entity, &self.node_prefix)? {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        Some(&self.subjects)
    }
}

/// Whether the certificate's SAN has a URI of a node with this prefix.
fn names_node(certificate: &CertificateDer<'_>, prefix: &str) -> Result<bool, Error> {
    let unreadable = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, certificate) = parse_x509_certificate(certificate).map_err(|_| unreadable())?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| unreadable())?;
    Ok(names.is_some_and(|names| {
        names.value.general_names.iter().any(|name| match name {
            GeneralName::URI(uri) => uri
                .strip_prefix(prefix)
                .is_some_and(|node| !node.is_empty() && !node.contains('/')),
            _ => false,
        })
    }))
}

/// A key that only who has the context's private key can make.
pub(crate) fn cache_key(context: &Context) -> Result<SymmetricKey, ConnectError> {
    let key = PrivateKeyDer::from_pem_slice(&context.key);
    let key = key.map_err(|error| ConnectError::Credentials {
        what: "key",
        why: error.to_string(),
    })?;
    Ok(SymmetricKey::of_secret(
        "holdfast-client 2026-11 private key: caches of configurations",
        key.secret_der(),
    ))
}
