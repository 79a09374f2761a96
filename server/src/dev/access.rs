//! What the operator of a local cluster may do: everything, secrets in the clear too, so that nobody
//! who tries something out has to grant himself a role first.

use holdfast_client::{Client, ReadError};
use holdfast_core::access::{FIRST, REVEALER};

use super::cluster::ClusterError;

/// Sees to it that the operator may reveal secrets. `false`: he is no administrator any more, so it
/// stays as it is.
pub(super) async fn begin(client: &Client) -> Result<bool, ClusterError> {
    let access = client.access();
    let grants = match access.grants().await {
        Ok(grants) => grants,
        Err(ReadError::Denied { .. }) => return Ok(false),
        Err(error) => return Err(ClusterError::Request(error.to_string())),
    };
    let own = grants.iter().find(|grant| grant.identity == FIRST);
    if own.is_some_and(|grant| grant.roles.iter().any(|role| role == REVEALER)) {
        return Ok(true);
    }
    let granted = access.change_grant(FIRST, &[REVEALER], &[]).await;
    granted.map_err(|error| ClusterError::Request(error.to_string()))?;
    Ok(true)
}
