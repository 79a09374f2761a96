//! What an instance is called when nobody names it.

use std::{env, path::Path};

/// `NODE/PROGRAM`, or `HOST/PROGRAM` where no node is named: what an operator looks for, and the same
/// after a restart. Several processes of one program on one machine need names of their own.
pub fn default_instance(node: Option<&str>) -> String {
    let host = match node {
        Some(node) => node.to_owned(),
        None => host(),
    };
    format!("{host}/{}", program())
}

/// The name of this program's file.
pub(super) fn program() -> String {
    let path = env::current_exe().ok();
    let path = path.or_else(|| env::args_os().next().map(Into::into));
    let name = path.as_deref().and_then(Path::file_stem);
    name.map_or_else(
        || "unknown".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

#[cfg(unix)]
fn host() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    env::var("COMPUTERNAME").unwrap_or_else(|_| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_called_by_where_it_is_and_what_it_runs() {
        let named = default_instance(Some("db7"));
        assert!(named.starts_with("db7/") && named.len() > 4, "{named}");
        let found = default_instance(None);
        assert_eq!(found, default_instance(None));
        assert!(
            !found.starts_with('/') && !found.starts_with("unknown/"),
            "{found}"
        );
    }
}
