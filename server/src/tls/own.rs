//! The node's certificate, replaceable while connections come and go; two of them while the authority
//! is rotated.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    DistinguishedName, RootCertStore, SignatureScheme, client::ResolvesClientCert,
    server::ClientHello, server::ResolvesServerCert, sign::CertifiedKey,
};
use rustls_pki_types::CertificateDer;

/// What a node shows.
pub(super) struct OwnCertificate(ArcSwap<Shown>);

#[derive(Clone)]
struct Shown {
    in_use: Arc<CertifiedKey>,
    /// By the next authority, with that authority's name.
    next: Option<(Arc<CertifiedKey>, Vec<DistinguishedName>)>,
}

impl OwnCertificate {
    pub(super) fn new(own: CertifiedKey) -> Self {
        Self(ArcSwap::from_pointee(Shown {
            in_use: Arc::new(own),
            next: None,
        }))
    }

    /// The one that everybody is shown.
    pub(super) fn in_use(&self) -> Arc<CertifiedKey> {
        self.0.load().in_use.clone()
    }

    pub(super) fn replace(&self, own: Arc<CertifiedKey>) {
        let next = self.0.load().next.clone();
        self.0.store(Arc::new(Shown { in_use: own, next }));
    }

    pub(super) fn show_next(&self, next: Arc<CertifiedKey>, authority: &CertificateDer<'static>) {
        let mut roots = RootCertStore::empty();
        // It was loaded from there, so it is one.
        let _ = roots.add(authority.clone());
        self.0.store(Arc::new(Shown {
            in_use: self.in_use(),
            next: Some((next, roots.subjects())),
        }));
    }

    pub(super) fn settle(&self, own: Arc<CertifiedKey>) {
        self.0.store(Arc::new(Shown {
            in_use: own,
            next: None,
        }));
    }
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.0.load();
        let trusted = hello.certificate_authorities().unwrap_or_default();
        let names =
            |name: &DistinguishedName| trusted.iter().any(|one| one.as_ref() == name.as_ref());
        match &shown.next {
            Some((next, subjects)) if subjects.iter().any(names) => Some(next.clone()),
            _ => Some(shown.in_use.clone()),
        }
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.in_use())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnCertificate(..)")
    }
}
