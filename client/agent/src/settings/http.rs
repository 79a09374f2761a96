//! The HTTP port, for machines that look after machines.

use serde::Deserialize;

use super::Wrong;

/// Where health and metrics are told. Plain HTTP without authentication, which tells names of sets and what
/// is wrong with them, and neither key nor value.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpSettings {
    /// `HOST:PORT`, such as `127.0.0.1:9464`: loopback, or a network of your own.
    pub(crate) listen: String,
}

impl HttpSettings {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let is_port = self
            .listen
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        match is_port {
            true => Ok(()),
            false => Err(Wrong::new(
                "listen",
                format!(
                    "{:?} is no address and port; give both, such as \"127.0.0.1:9464\"",
                    self.listen
                ),
            )),
        }
    }
}
