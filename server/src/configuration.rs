//! What a node is told: `node.toml` in its folder, written by `kvd init` and `kvd join`.
//!
//! The file is small and may be edited while the node is down; a word that it does not know is
//! refused, so that a typing error does not pass for a setting.

use holdfast_proto::{NodeId, NodeName};
use holdfast_seal::Protector;
use serde::{Deserialize, Serialize};

use crate::{backup::BackupSettings, etcd::is_loopback, identity::authority::host_of};

/// The settings of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfiguration {
    /// The cluster's id: 32 hexadecimal digits, made by `kvd init`.
    pub cluster_id: String,
    /// What people call the cluster.
    pub cluster_name: String,
    /// The node's name, unique in its cluster.
    pub name: NodeName,
    /// Its number in consensus; given once, never reused.
    pub id: NodeId,
    /// Where it listens for clients and peers, `HOST:PORT`. Port 0 picks a free one.
    pub listen: String,
    /// Where the others reach it, `HOST:PORT`; it stands in its certificate.
    pub advertise: String,
    /// Where `/metrics`, `/healthz` and `/readyz` are served, `HOST:PORT`. None: nowhere.
    pub http: Option<String>,
    /// Where etcd's clients are served, `HOST:PORT`. None: nowhere.
    pub etcd: Option<String>,
    /// Serve them without TLS, for those that cannot do it. Only on loopback: whoever can connect may
    /// read and write everything there.
    pub etcd_plaintext: bool,
    /// Whether it only votes and keeps ciphertext: it joined with a token for a witness. It has no
    /// keys of the cluster and serves no clients; to make it more, remove it and join it anew.
    pub witness: bool,
    /// Whether this node began the cluster: on its first start it forms a cluster of one.
    pub founder: bool,
    /// How the node key is kept on disk: `file`, `passphrase` or `systemd`. A node whose key is kept
    /// otherwise does not start.
    pub key_protector: Protector,
    /// Worker threads of the runtime; at least 1. None: half the cores. More help only
    /// with cores to spare.
    pub worker_threads: Option<usize>,
    /// How consensus keeps time.
    pub timing: Timing,
    /// When backups are made, and how many are kept.
    pub backup: BackupSettings,
    /// An archive is written, and the log cut, after this many bytes of log. Default 64 MiB; less
    /// means more frequent archives and a shorter start.
    pub archive_after_bytes: u64,
}

/// How consensus keeps time. All nodes of a cluster should agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// How often the leader says that it is there, milliseconds. Default 50; costs a message a peer.
    pub heartbeat_ms: u64,
    /// The shortest wait before an election, milliseconds. Default 60; more than a heartbeat.
    pub election_min_ms: u64,
    /// The longest wait, and the lease of a leader, milliseconds. Default 240: a dead leader is
    /// replaced after about 300 ms of silence.
    pub election_max_ms: u64,
}

/// Why `node.toml` was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// Not TOML, or not what belongs there.
    #[error("{0}")]
    Syntax(String),
    /// Written by a newer program.
    #[error(
        "it is of format {found}, and this kvd knows formats up to {}; run the newer kvd that wrote it",
        FORMAT
    )]
    Newer {
        /// The format it says.
        found: u64,
    },
    /// A setting that cannot be.
    #[error("{setting} = {value}: {advice}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// As it stands there.
        value: String,
        /// What to write.
        advice: &'static str,
    },
}

impl NodeConfiguration {
    /// The settings of a node that is reached where it listens, with the defaults for the rest.
    pub fn new(
        cluster_id: &str,
        cluster_name: &str,
        name: NodeName,
        id: NodeId,
        listen: &str,
    ) -> Self {
        Self {
            cluster_id: cluster_id.to_owned(),
            cluster_name: cluster_name.to_owned(),
            name,
            id,
            listen: listen.to_owned(),
            advertise: listen.to_owned(),
            http: None,
            etcd: None,
            etcd_plaintext: false,
            witness: false,
            founder: false,
            key_protector: Protector::File,
            worker_threads: None,
            timing: Timing::default(),
            backup: BackupSettings::default(),
            archive_after_bytes: DEFAULT_ARCHIVE_AFTER_BYTES,
        }
    }

    /// Reads the text of a `node.toml`.
    pub fn parse(text: &str) -> Result<Self, ConfigurationError> {
        let syntax = |error: toml::de::Error| ConfigurationError::Syntax(error.to_string());
        let table: toml::Table = toml::from_str(text).map_err(syntax)?;
        match table.get("format").and_then(toml::Value::as_integer) {
            Some(FORMAT) => {}
            Some(found) if found > FORMAT => {
                let found = found.unsigned_abs();
                return Err(ConfigurationError::Newer { found });
            }
            _ => {
                return Err(ConfigurationError::Syntax(
                    "it has no line `format = 1`".to_owned(),
                ));
            }
        }
        let file: NodeFile = toml::from_str(text).map_err(syntax)?;
        file.into_configuration()
    }

    /// The text of its `node.toml`.
    pub fn to_toml(&self) -> String {
        let body = toml::to_string(&NodeFile::from(self)).expect("plain settings are TOML");
        format!("# A Holdfast node. Edit it only while the node is down.\n{body}")
    }

    /// Checks what types cannot: addresses and times that make sense.
    pub fn check(&self) -> Result<(), ConfigurationError> {
        let refuse = |setting, value: &dyn ToString, advice| {
            let value = value.to_string();
            Err(ConfigurationError::Setting {
                setting,
                value,
                advice,
            })
        };
        let addresses = [
            ("listen", Some(&self.listen)),
            ("advertise", Some(&self.advertise)),
            ("http", self.http.as_ref()),
            ("etcd", self.etcd.as_ref()),
        ];
        for (setting, address) in addresses {
            if let Some(address) = address.filter(|address| host_of(address).is_none()) {
                return refuse(setting, address, ADDRESS);
            }
        }
        if is_wildcard(&self.advertise) {
            return refuse(
                "advertise",
                &self.advertise,
                "others cannot connect to that; say with --advertise where they reach this node",
            );
        }
        if self.witness
            && let Some(etcd) = &self.etcd
        {
            return refuse("etcd", etcd, "a witness serves no clients; drop it");
        }
        if self.etcd_plaintext {
            let Some(etcd) = &self.etcd else {
                return refuse(
                    "etcd_plaintext",
                    &true,
                    "say with etcd where to listen, or drop it",
                );
            };
            if !host_of(etcd).is_some_and(is_loopback) {
                return refuse(
                    "etcd_plaintext",
                    &format!("true with etcd = {etcd}"),
                    PLAINTEXT,
                );
            }
        }
        let Timing {
            heartbeat_ms,
            election_min_ms,
            election_max_ms,
        } = self.timing;
        if heartbeat_ms < 5 {
            return refuse("timing.heartbeat_ms", &heartbeat_ms, "at least 5");
        }
        if election_min_ms <= heartbeat_ms {
            return refuse(
                "timing.election_min_ms",
                &election_min_ms,
                "more than heartbeat_ms",
            );
        }
        if election_max_ms <= election_min_ms {
            return refuse(
                "timing.election_max_ms",
                &election_max_ms,
                "more than election_min_ms",
            );
        }
        if self.worker_threads == Some(0) {
            return refuse(
                "worker_threads",
                &0,
                "at least 1, or leave it out for one a core",
            );
        }
        if self.backup.keep == 0 {
            return refuse(
                "backup.keep",
                &0,
                "at least 1; for none at all set every_seconds = 0",
            );
        }
        if self.archive_after_bytes < MIN_ARCHIVE_AFTER_BYTES {
            return refuse(
                "archive_after_bytes",
                &self.archive_after_bytes,
                "at least 65536",
            );
        }
        Ok(())
    }
}

impl NodeConfiguration {
    /// How others reach the front for etcd's clients that was bound to `address`: where it listens, or
    /// where they reach this node if that is every interface.
    pub fn etcd_url(&self, address: std::net::SocketAddr) -> String {
        let scheme = if self.etcd_plaintext { "http" } else { "https" };
        let listen = self.etcd.as_deref().filter(|listen| !is_wildcard(listen));
        let host = host_of(listen.unwrap_or(&self.advertise)).unwrap_or("localhost");
        let port = address.port();
        if host.contains(':') {
            return format!("{scheme}://[{host}]:{port}");
        }
        format!("{scheme}://{host}:{port}")
    }
}

/// Whether an address means "every interface", which nobody can connect to.
pub fn is_wildcard(address: &str) -> bool {
    host_of(address)
        .and_then(|host| host.parse::<std::net::IpAddr>().ok())
        .is_some_and(|ip| ip.is_unspecified())
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: 50,
            election_min_ms: 60,
            election_max_ms: 240,
        }
    }
}

/// `node.toml` as it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFile {
    format: i64,
    cluster: String,
    cluster_name: String,
    name: String,
    id: u64,
    listen: String,
    advertise: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etcd: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    etcd_plaintext: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    witness: bool,
    #[serde(default)]
    founder: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_protector: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    worker_threads: Option<usize>,
    #[serde(default = "default_archive_after_bytes")]
    archive_after_bytes: u64,
    #[serde(default)]
    timing: Timing,
    #[serde(default)]
    backup: BackupSettings,
}

impl NodeFile {
    fn into_configuration(self) -> Result<NodeConfiguration, ConfigurationError> {
        let name = self.name.parse().map_err(|_| ConfigurationError::Setting {
            setting: "name",
            value: self.name.clone(),
            advice: "1 to 63 of a-z, 0-9 and '-'",
        })?;
        let configuration = NodeConfiguration {
            cluster_id: self.cluster,
            cluster_name: self.cluster_name,
            name,
            id: NodeId(self.id),
            listen: self.listen,
            advertise: self.advertise,
            http: self.http,
            etcd: self.etcd,
            etcd_plaintext: self.etcd_plaintext,
            witness: self.witness,
            founder: self.founder,
            key_protector: match self.key_protector {
                None => Protector::File,
                Some(name) => Protector::from_name(&name).ok_or(ConfigurationError::Setting {
                    setting: "key_protector",
                    value: name,
                    advice: "file, passphrase or systemd",
                })?,
            },
            worker_threads: self.worker_threads,
            timing: self.timing,
            backup: self.backup,
            archive_after_bytes: self.archive_after_bytes,
        };
        configuration.check()?;
        Ok(configuration)
    }
}

impl From<&NodeConfiguration> for NodeFile {
    fn from(configuration: &NodeConfiguration) -> Self {
        let NodeConfiguration {
            cluster_id,
            cluster_name,
            name,
            id,
            listen,
            advertise,
            http,
            etcd,
            ..
        } = configuration.clone();
        Self {
            format: FORMAT,
            cluster: cluster_id,
            cluster_name,
            name: name.to_string(),
            id: id.0,
            listen,
            advertise,
            http,
            etcd,
            etcd_plaintext: configuration.etcd_plaintext,
            witness: configuration.witness,
            founder: configuration.founder,
            key_protector: match configuration.key_protector {
                Protector::File => None,
                protector => Some(protector.name().to_owned()),
            },
            worker_threads: configuration.worker_threads,
            archive_after_bytes: configuration.archive_after_bytes,
            timing: configuration.timing,
            backup: configuration.backup.clone(),
        }
    }
}

fn default_archive_after_bytes() -> u64 {
    DEFAULT_ARCHIVE_AFTER_BYTES
}

const FORMAT: i64 = 1;
const DEFAULT_ARCHIVE_AFTER_BYTES: u64 = 64 << 20;
const MIN_ARCHIVE_AFTER_BYTES: u64 = 64 << 10;
/// Why plaintext is refused elsewhere.
const PLAINTEXT: &str = "without TLS only loopback may be served, like 127.0.0.1:7301: elsewhere \
                         anybody could read and write everything; drop the plaintext, or listen \
                         there";
const ADDRESS: &str = "write HOST:PORT, like 10.0.0.7:7101";

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> NodeConfiguration {
        let name = "n1".parse().unwrap();
        NodeConfiguration::new("c0ffee", "main", name, NodeId(1), "127.0.0.1:7101")
    }

    #[test]
    fn settings_survive_their_file() {
        let mut configuration = example();
        configuration.http = Some("127.0.0.1:7201".to_owned());
        configuration.etcd = Some("127.0.0.1:7301".to_owned());
        configuration.etcd_plaintext = true;
        configuration.founder = true;
        configuration.worker_threads = Some(1);
        configuration.timing.election_max_ms = 400;
        assert_eq!(
            NodeConfiguration::parse(&configuration.to_toml()).unwrap(),
            configuration
        );
    }

    #[test]
    fn a_newer_file_is_refused_by_its_format_even_with_words_unknown_here() {
        let text = example()
            .to_toml()
            .replace("format = 1", "format = 2\nmood = 3");
        let error = NodeConfiguration::parse(&text).unwrap_err();
        assert_eq!(error, ConfigurationError::Newer { found: 2 });
        assert!(error.to_string().contains("newer kvd"));
    }

    #[test]
    fn a_typing_error_does_not_pass_for_a_setting() {
        let text = example().to_toml().replace("advertise =", "advertize =");
        let error = NodeConfiguration::parse(&text).unwrap_err().to_string();
        assert!(error.contains("advertize"), "{error}");
        assert!(NodeConfiguration::parse("").is_err());
        assert!(NodeConfiguration::parse("format = ").is_err());
    }

    #[test]
    fn settings_that_cannot_be_are_named_with_what_to_write() {
        let mut wildcard = example();
        wildcard.advertise = "0.0.0.0:7101".to_owned();
        let mut portless = example();
        portless.listen = "127.0.0.1".to_owned();
        let mut hasty = example();
        hasty.timing.election_min_ms = 50;
        let mut idle = example();
        idle.worker_threads = Some(0);
        for (setting, configuration) in [
            ("advertise", wildcard),
            ("listen", portless),
            ("timing.election_min_ms", hasty),
            ("worker_threads", idle),
        ] {
            let error = configuration.check().unwrap_err().to_string();
            assert!(error.starts_with(setting), "{error}");
        }
    }
}
