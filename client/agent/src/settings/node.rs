//! Who this node is, for overrides.

use super::Wrong;

/// The host's name.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// A name that can stand behind `@node:` or `@role:`.
pub(crate) fn check_name(field: &str, name: &str) -> Result<(), Wrong> {
    match !name.is_empty() && !name.contains(['@', '/', ':']) {
        true => Ok(()),
        false => Err(Wrong::new(
            field,
            format!("{name:?} cannot be named by an override; leave out `@`, `/` and `:`"),
        )),
    }
}
