//! What both ends of a handshake check alike: TLS 1.3, with the provider's algorithms.

use rustls::{
    DigitallySignedStruct, Error, SignatureScheme, client::danger::HandshakeSignatureValid,
    crypto::verify_tls13_signature,
};
use rustls_pki_types::CertificateDer;

use super::provider;

/// The handshake's signature.
pub(super) fn verify(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = &provider().signature_verification_algorithms;
    verify_tls13_signature(message, certificate, signature, algorithms)
}

/// The answer to a signature of TLS 1.2.
pub(super) fn not_spoken() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
}

/// The signatures that count.
pub(super) fn schemes() -> Vec<SignatureScheme> {
    provider()
        .signature_verification_algorithms
        .supported_schemes()
}
