//! Who made a backup: a signature by a node's certificate, which its cluster's authority signed.

use holdfast_proto::log::v1::{BackupHeader, BackupSignature};
use rustls_pki_types::{CertificateDer, alg_id};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use crate::identity::{Identity, NodeKey};

/// What signs a node's backups.
pub(crate) struct Signer {
    /// The node's key.
    pub(crate) key: NodeKey,
    /// Its certificate.
    pub(crate) certificate: CertificateDer<'static>,
    /// The certificate of its cluster's authority.
    pub(crate) authority: CertificateDer<'static>,
}

/// Whose signature counts.
#[derive(Clone, Debug)]
pub enum Trust {
    /// That of a node whose certificate is by this authority.
    Authority(CertificateDer<'static>),
    /// That of a node whose certificate is by the authority that is in the file: it shows that nothing
    /// was changed since, and not who made it.
    AsItSays,
}

impl Signer {
    /// Signs the digest of everything before the signature.
    pub(super) fn sign(&self, digest: &[u8; 32]) -> Result<BackupSignature, String> {
        Ok(BackupSignature {
            authority: self.authority.to_vec().into(),
            certificate: self.certificate.to_vec().into(),
            signature: self
                .key
                .sign(&signed(digest, &self.authority, &self.certificate))
                .map_err(|error| error.to_string())?
                .into(),
        })
    }
}

/// Checks a signature, and that who made it is whom the head names.
pub(super) fn verify(
    signature: &BackupSignature,
    digest: &[u8; 32],
    header: &BackupHeader,
    trust: &Trust,
) -> Result<(), &'static str> {
    if let Trust::Authority(expected) = trust
        && expected.as_ref() != &signature.authority[..]
    {
        return Err(
            "not the expected authority vouches for its maker: it is another cluster's, or from before the authority was rotated",
        );
    }
    let parse = |der| {
        X509Certificate::from_der(der)
            .ok()
            .map(|(_, parsed)| parsed)
    };
    let authority = parse(&signature.authority).ok_or("the authority's certificate is none")?;
    let maker = parse(&signature.certificate).ok_or("its maker's certificate is none")?;
    if !authority.is_ca() || authority.verify_signature(None).is_err() {
        return Err("the authority's certificate is none");
    }
    if maker
        .verify_signature(Some(authority.public_key()))
        .is_err()
    {
        return Err("its maker's certificate is not by that authority");
    }
    let seconds = i64::try_from(header.at_ms / 1_000).map_err(|_| "its time makes no sense")?;
    let at = ASN1Time::from_timestamp(seconds).map_err(|_| "its time makes no sense")?;
    if !maker.validity().is_valid_at(at) || !authority.validity().is_valid_at(at) {
        return Err("a certificate was not valid when it was made");
    }
    match Identity::from_certificate(&signature.certificate) {
        Ok(Identity::Node { cluster, name, .. })
            if cluster == header.cluster_id && name.as_str() == header.member_name => {}
        _ => return Err("its maker is not the node that it names"),
    }
    let key = &maker.public_key().subject_public_key.data;
    let message = signed(digest, &signature.authority, &signature.certificate);
    let algorithms =
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let algorithm = algorithms
        .all
        .iter()
        .find(|algorithm| {
            algorithm.public_key_alg_id() == alg_id::ECDSA_P256
                && algorithm.signature_alg_id() == alg_id::ECDSA_SHA256
        })
        .ok_or("it is of a kind that this program does not know")?;
    algorithm
        .verify_signature(key, &message, &signature.signature)
        .map_err(|_| "something was changed after it was made")
}

/// The certificates are in it too: not every bit of a certificate is under its issuer's signature.
fn signed(digest: &[u8; 32], authority: &[u8], certificate: &[u8]) -> Vec<u8> {
    let mut message = b"holdfast backup 1\n".to_vec();
    message.extend_from_slice(digest);
    for der in [authority, certificate] {
        message.extend_from_slice(blake3::hash(der).as_bytes());
    }
    message
}
