//! Who is at the other end of a connection, and what he may do: known once, for all its requests.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwapOption;
use holdfast_core::{
    State,
    access::{EMBEDDED, PLAINTEXT, PolicyVersion, Rights},
};
use tonic::Request;

use crate::{access::Permit, audit::Who, host::Host, identity::Identity, tls::Peer};

/// What is known of a caller, made once a connection. A request's extension.
#[derive(Clone)]
pub(crate) struct Caller(Arc<Known>);

struct Known {
    identity: Option<Identity>,
    author: Arc<str>,
    address: Option<SocketAddr>,
    /// As of the newest policy that a request met.
    held: ArcSwapOption<Held>,
}

/// The rights of one identity under one policy.
pub(crate) struct Held {
    version: PolicyVersion,
    pub(crate) rights: Rights,
}

impl Caller {
    /// As the certificate proves it; `None`: it showed none.
    pub(crate) fn new(identity: Option<Identity>, address: Option<SocketAddr>) -> Self {
        let author = match &identity {
            Some(identity) => identity.to_string().into(),
            None => NOBODY.into(),
        };
        Self(Arc::new(Known {
            identity,
            author,
            address,
            held: ArcSwapOption::empty(),
        }))
    }

    /// The other end of a connection over TLS.
    pub(crate) fn of_peer(Peer(identity, address): Peer) -> Self {
        Self::new(identity, address)
    }

    /// A connection without TLS, which the node's operator allowed on loopback.
    pub(crate) fn plaintext(cluster: &str) -> Self {
        Self::new(Some(within(cluster, PLAINTEXT)), None)
    }

    /// A connection of the program that the node is embedded in.
    pub(crate) fn embedded(cluster: &str) -> Self {
        Self::new(Some(within(cluster, EMBEDDED)), None)
    }

    /// The caller of a request.
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        Self::among(request.extensions())
    }

    /// As [`Caller::of`], from the extensions of a request.
    pub(crate) fn among(extensions: &http::Extensions) -> Self {
        let caller = extensions.get::<Self>().cloned();
        caller.unwrap_or_else(|| Self::new(None, None))
    }

    /// How the caller signs what it changes: `client/NAME`, `node/NAME` or `nobody`.
    pub(crate) fn author(&self) -> &Arc<str> {
        &self.0.author
    }

    /// Who a certificate says it is.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.0.identity.as_ref()
    }

    /// As the audit log names it.
    pub(crate) fn who(&self) -> Who {
        Who::new(self.0.author.to_string(), self.0.address)
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
