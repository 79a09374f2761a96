//! The port for monitors: health and metrics.

use std::net::SocketAddr;

use serde::Deserialize;

/// Where monitors ask.
#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "read by who serves it")]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpSettings {
    /// Address and port. What is told there holds no value, but names of sets and prefixes.
    pub(crate) listen: SocketAddr,
}
