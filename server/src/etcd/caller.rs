//! Who is at the other end of a connection of this front.

use std::sync::Arc;

use tonic::Request;

use crate::identity::Identity;

/// What is known of a caller, made once a connection. A request's extension.
#[derive(Clone, Debug)]
pub(super) struct Caller(Arc<Known>);

#[derive(Debug)]
struct Known {
    identity: Option<Identity>,
    author: Arc<str>,
}

impl Caller {
    /// As the certificate proves it; `None`: it showed none.
    pub(super) fn new(identity: Option<Identity>) -> Self {
        let author = match &identity {
            Some(identity) => identity.to_string().into(),
            None => NOBODY.into(),
        };
        Self(Arc::new(Known { identity, author }))
    }

    /// A connection without TLS, which the node's operator allowed on loopback.
    pub(super) fn plaintext(cluster: &str) -> Self {
        Self::new(Some(Identity::Client {
            cluster: cluster.to_owned(),
            name: PLAINTEXT.to_owned(),
        }))
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
