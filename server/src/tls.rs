//! TLS of a node: who it is, whom it trusts, and who is on the other end.
//!
//! One port serves clients and peers. TLS 1.3 only, with the hybrid post-quantum key exchange
//! (X25519MLKEM768) preferred. Only certificates of the cluster's own authority count, and the keys
//! that the cluster knows of its members: see [`trust`].
//!
//! Invariants: (1) the TLS layer lets a caller without a certificate in, for a new node has none;
//! [`Peer`] says so, and everything but `Join` refuses it. (2) A certificate that is shown must be
//! genuine, or the handshake fails. (3) A dialled peer must be the node that was meant, by the
//! identity in its certificate and not by its address. (4) While the authority is rotated, a node has a
//! certificate of each: a caller that names the new authority is shown the new one, everybody else the
//! old one. So nobody who trusts either of them is turned away.

pub mod dial;
pub mod listen;
mod own;
mod signature;
pub mod trust;
pub mod verify;

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use holdfast_proto::NodeName;
use rustls::{ClientConfig, ServerConfig, crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

pub use dial::PeerDialer;
pub use listen::{PeerStream, incoming};
pub(crate) use trust::Standing;
pub use trust::{Trust, Voucher};

use self::{
    own::OwnCertificate,
    trust::Callers,
    verify::{NamedNode, Verifier},
};
use crate::identity::{
    Identity, IdentityError, NodeKey,
    authority::{CLOCK_TOLERANCE, LIFETIME, host_of},
};

/// Who is at the other end of a connection, as its certificate proves it (`None`: it showed none),
/// where (`None`: in this process), and who vouches for that. A request's extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer(pub Option<Identity>, pub Option<SocketAddr>, pub Vouched);

/// What is known of a caller's certificate beside whom it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// Who says that it is genuine.
    pub by: Voucher,
    /// The key that the caller has shown to hold, SubjectPublicKeyInfo in DER; empty: none.
    pub public_key: Bytes,
}

impl Vouched {
    /// Of a caller that showed no certificate, or needs none.
    pub fn nobody() -> Self {
        Self {
            by: Voucher::Nobody,
            public_key: Bytes::new(),
        }
    }
}

/// A node's certificate, key and trust. Cheap to clone; a renewed certificate reaches all clones.
#[derive(Clone)]
pub struct NodeTls {
    identity: Identity,
    authority: CertificateDer<'static>,
    trust: Arc<Trust>,
    own: Arc<OwnCertificate>,
}

/// Why keys and certificates cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate that cannot be read.
    #[error("{file} is no certificate in PEM: {problem}")]
    Unreadable {
        /// Which file.
        file: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// It names nobody.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Certificate, key and authority do not belong together.
    #[error(
        "certificate, key and authority do not belong together: {0}; restore all from one backup"
    )]
    Mismatch(String),
    /// Somebody else's certificate.
    #[error("node.crt is for {found}, not for {expected}; put back the certificate of this node")]
    Stranger {
        /// Whom it names.
        found: String,
        /// Whom it should name.
        expected: String,
    },
    /// The clock stands before the certificate was made.
    #[error(
        "this machine's clock says {now}, but the node's certificate was made at {made}; \
         set the clock (for instance with chrony) and start again"
    )]
    ClockBehind {
        /// What the clock says.
        now: String,
        /// When the certificate was made.
        made: String,
    },
    /// The clock stands after the authority has expired.
    #[error(
        "this machine's clock says {now}, but the cluster's authority ends at {end}; \
         set the clock (for instance with chrony) and start again"
    )]
    ClockAhead {
        /// What the clock says.
        now: String,
        /// When the authority ends.
        end: String,
    },
}

impl NodeTls {
    /// From the authority's and the node's certificate (PEM) and the node's key. `now` is held
    /// against them: a clock that is far off is found here, and not by puzzling handshake errors.
    pub fn load(
        authority: &str,
        certificate: &str,
        key: &NodeKey,
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let authority = read_pem("ca.crt", authority)?;
        let certificate = read_pem("node.crt", certificate)?;
        check_clock(&authority, &certificate, now)?;
        let identity = Identity::from_certificate(&certificate)?;
        let trust = Trust::new(identity.cluster(), authority.clone()).map_err(mismatch)?;
        let own = certified(&authority, &certificate, key)?;
        Ok(Self {
            identity,
            authority,
            trust: Arc::new(trust),
            own: Arc::new(OwnCertificate::new(own)),
        })
    }

    /// Refuses a certificate that is not this node's of this cluster.
    pub fn expect_node(self, cluster: &str, name: &NodeName) -> Result<Self, TlsError> {
        match &self.identity {
            Identity::Node {
                cluster: c,
                name: n,
                ..
            } if c == cluster && n == name => Ok(self),
            other => Err(TlsError::Stranger {
                found: format!("{other} of cluster {}", other.cluster()),
                expected: format!("node/{name} of cluster {cluster}"),
            }),
        }
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whom it trusts.
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// The certificate of the authority that it was loaded with.
    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// For the port that serves clients and peers.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let verifier = Arc::new(Callers(self.trust.clone()));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider knows TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(self.own.clone());
        config.alpn_protocols = vec![HTTP2.to_vec()];
        // Every connection is a full handshake: a ticket would outlive a renewed certificate.
        config.send_tls13_tickets = 0;
        Arc::new(config)
    }

    /// For a connection to the node of this name, and to no other.
    pub fn client_config(&self, name: &NodeName) -> Arc<ClientConfig> {
        let meant = NamedNode::new(self.trust.clone(), name.clone());
        let mut config = client_builder(Arc::new(Verifier::new(meant)))
            .with_client_cert_resolver(self.own.clone());
        config.alpn_protocols = vec![HTTP2.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    }

    /// Whether the certificate has less than a third of its life before it.
    pub fn is_due(&self, now: SystemTime) -> bool {
        let own = self.own.in_use();
        own.cert.first().is_none_or(|certificate| {
            validity(certificate)
                .is_none_or(|(_, end)| end < seconds(now) + RENEW_BEFORE.as_secs() as i64)
        })
    }

    /// Whether the certificate names the host of this address (`HOST:PORT`).
    pub fn names_address(&self, address: &str) -> bool {
        let own = self.own.in_use();
        let Some((host, certificate)) = host_of(address).zip(own.cert.first()) else {
            return false;
        };
        names_host(certificate, host)
    }

    /// From now on shows the certificate of `other`.
    pub fn take_over(&self, other: &Self) {
        self.own.replace(other.own.in_use());
    }

    /// From now on shows the certificate of `other` to those who name its authority, too.
    pub fn show_next(&self, other: &Self) {
        self.own.show_next(other.own.in_use(), &other.authority);
    }

    /// From now on shows the certificate of `other` alone, and goes by its authority.
    pub fn settle(&self, other: &Self) {
        self.own.settle(other.own.in_use());
        self.trust.settle(other.authority.clone());
    }
}

/// A client configuration up to the choice of its own certificate.
pub(crate) fn client_builder(
    verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider knows TLS 1.3")
        .dangerous() // rustls' word for a verifier of one's own: ours checks chain and identity
        .with_custom_certificate_verifier(verifier)
}

/// aws-lc-rs, with X25519MLKEM768 first.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// The chain includes the authority, so that a new node can hold it against its token's pin.
fn certified(
    authority: &CertificateDer<'static>,
    certificate: &CertificateDer<'static>,
    key: &NodeKey,
) -> Result<CertifiedKey, TlsError> {
    let chain = vec![certificate.clone(), authority.clone()];
    CertifiedKey::from_der(chain, key.private_key(), &provider()).map_err(mismatch)
}

fn check_clock(
    authority: &CertificateDer<'_>,
    certificate: &CertificateDer<'_>,
    now: SystemTime,
) -> Result<(), TlsError> {
    let now = seconds(now);
    if let Some((start, _)) = validity(certificate)
        && now < start
    {
        let made = start + CLOCK_TOLERANCE.as_secs() as i64;
        return Err(TlsError::ClockBehind {
            now: utc(now),
            made: utc(made),
        });
    }
    if let Some((_, end)) = validity(authority)
        && now > end
    {
        return Err(TlsError::ClockAhead {
            now: utc(now),
            end: utc(end),
        });
    }
    Ok(())
}

fn names_host(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let ip = host.parse::<std::net::IpAddr>().ok().map(|ip| match ip {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    });
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return false;
    };
    names.value.general_names.iter().any(|name| match name {
        GeneralName::DNSName(dns) => dns.eq_ignore_ascii_case(host),
        GeneralName::IPAddress(bytes) => ip.as_deref() == Some(*bytes),
        _ => false,
    })
}

fn read_pem(file: &'static str, pem: &str) -> Result<CertificateDer<'static>, TlsError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| TlsError::Unreadable {
        file,
        problem: error.to_string(),
    })
}

/// Seconds since 1970 from when and until when a certificate is valid.
fn validity(certificate: &CertificateDer<'_>) -> Option<(i64, i64)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    Some((
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    ))
}

fn seconds(time: SystemTime) -> i64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn utc(seconds: i64) -> String {
    x509_parser::time::ASN1Time::from_timestamp(seconds).map_or_else(
        |_| format!("{seconds} s after 1970"),
        |time| time.to_string(),
    )
}

fn mismatch(error: rustls::Error) -> TlsError {
    TlsError::Mismatch(error.to_string())
}

const HTTP2: &[u8] = b"h2";
const RENEW_BEFORE: Duration = Duration::from_secs(LIFETIME.as_secs() / 3);

#[cfg(test)]
mod tests;
