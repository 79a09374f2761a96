//! Who calls, and whether they may: by the certificate of their connection.
//!
//! For now every certificate of this cluster may use the whole public API. What nodes tell each
//! other is for nodes alone, and a node that was removed is refused everywhere. Joining, health and
//! reflection ask for no certificate.

use std::net::SocketAddr;

use http::Extensions;
use tonic::Status;

use crate::{identity::Identity, status::Reason, tls::Peer};

/// How the caller signs what it changes: `client/NAME` or `node/NAME`.
pub(crate) fn of<T>(request: &tonic::Request<T>) -> String {
    name_of(request.extensions())
}

/// As [`of`], from the extensions of a request.
pub(crate) fn name_of(extensions: &Extensions) -> String {
    identity(extensions).map_or_else(|| NOBODY.to_owned(), Identity::to_string)
}

/// Whether the caller may call the method at `path` of a node of `cluster`. `is_removed` tells of a
/// public key whether it was a member's that is one no more.
pub(crate) fn admit(
    path: &str,
    extensions: &Extensions,
    cluster: &str,
    is_removed: impl FnOnce(&[u8]) -> bool,
) -> Result<(), Status> {
    if path.starts_with("/grpc.") || path == JOIN {
        return Ok(());
    }
    let identity = admit_identity(identity(extensions), cluster, is_removed)?;
    if matches!(identity, Identity::Client { .. }) && path.starts_with("/holdfast.peer.") {
        return Err(Reason::NotAllowed
            .status("only nodes of the cluster may call this; use the public API instead"));
    }
    Ok(())
}

/// Whether a caller is let in at all: it shows a certificate of `cluster`, and is not a member that
/// was removed.
pub(crate) fn admit_identity<'a>(
    identity: Option<&'a Identity>,
    cluster: &str,
    is_removed: impl FnOnce(&[u8]) -> bool,
) -> Result<&'a Identity, Status> {
    let Some(identity) = identity else {
        return Err(Reason::Unauthenticated
            .status("this needs a certificate of the cluster; use the cert and key of a context"));
    };
    if identity.cluster() != cluster {
        return Err(Reason::Unauthenticated.status(format!(
            "the certificate is of cluster {}, this node belongs to {cluster}; \
             use a certificate of this cluster",
            identity.cluster()
        )));
    }
    // A node that lags may not know a newer member yet, so an unknown one is let in: the cluster's
    // own authority signed for it.
    if let Identity::Node { public_key, .. } = identity
        && is_removed(public_key)
    {
        return Err(Reason::Removed.status(
            "this node was removed from the cluster; to bring it back, empty its folder and join \
             it anew with a token",
        ));
    }
    Ok(identity)
}

/// Who calls, if a certificate says so.
pub(crate) fn identity(extensions: &Extensions) -> Option<&Identity> {
    extensions.get::<Peer>()?.0.as_ref()
}

/// Where the caller connected from; `None`: it is this process.
pub(crate) fn address(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<Peer>()?.1
}

const JOIN: &str = "/holdfast.v1.Cluster/Join";
const NOBODY: &str = "nobody";
