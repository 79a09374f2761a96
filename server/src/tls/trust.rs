//! Whom a node trusts: the authorities that vouch for nodes and clients, and the keys of members.
//!
//! A member keeps its key for life, and the replicated state knows it. So nodes take each other for
//! who they are by that key, whichever authority signed for it: they go on talking while the authority
//! is rotated, and one that was away meanwhile is let in when it comes back. For clients, and for nodes
//! that this one does not know yet, an authority has to vouch.
//!
//! Invariants: (1) a certificate of an authority that was retired opens nothing. It is recognised all
//! the same, so that its holder is told why. (2) What it opened before is closed when the authority is
//! retired: see [`PeerStream`](super::PeerStream).

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use holdfast_core::State;
use holdfast_proto::NodeName;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Peer, provider, signature, verify::verify_chain};
use crate::identity::{CaPin, Identity};

/// Who vouches for the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voucher {
    /// Nobody: it showed no certificate, or it is this process.
    Nobody,
    /// The replicated state: it is a member, and has the key that the cluster knows of it.
    Member,
    /// An authority that is trusted.
    Authority(CaPin),
    /// One that is trusted no more: what it vouches for is refused.
    Retired(CaPin),
}

/// How a caller stands with the authority that vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing is said against it.
    Good,
    /// While the authority is rotated: the old one vouches.
    Leaving,
    /// While the authority is rotated: the new one vouches.
    Renewed,
    /// The authority is trusted no more.
    Shut,
}

/// What a node goes by. Shared by all that is listened and dialled with.
pub struct Trust {
    cluster: String,
    /// The authority in the node's folder.
    own: ArcSwap<CertificateDer<'static>>,
    view: ArcSwap<View>,
}

/// Whom a node trusts at one moment.
struct View {
    trusted: Vec<Root>,
    /// All of `trusted` in one store.
    roots: Arc<RootCertStore>,
    retired: Vec<Root>,
    /// Which of `trusted` goes when the rotation that is under way ends.
    leaving: Option<CaPin>,
    members: HashMap<NodeName, Bytes>,
}

/// One authority.
struct Root {
    pin: CaPin,
    certificate: CertificateDer<'static>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    /// In one authority, and in no member yet.
    pub(super) fn new(cluster: &str, own: CertificateDer<'static>) -> Result<Self, Error> {
        let view = View::new(vec![Root::new(own.clone())?], Vec::new());
        Ok(Self {
            cluster: cluster.to_owned(),
            own: ArcSwap::from_pointee(own),
            view: ArcSwap::from_pointee(view),
        })
    }

    /// Takes over what the replicated state says.
    pub(crate) fn follow(&self, state: &State) {
        let root = |certificate: &Bytes| {
            let certificate = CertificateDer::from(certificate.to_vec());
            let root = Root::new(certificate);
            root.inspect_err(|error| tracing::warn!(%error, "an authority cannot be read"))
        };
        let (mut trusted, mut retired) = (Vec::new(), Vec::new());
        let known = state
            .authorities()
            .filter(|one| !one.certificate.is_empty());
        for authority in known {
            let place = match authority.retired {
                None => &mut trusted,
                Some(_) => &mut retired,
            };
            place.extend(root(&authority.certificate));
        }
        let own = self.own.load_full();
        let is_own = |root: &Root| root.certificate == *own;
        if !trusted.iter().chain(&retired).any(is_own) {
            trusted.extend(Root::new(CertificateDer::clone(&own)));
        }
        let before = state.next_authority().map(|next| next.generation - 1);
        let leaves = |generation| {
            let mut all = state.authorities();
            all.find(|one| one.generation == generation)
        };
        let mut view = View::new(trusted, retired);
        view.leaving = before.and_then(leaves).and_then(|leaving| {
            let of_it = |root: &&Root| root.certificate[..] == leaving.certificate[..];
            view.trusted.iter().find(of_it).map(|root| root.pin)
        });
        let present = state.members().filter(|member| !member.removed);
        view.members = present
            .map(|member| (member.name.clone(), member.public_key.clone()))
            .collect();
        self.view.store(Arc::new(view));
    }

    /// Who vouches for a certificate. An error: nobody does.
    pub(super) fn vouch(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Voucher, Error> {
        let view = self.view.load();
        let identity = Identity::from_certificate(end_entity).ok();
        let identity = identity.filter(|identity| identity.cluster() == self.cluster);
        if view.is_member(identity.as_ref()) {
            return Ok(Voucher::Member);
        }
        let signed = |root: &Root| {
            let verified = root
                .verifier
                .verify_client_cert(end_entity, intermediates, now);
            verified.map(|_| root.pin)
        };
        let mut refusal = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        for root in &view.trusted {
            match signed(root) {
                Ok(pin) => return Ok(Voucher::Authority(pin)),
                Err(error) => refusal = error,
            }
        }
        let mut gone = view.retired.iter().filter_map(|root| signed(root).ok());
        gone.next().map(Voucher::Retired).ok_or(refusal)
    }

    /// Whether a dialled node is the member of this name, or an authority says so.
    pub(super) fn check_node(
        &self,
        name: &NodeName,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let view = self.view.load();
        if let Ok(Identity::Node { public_key, .. }) = Identity::from_certificate(end_entity)
            && view.members.get(name) == Some(&public_key)
        {
            return Ok(());
        }
        verify_chain(end_entity, intermediates, &view.roots, now)
    }

    /// Another authority is in the node's folder from now on.
    pub(super) fn settle(&self, own: CertificateDer<'static>) {
        self.own.store(Arc::new(own));
    }

    /// The certificate of the authority in the node's folder.
    pub(crate) fn own(&self) -> Arc<CertificateDer<'static>> {
        self.own.load_full()
    }

    /// The cluster that all this is about.
    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Whether it is the authority of this certificate (DER) that vouches.
    pub(crate) fn is_by(&self, voucher: Voucher, certificate: &[u8]) -> bool {
        let view = self.view.load();
        let mut trusted = view.trusted.iter();
        trusted.any(|root| {
            root.certificate[..] == *certificate && voucher == Voucher::Authority(root.pin)
        })
    }

    /// How many authorities were retired.
    pub(super) fn retired(&self) -> usize {
        self.view.load().retired.len()
    }

    /// How a caller stands by now, whatever was true when it came.
    pub(crate) fn standing(&self, peer: &Peer) -> Standing {
        let view = self.view.load();
        let pin = match peer.2.by {
            Voucher::Nobody | Voucher::Member => return Standing::Good,
            Voucher::Authority(pin) | Voucher::Retired(pin) => pin,
        };
        let is_retired = view.retired.iter().any(|root| root.pin == pin);
        match (is_retired, view.leaving) {
            // A node may have come before it was known here as the member that it is.
            (true, _) if view.is_member(peer.0.as_ref()) => Standing::Good,
            (true, _) => Standing::Shut,
            (false, Some(leaving)) if leaving == pin => match view.is_member(peer.0.as_ref()) {
                true => Standing::Good,
                false => Standing::Leaving,
            },
            (false, Some(_)) => Standing::Renewed,
            (false, None) => Standing::Good,
        }
    }
}

impl View {
    /// Whether this is a member, by its name and its key.
    fn is_member(&self, identity: Option<&Identity>) -> bool {
        matches!(
            identity,
            Some(Identity::Node { name, public_key, .. })
                if self.members.get(name) == Some(public_key)
        )
    }

    fn new(trusted: Vec<Root>, retired: Vec<Root>) -> Self {
        let mut roots = RootCertStore::empty();
        for root in &trusted {
            // It was taken once already, into a store of its own.
            let _ = roots.add(root.certificate.clone());
        }
        Self {
            trusted,
            roots: Arc::new(roots),
            retired,
            leaving: None,
            members: HashMap::new(),
        }
    }
}

impl Root {
    fn new(certificate: CertificateDer<'static>) -> Result<Self, Error> {
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let pin = CaPin::of(parsed.public_key().raw);
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone())?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        Ok(Self {
            pin,
            verifier: verifier.map_err(|error| Error::General(error.to_string()))?,
            certificate,
        })
    }
}

/// Lets in whoever [`Trust`] knows somebody to vouch for, and who shows no certificate at all.
pub(super) struct Callers(pub(super) Arc<Trust>);

impl std::fmt::Debug for Callers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Callers(..)")
    }
}

impl ClientCertVerifier for Callers {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: a caller shows what it has, and is told what is wrong with it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.vouch(end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
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
