//! Who somebody is: certificates of the cluster's own authority, and the tokens that earn one.
//!
//! A certificate says who its holder is in one URI of its subject alternative names,
//! `holdfast://CLUSTER/node/NAME` or `holdfast://CLUSTER/client/NAME`. Nothing else in it is trusted.
//!
//! Invariants: (1) every certificate is built from our own parameters; of a request only the proven
//! public key is used. (2) Serial numbers are random. (3) Nothing here reads a clock: time comes in.

pub mod authority;
pub mod keys;
pub mod token;

use std::fmt;

use bytes::Bytes;
use holdfast_proto::NodeName;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

pub use authority::{AuthorityError, CaPin, CertificateAuthority};
pub use keys::{KeyError, NodeKey, PublicKey};
pub use token::{JoinToken, TokenError};

/// Who holds a certificate of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A node. Whether it is a member right now is for the replicated state to say.
    Node {
        /// The cluster's id.
        cluster: String,
        /// The node's name.
        name: NodeName,
        /// SubjectPublicKeyInfo, DER: tells a wiped node from its namesake.
        public_key: Bytes,
    },
    /// A service or an operator.
    Client {
        /// The cluster's id.
        cluster: String,
        /// The client's name.
        name: String,
    },
}

/// Why a certificate names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not a certificate.
    #[error("this is not an X.509 certificate: {0}")]
    Unreadable(String),
    /// A certificate, but not one that a Holdfast cluster gives out.
    #[error(
        "the certificate carries no identity (one URI holdfast://CLUSTER/node/NAME or \
         holdfast://CLUSTER/client/NAME); use one that this cluster gave out"
    )]
    Nameless,
}

impl Identity {
    /// Reads the identity of a certificate (DER). Whether the certificate is genuine is for TLS to say.
    pub fn from_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| IdentityError::Unreadable(error.to_string()))?;
        let public_key = Bytes::copy_from_slice(certificate.public_key().raw);
        let names = certificate
            .subject_alternative_name()
            .ok()
            .flatten()
            .ok_or(IdentityError::Nameless)?;
        let mut identities = names
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(*uri),
                _ => None,
            });
        let (Some(uri), None) = (identities.next(), identities.next()) else {
            return Err(IdentityError::Nameless);
        };
        Self::parse(uri, public_key).ok_or(IdentityError::Nameless)
    }

    fn parse(uri: &str, public_key: Bytes) -> Option<Self> {
        let mut parts = uri.strip_prefix(SCHEME)?.split('/');
        let (cluster, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
        if cluster.is_empty() || parts.next().is_some() {
            return None;
        }
        match kind {
            "node" => Some(Self::Node {
                cluster: cluster.to_owned(),
                name: name.parse().ok()?,
                public_key,
            }),
            "client" if is_client_name(name) => Some(Self::Client {
                cluster: cluster.to_owned(),
                name: name.to_owned(),
            }),
            _ => None,
        }
    }

    /// The cluster's id.
    pub fn cluster(&self) -> &str {
        match self {
            Self::Node { cluster, .. } | Self::Client { cluster, .. } => cluster,
        }
    }
}

/// `node/n1` or `client/admin`: how changes are signed in the history.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { name, .. } => write!(f, "node/{name}"),
            Self::Client { name, .. } => write!(f, "client/{name}"),
        }
    }
}

/// The public key of a certificate (SubjectPublicKeyInfo, DER).
pub fn public_key_of(der: &[u8]) -> Result<Bytes, IdentityError> {
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|error| IdentityError::Unreadable(error.to_string()))?;
    Ok(Bytes::copy_from_slice(certificate.public_key().raw))
}

/// A fresh cluster id: 128 random bits as 32 hexadecimal digits.
pub fn new_cluster_id() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// Whether a client may be called this: 1 to 63 of `a-z`, `A-Z`, `0-9`, `.`, `_` and `-`.
pub fn is_client_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

const SCHEME: &str = "holdfast://";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(uri: &str) -> Option<Identity> {
        Identity::parse(uri, Bytes::new())
    }

    #[test]
    fn an_identity_is_read_from_its_uri_and_nothing_else_is_one() {
        let node = parse("holdfast://c0ffee/node/n1").unwrap();
        assert_eq!(
            (node.cluster(), node.to_string().as_str()),
            ("c0ffee", "node/n1")
        );
        let client = parse("holdfast://c0ffee/client/ops.admin").unwrap();
        assert_eq!(client.to_string(), "client/ops.admin");
        for bad in [
            "https://c0ffee/node/n1",
            "holdfast:///node/n1",
            "holdfast://c0ffee/node/N1",
            "holdfast://c0ffee/node/n1/more",
            "holdfast://c0ffee/client/",
            "holdfast://c0ffee/client/a b",
            "holdfast://c0ffee/root/n1",
            "holdfast://c0ffee/node",
        ] {
            assert_eq!(parse(bad), None, "{bad} was taken");
        }
    }

    #[test]
    fn noise_is_no_certificate() {
        assert!(matches!(
            Identity::from_certificate(b"noise"),
            Err(IdentityError::Unreadable(_))
        ));
    }
}
