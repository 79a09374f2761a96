//! Who is at the other end of a connection, and what he may do: known once, for all its requests.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use holdfast_core::{
    State,
    access::{EMBEDDED, PLAINTEXT, PolicyVersion, Rights},
};
use tonic::Request;

use crate::{
    access::Permit,
    audit::Who,
    host::Host,
    identity::Identity,
    tls::{Peer, Standing, Trust, Vouched},
};

/// What is known of a caller, made once a connection. A request's extension.
#[derive(Clone)]
pub(crate) struct Caller(Arc<Known>);

struct Known {
    peer: Peer,
    author: Arc<str>,
    /// As of the newest policy that a request met.
    held: ArcSwapOption<Held>,
}

/// The rights of one identity under one policy.
pub(crate) struct Held {
    version: PolicyVersion,
    pub(crate) rights: Rights,
}

impl Caller {
    /// Of whom no certificate had to be vouched for.
    fn new(identity: Option<Identity>) -> Self {
        Self::of_peer(Peer(identity, None, Vouched::nobody()))
    }

    /// The other end of a connection over TLS.
    pub(crate) fn of_peer(peer: Peer) -> Self {
        let author = match &peer.0 {
            Some(identity) => identity.to_string().into(),
            None => NOBODY.into(),
        };
        Self(Arc::new(Known {
            peer,
            author,
            held: ArcSwapOption::empty(),
        }))
    }

    /// A connection without TLS, which the node's operator allowed on loopback.
    pub(crate) fn plaintext(cluster: &str) -> Self {
        Self::new(Some(within(cluster, PLAINTEXT)))
    }

    /// A connection of the program that the node is embedded in.
    pub(crate) fn embedded(cluster: &str) -> Self {
        Self::new(Some(within(cluster, EMBEDDED)))
    }

    /// The caller of a request.
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        Self::among(request.extensions())
    }

    /// As [`Caller::of`], from the extensions of a request.
    pub(crate) fn among(extensions: &http::Extensions) -> Self {
        let caller = extensions.get::<Self>().cloned();
        caller.unwrap_or_else(|| Self::new(None))
    }

    /// How the caller signs what it changes: `client/NAME`, `node/NAME` or `nobody`.
    pub(crate) fn author(&self) -> &Arc<str> {
        &self.0.author
    }

    /// Who a certificate says it is.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.0.peer.0.as_ref()
    }

    /// How it stands with the authority that vouches for it.
    pub(crate) fn standing(&self, trust: &Trust) -> Standing {
        trust.standing(&self.0.peer)
    }

    /// Who vouches for it, and for which key.
    pub(crate) fn vouched(&self) -> &Vouched {
        &self.0.peer.2
    }

    /// As the audit log names it.
    pub(crate) fn who(&self) -> Who {
        Who::new(self.0.author.to_string(), self.0.peer.1)
    }

    /// What it may do as of `state`.
    pub(crate) fn permit(&self, state: &State) -> Permit {
        Permit::new(self.0.author.clone(), self.held(state))
    }

    /// What it may do now, as far as this node knows.
    pub(crate) fn permit_now(&self, host: &Host) -> Permit {
        host.read(|state| self.permit(state))
    }

    /// Looked up anew only when the policy has changed: a request costs one comparison.
    fn held(&self, state: &State) -> Arc<Held> {
        let access = state.access();
        let version = access.version();
        if let Some(held) = &*self.0.held.load()
            && held.version == version
        {
            return held.clone();
        }
        let held = Arc::new(Held {
            version,
            rights: access.rights(&self.0.author),
        });
        self.0.held.store(Some(held.clone()));
        held
    }
}

fn within(cluster: &str, author: &str) -> Identity {
    Identity::Client {
        cluster: cluster.to_owned(),
        name: author.trim_start_matches("client/").to_owned(),
    }
}

const NOBODY: &str = "nobody";
