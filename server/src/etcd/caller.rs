//! Who is at the other end of a connection of this front.

use std::{net::SocketAddr, sync::Arc};

use tonic::Request;

use crate::{audit::Who, identity::Identity};

/// What is known of a caller, made once a connection. A request's extension.
#[derive(Clone, Debug)]
pub(super) struct Caller(Arc<Known>);

#[derive(Debug)]
struct Known {
    identity: Option<Identity>,
    author: Arc<str>,
    address: Option<SocketAddr>,
}

impl Caller {
    /// As the certificate proves it; `None`: it showed none.
    pub(super) fn new(identity: Option<Identity>, address: Option<SocketAddr>) -> Self {
        let author = match &identity {
            Some(identity) => identity.to_string().into(),
            None => NOBODY.into(),
        };
        Self(Arc::new(Known {
            identity,
            author,
            address,
        }))
    }

    /// A connection without TLS, which the node's operator allowed on loopback.
    pub(super) fn plaintext(cluster: &str) -> Self {
        let identity = Identity::Client {
            cluster: cluster.to_owned(),
            name: PLAINTEXT.to_owned(),
        };
        Self::new(Some(identity), None)
    }

    /// As the audit log names a caller; `None`: one of whom nothing is known.
    pub(super) fn who(caller: Option<&Self>) -> Who {
        let author = caller.map_or(NOBODY, |caller| &caller.0.author);
        Who::new(
            author.to_owned(),
            caller.and_then(|caller| caller.0.address),
        )
    }

    pub(super) fn identity(&self) -> Option<&Identity> {
        self.0.identity.as_ref()
    }
}

/// How the caller signs what it changes.
pub(super) fn author<T>(request: &Request<T>) -> Arc<str> {
    match request.extensions().get::<Caller>() {
        Some(caller) => caller.0.author.clone(),
        None => NOBODY.into(),
    }
}

const NOBODY: &str = "nobody";
const PLAINTEXT: &str = "etcd-plaintext";
