//! Operator contexts: the files with which a person or a service speaks to a cluster.
//!
//! A context is made where an authority's key is, so it needs no running cluster.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use holdfast_client::Context;

use crate::{
    dir::{
        DirError,
        files::{self, Mode},
    },
    identity::{AuthorityError, CertificateAuthority, NodeKey, authority::to_pem},
};

/// The name of the first operator.
pub const ADMIN: &str = "admin";

/// Why no context was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// A file could not be written.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// No certificate could be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// Writes `NAME.toml`, `NAME.crt`, `NAME.key` and `ca.crt` into `folder`, with a fresh key, and
/// returns the path of the first.
pub fn write_context(
    folder: &Path,
    authority: &CertificateAuthority,
    name: &str,
    endpoints: &[String],
    now: SystemTime,
) -> Result<PathBuf, OperatorError> {
    let key = NodeKey::generate().map_err(AuthorityError::from)?;
    let certificate = authority.sign_client(name, &key.public_key(), now)?;
    files::create_private_folder(folder)?;
    let (ca, cert, secret) = ("ca.crt", format!("{name}.crt"), format!("{name}.key"));
    files::write_atomically(
        &folder.join(ca),
        authority.certificate_pem().as_bytes(),
        Mode::Public,
    )?;
    files::write_atomically(
        &folder.join(&cert),
        to_pem(&certificate).as_bytes(),
        Mode::Public,
    )?;
    files::write_atomically(
        &folder.join(&secret),
        key.to_pem().as_bytes(),
        Mode::Private,
    )?;
    let text = Context::file_text(authority.cluster_id(), endpoints, ca, cert, secret);
    let path = folder.join(format!("{name}.toml"));
    files::write_atomically(&path, text.as_bytes(), Mode::Public)?;
    Ok(path)
}
