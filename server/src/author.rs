//! Who calls, and whether they are let in at all: by the certificate of their connection.
//!
//! Joining, health and reflection ask for no certificate; what nodes tell each other is for nodes
//! alone; a node that was removed is refused everywhere. What a client may do once it is in is for
//! the policy to say ([`crate::access`]).

use tonic::Status;

use crate::{access::Required, caller::Caller, identity::Identity, status::Reason};

/// How the caller signs what it changes: `client/NAME` or `node/NAME`.
pub(crate) fn of<T>(request: &tonic::Request<T>) -> String {
    Caller::of(request).author().to_string()
}

/// Whether the caller may come to a method of a node of `cluster`, before it is asked what it may do
/// there. `is_removed` tells of a public key whether it was a member's that is one no more.
pub(crate) fn admit(
    required: Required,
    caller: &Caller,
    cluster: &str,
    is_removed: impl FnOnce(&[u8]) -> bool,
) -> Result<(), Status> {
    if required == Required::Open {
        return Ok(());
    }
    let identity = admit_identity(caller.identity(), cluster, is_removed)?;
    if matches!(identity, Identity::Client { .. }) && required == Required::Node {
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
