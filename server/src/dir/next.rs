//! The papers of the next authority, beside those in use until the old one is retired.
//!
//! ```text
//! tls/next/    ca.crt, ca.key (of a node that votes), node.crt; and `settle` while they take their places
//! ```
//!
//! Invariants: (1) what lies there belongs to the authority in its `ca.crt`: that of another one is
//! thrown away whole. (2) The papers take the places of those in use together: a start after an
//! interruption ends that first.

use std::{fs, path::PathBuf, time::SystemTime};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use super::{
    CA_CERTIFICATE, CA_KEY, DirError, NODE_CERTIFICATE, NodeDir, TLS,
    files::{self, Mode},
};
use crate::{
    identity::{CertificateAuthority, NodeKey, authority::to_pem},
    tls::NodeTls,
};

impl NodeDir {
    /// Whether papers of this authority (DER) are kept as the next ones.
    pub(crate) fn has_next(&self, certificate: &[u8]) -> bool {
        let kept = self.read_certificate(&self.next().join(CA_CERTIFICATE));
        kept.is_ok_and(|kept| kept[..] == *certificate)
    }

    /// Makes this authority (DER) the next one; papers of another are thrown away.
    pub(crate) fn keep_next(&self, certificate: &[u8]) -> Result<(), DirError> {
        let next = self.next();
        for name in [CA_CERTIFICATE, CA_KEY, NODE_CERTIFICATE] {
            files::remove(&next.join(name))?;
        }
        files::create_private_folder(&next)?;
        let pem = to_pem(&CertificateDer::from(certificate));
        files::write_atomically(&next.join(CA_CERTIFICATE), pem.as_bytes(), Mode::Private)
    }

    /// The next authority, if this node holds its key.
    pub(crate) fn next_authority(&self) -> Result<Option<CertificateAuthority>, DirError> {
        let next = self.next();
        if !next.join(CA_KEY).is_file() {
            return Ok(None);
        }
        let certificate = files::read(&next.join(CA_CERTIFICATE))?;
        let key = zeroize::Zeroizing::new(files::read(&next.join(CA_KEY))?);
        let authority = CertificateAuthority::load(&certificate, &key);
        authority
            .map(Some)
            .map_err(|source| self.authority_error(source))
    }

    /// Keeps the key of the next authority, if it belongs to its certificate.
    pub(crate) fn keep_next_key(&self, key: &NodeKey) -> Result<CertificateAuthority, DirError> {
        let next = self.next();
        let pem = key.to_pem();
        let certificate = files::read(&next.join(CA_CERTIFICATE))?;
        let authority = CertificateAuthority::load(&certificate, &pem)
            .map_err(|source| self.authority_error(source))?;
        files::write_atomically(&next.join(CA_KEY), pem.as_bytes(), Mode::Private)?;
        Ok(authority)
    }

    /// A certificate of the next authority for this node, which holds that authority's key.
    pub(crate) fn sign_next(
        &self,
        authority: &CertificateAuthority,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, DirError> {
        let configuration = &self.configuration;
        let (name, address) = (&configuration.name, &configuration.advertise);
        authority
            .sign_node(name, &self.node_key()?.public_key(), address, now)
            .map_err(|source| self.authority_error(source))
    }

    /// Keeps this node's certificate of the next authority, if it is that.
    pub(crate) fn keep_next_certificate(
        &self,
        certificate: &CertificateDer<'static>,
        now: SystemTime,
    ) -> Result<NodeTls, DirError> {
        let next = self.next();
        let pem = to_pem(certificate);
        let tls = self.check_papers(&next, &pem, now)?;
        files::write_atomically(&next.join(NODE_CERTIFICATE), pem.as_bytes(), Mode::Private)?;
        Ok(tls)
    }

    /// This node's TLS by the next authority, if it has a certificate of it.
    pub(crate) fn next_tls(&self, now: SystemTime) -> Result<Option<NodeTls>, DirError> {
        let next = self.next();
        if !next.join(NODE_CERTIFICATE).is_file() {
            return Ok(None);
        }
        let certificate = files::read(&next.join(NODE_CERTIFICATE))?;
        self.check_papers(&next, &certificate, now).map(Some)
    }

    /// Puts the next papers in the places of those in use.
    pub(crate) fn settle(&self) -> Result<(), DirError> {
        files::write_atomically(&self.next().join(SETTLE), b"", Mode::Private)?;
        self.settle_if_begun()
    }

    /// Ends what [`NodeDir::settle`] began.
    pub(super) fn settle_if_begun(&self) -> Result<(), DirError> {
        let (tls, next) = (self.path.join(TLS), self.next());
        if !next.join(SETTLE).is_file() {
            return Ok(());
        }
        for name in [CA_CERTIFICATE, CA_KEY, NODE_CERTIFICATE] {
            if next.join(name).is_file() {
                let text = zeroize::Zeroizing::new(files::read(&next.join(name))?);
                files::write_atomically(&tls.join(name), text.as_bytes(), Mode::Private)?;
            }
        }
        if !next.join(CA_KEY).is_file() {
            // It would not belong to the certificate.
            files::remove(&tls.join(CA_KEY))?;
        }
        files::remove(&next.join(SETTLE))?;
        fs::remove_dir_all(&next).map_err(files::failed("could not delete", &next))
    }

    fn next(&self) -> PathBuf {
        self.path.join(TLS).join(NEXT)
    }

    fn read_certificate(
        &self,
        path: &std::path::Path,
    ) -> Result<CertificateDer<'static>, DirError> {
        let pem = files::read(path)?;
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| {
            let why = crate::identity::AuthorityError::Certificate(error.to_string());
            self.authority_error(why)
        })
    }
}

const NEXT: &str = "next";
const SETTLE: &str = "settle";
