//! Finding the first nodes by DNS: the endpoint `srv:NAME` stands for all that the SRV records of NAME
//! name (RFC 2782), such as `srv:_holdfast._tcp.shop.example`.
//!
//! It is looked up when the client is made and again whenever the records have had their time to live,
//! so that a client finds nodes that were moved. Where DNS does not answer, what was found stays, and so
//! do the members that the cluster named: DNS is needed to find the first node, and for nothing else.
//! Priorities and weights are not used: who leads decides where a call goes.

use std::{net::SocketAddr, sync::Weak, time::Duration};

use crate::{circuit::jittered, client::Inner};

/// What an endpoint begins with that is to be looked up.
const SCHEME: &str = "srv:";

/// The name to look up, where an endpoint is not an address.
pub(crate) fn service(endpoint: &str) -> Option<&str> {
    endpoint.strip_prefix(SCHEME)
}

/// Whether a name to look up is one.
pub(crate) fn is_service(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(is_fit)
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Looks names up for as long as the client lives.
pub(crate) struct Discovery {
    pub(crate) names: Vec<String>,
    /// Whom to ask; `None`: whom the system asks.
    pub(crate) name_server: Option<SocketAddr>,
    /// Does not keep the client.
    pub(crate) client: Weak<Inner>,
}

/// What the records of a name say.
struct Found {
    addresses: Vec<String>,
    /// How long.
    valid: Duration,
}

impl Discovery {
    pub(crate) async fn run(self) {
        let mut failures = 0;
        let mut known: Vec<Vec<String>> = vec![Vec::new(); self.names.len()];
        loop {
            let (mut next, mut failed) = (LONGEST_VALID, None);
            for (name, known) in self.names.iter().zip(&mut known) {
                match look_up(name, self.name_server).await {
                    Ok(found) => {
                        next = next.min(found.valid);
                        *known = found.addresses;
                    }
                    Err(why) => failed = Some(format!("{SCHEME}{name}: {why}")),
                }
            }
            let Some(client) = self.client.upgrade() else {
                return;
            };
            client.nodes.discovered(&known.concat(), failed.clone());
            drop(client);
            let pause = match failed {
                Some(why) => {
                    tracing::warn!(why, "a name of the context could not be looked up");
                    failures += 1;
                    jittered(FIRST_PAUSE * 2_u32.pow(failures.min(8)), LONGEST_PAUSE)
                }
                None => {
                    failures = 0;
                    next.max(SHORTEST_VALID)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(feature = "dns")]
async fn look_up(name: &str, name_server: Option<SocketAddr>) -> Result<Found, String> {
    use hickory_resolver::{
        TokioResolver,
        config::{ConnectionConfig, NameServerConfig, ResolverConfig},
        net::runtime::TokioRuntimeProvider,
        proto::rr::RData,
    };
    // Made anew each time: what the system asks may have changed, and nothing is to be remembered.
    let builder = match name_server {
        None => TokioResolver::builder_tokio().map_err(|error| error.to_string())?,
        Some(at) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let connections = connections.map(|mut connection| {
                connection.port = at.port();
                connection
            });
            let server = NameServerConfig::new(at.ip(), true, connections.into());
            let config = ResolverConfig::from_name_servers(vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let resolver = builder.build().map_err(|error| error.to_string())?;
    // A name that ends with a dot is looked for nowhere else.
    let name = format!("{}.", name.trim_end_matches('.'));
    let answer = resolver.srv_lookup(name).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let mut addresses: Vec<String> = answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(srv),
            _ => None,
        })
        // "." says that there is no such service.
        .filter(|srv| !srv.target.is_root())
        .map(|srv| {
            let host = srv.target.to_ascii();
            format!("{}:{}", host.trim_end_matches('.'), srv.port)
        })
        .collect();
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() {
        return Err("there is no such service".to_owned());
    }
    let valid = answer.valid_until();
    Ok(Found {
        addresses,
        valid: valid.saturating_duration_since(std::time::Instant::now()),
    })
}

#[cfg(not(feature = "dns"))]
async fn look_up(_: &str, _: Option<SocketAddr>) -> Result<Found, String> {
    Err(
        "this program was built without looking names up; build it with the SDK's feature `dns`"
            .to_owned(),
    )
}

const SHORTEST_VALID: Duration = Duration::from_secs(1);
const LONGEST_VALID: Duration = Duration::from_secs(3600);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
