//! Checks of the server's certificate: a peer must be the node that was meant, and a new node must
//! meet the authority that its token pins.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use holdfast_proto::NodeName;
use parking_lot::Mutex;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Trust, provider, signature};
use crate::identity::{CaPin, Identity};

/// Whom a dialler takes for the one that was meant.
pub trait Check: fmt::Debug + Send + Sync {
    /// Looks at the certificates that were shown. Whether the other side has the key of the first
    /// is for [`Verifier`] to see to.
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error>;
}

/// A [`Check`] as rustls asks for it: over TLS 1.3 only, and whatever name was dialled.
#[derive(Debug)]
pub struct Verifier<C>(C);

impl<C: Check> Verifier<C> {
    /// By this check.
    pub fn new(check: C) -> Self {
        Self(check)
    }
}

/// Takes one node of one cluster and nobody else, wherever it listens.
pub struct NamedNode {
    trust: Arc<Trust>,
    name: NodeName,
    was_told: AtomicBool,
}

impl NamedNode {
    /// The node of this name, as far as `trust` goes.
    pub fn new(trust: Arc<Trust>, name: NodeName) -> Self {
        Self {
            trust,
            name,
            was_told: AtomicBool::new(false),
        }
    }

    /// Another authority may be that of the cluster that was made from a backup of this one: then this
    /// node is the one that does not belong there, and its operator has to know. Said once.
    fn explained(&self, error: Error) -> Error {
        use CertificateError::{BadSignature, UnknownIssuer};
        let Error::InvalidCertificate(UnknownIssuer | BadSignature) = error else {
            return error;
        };
        if !self.was_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(in_place_of = %self.name, "{ANOTHER_CLUSTER}");
        }
        Error::General(ANOTHER_CLUSTER.to_owned())
    }
}

impl fmt::Debug for NamedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamedNode({})", self.name)
    }
}

/// Takes any node of a cluster whose authority has the pinned key, and remembers that authority.
#[derive(Debug)]
pub struct PinnedAuthority {
    pin: CaPin,
    cluster: String,
    met: Mutex<Option<CertificateDer<'static>>>,
}

impl PinnedAuthority {
    /// Of a cluster known by its id and the pin of its authority.
    pub fn new(pin: CaPin, cluster: &str) -> Self {
        Self {
            pin,
            cluster: cluster.to_owned(),
            met: Mutex::default(),
        }
    }
}

impl Verifier<PinnedAuthority> {
    /// The authority that was met and matched.
    pub fn authority(&self) -> Option<CertificateDer<'static>> {
        self.0.met.lock().clone()
    }
}

impl Check for NamedNode {
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        self.trust
            .check_node(&self.name, end_entity, intermediates, now)
            .map_err(|error| self.explained(error))?;
        match identity(end_entity)? {
            Identity::Node { cluster, name, .. }
                if cluster == self.trust.cluster() && name == self.name =>
            {
                Ok(())
            }
            other => Err(Error::General(format!(
                "the one who answers is {other} of cluster {}, not node/{}",
                other.cluster(),
                self.name
            ))),
        }
    }
}

impl Check for PinnedAuthority {
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let pinned = intermediates.iter().find(|certificate| {
            X509Certificate::from_der(certificate)
                .is_ok_and(|(_, parsed)| CaPin::of(parsed.public_key().raw) == self.pin)
        });
        let Some(authority) = pinned else {
            return Err(Error::General(WRONG_AUTHORITY.to_owned()));
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        verify_chain(end_entity, &[], &roots, now)?;
        match identity(end_entity)? {
            Identity::Node { cluster, .. } if cluster == self.cluster => {
                *self.met.lock() = Some(authority.clone().into_owned());
                Ok(())
            }
            other => Err(Error::General(format!(
                "the one who answers is {other} of cluster {}, not a node of the token's cluster",
                other.cluster()
            ))),
        }
    }
}

impl<C: Check> ServerCertVerifier for Verifier<C> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.check(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::not_spoken()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signature::schemes()
    }
}

pub(super) fn verify_chain(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    now: UnixTime,
) -> Result<(), Error> {
    let parsed = ParsedCertificate::try_from(end_entity)?;
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)
}

fn identity(certificate: &CertificateDer<'_>) -> Result<Identity, Error> {
    Identity::from_certificate(certificate).map_err(|error| Error::General(error.to_string()))
}

/// What [`PinnedAuthority`] says of a server that another authority vouches for.
pub const WRONG_AUTHORITY: &str = "the authority of the one who answers is not the token's";
/// What [`NamedNode`] says of a server that another authority vouches for.
const ANOTHER_CLUSTER: &str = "a node of another cluster answers; if this cluster was restored from a \
     backup, this node is of the cluster before: empty its folder and join it anew with a token";
