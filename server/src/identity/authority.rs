//! The cluster's own certificate authority.
//!
//! Every voter holds its key, so that any of them can admit a node; see `papers` for how it gets
//! there. It signs what *we* build: a
//! request's own wishes (a CA flag, other names) never reach a certificate.

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use holdfast_proto::NodeName;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, SanType, SerialNumber, string::Ia5String,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{KeyError, NodeKey, PublicKey, is_client_name};

/// The certificate and the key that make certificates for one cluster.
pub struct CertificateAuthority {
    certificate: CertificateDer<'static>,
    key: NodeKey,
    cluster: String,
}

/// SHA-256 of an authority's SubjectPublicKeyInfo (as RFC 7469 pins keys).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CaPin([u8; 32]);

/// Why the authority could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The certificate cannot be read or is not an authority's.
    #[error("this is no authority's certificate: {0}")]
    Certificate(String),
    /// The key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// They do not belong together.
    #[error("the authority's key does not belong to its certificate; restore both from one backup")]
    Mismatch,
    /// A name that a certificate must not carry.
    #[error("{0:?} cannot be a client's name; use 1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-'")]
    Name(String),
    /// An address that is none.
    #[error("{0:?} is no address; write HOST:PORT, like 10.0.0.7:7101 or db-1.example:7101")]
    Address(String),
    /// The signature could not be made.
    #[error("the certificate could not be made: {0}")]
    Signing(String),
}

impl CertificateAuthority {
    /// A fresh authority for the cluster of this id, valid from an hour before `now` for ten years.
    pub fn create(cluster_id: &str, now: SystemTime) -> Result<Self, AuthorityError> {
        Self::named(cluster_id, "authority", now)
    }

    /// The one that follows another. It has a name of its own, by which TLS tells them apart.
    pub fn create_next(
        cluster_id: &str,
        generation: u64,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        // By chance, too: one whose key was lost is replaced by another of its generation.
        let name = format!("authority {generation}-{:08x}", rand::random::<u32>());
        Self::named(cluster_id, &name, now)
    }

    fn named(cluster_id: &str, name: &str, now: SystemTime) -> Result<Self, AuthorityError> {
        let key = NodeKey::generate()?;
        let mut parameters = parameters(cluster_id, name, now, AUTHORITY_LIFETIME);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters.self_signed(&key.pair).map_err(signing)?;
        Ok(Self {
            certificate: certificate.der().clone(),
            key,
            cluster: cluster_id.to_owned(),
        })
    }

    /// From the PEM files that [`certificate_pem`](Self::certificate_pem) and
    /// [`key`](Self::key) gave.
    pub fn load(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| AuthorityError::Certificate(error.to_string()))?;
        Self::new(certificate.into_owned(), NodeKey::from_pem(key)?)
    }

    /// From DER, as `Join` hands it to a new node.
    pub fn from_der(certificate: &[u8], key: &[u8]) -> Result<Self, AuthorityError> {
        Self::new(
            CertificateDer::from(certificate.to_vec()),
            NodeKey::from_der(key)?,
        )
    }

    fn new(certificate: CertificateDer<'static>, key: NodeKey) -> Result<Self, AuthorityError> {
        let unreadable = |error: &dyn fmt::Display| AuthorityError::Certificate(error.to_string());
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|e| unreadable(&e))?;
        if !parsed.is_ca() {
            return Err(unreadable(&"it may not sign others"));
        }
        if parsed.public_key().raw != key.public_key().der() {
            return Err(AuthorityError::Mismatch);
        }
        let cluster = parsed
            .subject()
            .iter_organization()
            .next()
            .and_then(|name| name.as_str().ok())
            .ok_or_else(|| unreadable(&"it names no cluster"))?
            .to_owned();
        Ok(Self {
            certificate,
            key,
            cluster,
        })
    }

    /// The id of the cluster it makes certificates for.
    pub fn cluster_id(&self) -> &str {
        &self.cluster
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its own certificate in PEM.
    pub fn certificate_pem(&self) -> String {
        to_pem(&self.certificate)
    }

    /// Its key: the most secret thing of a cluster.
    pub fn key(&self) -> &NodeKey {
        &self.key
    }

    /// What a join token pins.
    pub fn pin(&self) -> CaPin {
        CaPin::of(self.key.public_key().der())
    }

    /// A certificate for a node at `address` (`HOST:PORT`), valid from an hour before `now` for a year.
    pub fn sign_node(
        &self,
        name: &NodeName,
        public_key: &PublicKey,
        address: &str,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let mut parameters = parameters(&self.cluster, name.as_str(), now, LIFETIME);
        parameters.subject_alt_names = address_names(address)?;
        parameters
            .subject_alt_names
            .push(self.uri("node", name.as_str())?);
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.sign(parameters, public_key)
    }

    /// A certificate for a service or an operator, valid from an hour before `now` for a year.
    pub fn sign_client(
        &self,
        name: &str,
        public_key: &PublicKey,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        self.sign_client_for(name, public_key, now, LIFETIME)
    }

    /// As [`CertificateAuthority::sign_client`], valid for another time from `now` on.
    pub fn sign_client_for(
        &self,
        name: &str,
        public_key: &PublicKey,
        now: SystemTime,
        validity: Duration,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        if !is_client_name(name) {
            return Err(AuthorityError::Name(name.to_owned()));
        }
        let mut parameters = parameters(&self.cluster, name, now, validity);
        parameters.subject_alt_names = vec![self.uri("client", name)?];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(parameters, public_key)
    }

    fn uri(&self, kind: &str, name: &str) -> Result<SanType, AuthorityError> {
        let uri = format!("holdfast://{}/{kind}/{name}", self.cluster);
        Ok(SanType::URI(Ia5String::try_from(uri).map_err(signing)?))
    }

    fn sign(
        &self,
        parameters: CertificateParams,
        public_key: &PublicKey,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let issuer =
            Issuer::from_ca_cert_der(&self.certificate, &self.key.pair).map_err(signing)?;
        let certificate = parameters
            .signed_by(&public_key.info, &issuer)
            .map_err(signing)?;
        Ok(certificate.der().clone())
    }
}

impl CaPin {
    /// The pin of a public key (SubjectPublicKeyInfo, DER).
    pub fn of(public_key: &[u8]) -> Self {
        Self(Sha256::digest(public_key).into())
    }

    /// From its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaPin({self})")
    }
}

/// A certificate as PEM text.
pub fn to_pem(certificate: &CertificateDer<'_>) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let body = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|&byte| char::from(byte)));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// The host of `HOST:PORT` or `[V6]:PORT`.
pub fn host_of(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bare {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().ok().map(|_| v6),
        None => (!host.is_empty() && !host.contains([':', '[', ']'])).then_some(host),
    }
}

/// The names that clients check: the host; on a loopback address every way to say "this machine".
fn address_names(address: &str) -> Result<Vec<SanType>, AuthorityError> {
    let unusable = || AuthorityError::Address(address.to_owned());
    let host = host_of(address).ok_or_else(unusable)?;
    let name = |text: &str| {
        Ia5String::try_from(text)
            .map(SanType::DnsName)
            .map_err(|_| unusable())
    };
    let ip = host.parse::<IpAddr>().ok();
    if host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
        let mut names = vec![
            name("localhost")?,
            SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()),
            SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into()),
        ];
        names.extend(ip.map(SanType::IpAddress).filter(|ip| !names.contains(ip)));
        return Ok(names);
    }
    Ok(vec![ip.map_or_else(
        || name(host),
        |ip| Ok(SanType::IpAddress(ip)),
    )?])
}

fn parameters(
    cluster: &str,
    common_name: &str,
    now: SystemTime,
    lifetime: Duration,
) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, cluster);
    subject.push(DnType::CommonName, common_name);
    parameters.distinguished_name = subject;
    let since_1970 = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let now = rcgen::date_time_ymd(1970, 1, 1) + since_1970;
    parameters.not_before = now - CLOCK_TOLERANCE;
    parameters.not_after = now + lifetime;
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.use_authority_key_identifier_extension = true;
    let mut serial: [u8; 16] = rand::random();
    serial[0] = (serial[0] & 0x7f) | 0x40; // positive, and always 16 bytes long (RFC 5280, 4.1.2.2)
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    parameters
}

fn signing(error: rcgen::Error) -> AuthorityError {
    AuthorityError::Signing(error.to_string())
}

const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// How long a node's or a client's certificate lasts. Nodes renew their own in time.
pub const LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How far a clock may lag behind the one that signed.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests;
