//! Key pairs (ECDSA P-256) and the proof that somebody holds one.
//!
//! P-256 rather than Ed25519 because curl, etcdctl and every TLS library of the last decade take it.

use bytes::Bytes;
use rcgen::{CertificateParams, KeyPair, SubjectPublicKeyInfo};
use rustls_pki_types::PrivateKeyDer;
use x509_parser::prelude::{FromDer, X509CertificationRequest};
use zeroize::Zeroizing;

/// A private key with its public half. No `Debug`, no `Clone`: it is a secret.
pub struct NodeKey {
    pub(super) pair: KeyPair,
}

/// A public key whose holder is known to have the private half.
#[derive(Clone, Debug)]
pub struct PublicKey {
    pub(super) info: SubjectPublicKeyInfo,
    der: Bytes,
}

/// Why a key or a request for a certificate was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The private key is not one, or of a kind that is not supported.
    #[error("this is no private key (PKCS#8) that can be used: {0}")]
    Unusable(String),
    /// Not a PKCS#10 request, or its key is of an unknown kind.
    #[error("this is no certificate request (PKCS#10) that can be used: {0}")]
    Request(String),
    /// The request is not signed by the key it names.
    #[error("the certificate request is not signed by the key it names; make a new one")]
    Unproven,
}

impl NodeKey {
    /// A fresh random key pair.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(unusable)?;
        Ok(Self { pair })
    }

    /// From PKCS#8 in PEM, as [`to_pem`](Self::to_pem) writes it.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        Ok(Self {
            pair: KeyPair::from_pem(pem).map_err(unusable)?,
        })
    }

    /// From PKCS#8 in DER.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        Ok(Self {
            pair: KeyPair::try_from(der).map_err(unusable)?,
        })
    }

    /// PKCS#8 in PEM. A secret: write it with mode 0600.
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.pair.serialize_pem())
    }

    /// PKCS#8 in DER. A secret.
    pub fn to_der(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.pair.serialize_der())
    }

    /// Signs a message: ECDSA with SHA-256, DER.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        rcgen::SigningKey::sign(&self.pair, message).map_err(unusable)
    }

    /// For rustls.
    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.pair.serialize_der().into())
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        let der = rcgen::PublicKeyData::subject_public_key_info(&self.pair);
        let info = SubjectPublicKeyInfo::from_der(&der).expect("rcgen reads what it wrote");
        PublicKey {
            info,
            der: der.into(),
        }
    }

    /// A request (PKCS#10, DER) that proves possession of this key. It asks for nothing else.
    pub fn certificate_request(&self) -> Result<Vec<u8>, KeyError> {
        let request = CertificateParams::default()
            .serialize_request(&self.pair)
            .map_err(|error| KeyError::Request(error.to_string()))?;
        Ok(request.der().to_vec())
    }
}

impl PublicKey {
    /// Takes the public key out of a request (PKCS#10, DER) after checking that the request is signed
    /// by it. Names and extensions of the request are ignored: nobody gets what they ask for there.
    pub fn from_request(der: &[u8]) -> Result<Self, KeyError> {
        let (rest, request) = X509CertificationRequest::from_der(der)
            .map_err(|error| KeyError::Request(error.to_string()))?;
        if !rest.is_empty() {
            return Err(KeyError::Request("bytes follow it".to_owned()));
        }
        request.verify_signature().map_err(|_| KeyError::Unproven)?;
        Self::from_der(request.certification_request_info.subject_pki.raw)
    }

    /// From a SubjectPublicKeyInfo (DER) whose holder has shown before that it has the private half.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let info = SubjectPublicKeyInfo::from_der(der)
            .map_err(|error| KeyError::Request(error.to_string()))?;
        Ok(Self {
            info,
            der: Bytes::copy_from_slice(der),
        })
    }

    /// SubjectPublicKeyInfo, DER: what the cluster keeps of a member.
    pub fn der(&self) -> &Bytes {
        &self.der
    }
}

fn unusable(error: rcgen::Error) -> KeyError {
    KeyError::Unusable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gives_the_public_key_of_its_maker() {
        let key = NodeKey::generate().unwrap();
        let public = PublicKey::from_request(&key.certificate_request().unwrap()).unwrap();
        assert_eq!(public.der(), key.public_key().der());
    }

    #[test]
    fn a_request_that_was_tampered_with_is_refused() {
        let request = NodeKey::generate().unwrap().certificate_request().unwrap();
        let mut tampered = request.clone();
        *tampered.last_mut().unwrap() ^= 1;
        assert!(PublicKey::from_request(&tampered).is_err());
        assert!(PublicKey::from_request(&request[..request.len() - 1]).is_err());
        let mut longer = request;
        longer.push(0);
        assert!(matches!(
            PublicKey::from_request(&longer),
            Err(KeyError::Request(_))
        ));
        assert!(matches!(
            PublicKey::from_request(b"noise"),
            Err(KeyError::Request(_))
        ));
    }

    #[test]
    fn a_key_survives_its_pem_and_der() {
        let key = NodeKey::generate().unwrap();
        let again = NodeKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(again.public_key().der(), key.public_key().der());
        let again = NodeKey::from_der(&key.to_der()).unwrap();
        assert_eq!(again.public_key().der(), key.public_key().der());
        assert!(NodeKey::from_pem("noise").is_err());
    }
}
