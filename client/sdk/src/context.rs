//! Contexts: a small TOML file that says which cluster, where, and as whom.
//!
//! ```toml
//! cluster = "home"
//! endpoints = ["127.0.0.1:7101", "127.0.0.1:7102"]
//! ca = "ca.crt"        # PEM files; paths are relative to this file
//! cert = "client.crt"
//! key = "client.key"
//! ```
//!
//! or one that goes through the agent of its node, which has the rest:
//!
//! ```toml
//! cluster = "home"
//! agent = "/run/kvagent/kvagent.sock"
//! ```

use std::{
    env, fmt,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::discovery::{is_service, service};

/// Which cluster, where, and as whom. Holds a private key: `Debug` leaves it out.
#[derive(Clone, Default)]
pub struct Context {
    /// The cluster's name, as it stands in its certificates.
    pub cluster: String,
    /// `HOST:PORT` of one node or more; the others are learned from these. Or `srv:NAME` for all that
    /// the SRV records of NAME name, such as `srv:_holdfast._tcp.shop.example`; that takes the feature
    /// `dns`.
    pub endpoints: Vec<String>,
    /// The cluster's CA certificate, PEM.
    pub ca: Vec<u8>,
    /// The client's certificate chain, PEM.
    pub cert: Vec<u8>,
    /// The client's private key, PEM.
    pub key: Vec<u8>,
    /// The file that it was read from: new connections use what it says by then. `None`: they use
    /// what stands here.
    pub file: Option<PathBuf>,
    /// The Unix socket of the agent of this node: everything goes through it, and as whom is the
    /// agent's matter. Then endpoints, certificates and key are empty.
    pub agent: Option<PathBuf>,
}

/// Why a context cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// Nobody said which context to use, and the usual places have none.
    #[error(
        "there is no context: name a file with --context or ${VARIABLE}, or put one at {}; `kvd init` and `kvd dev` write one",
        place.display()
    )]
    None {
        /// The usual place.
        place: PathBuf,
    },
    /// The context file cannot be read.
    #[error("the context {} cannot be read; was its cluster removed? name another one", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The context file is not a context.
    #[error("the context {} is not usable: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        why: String,
    },
    /// A file that the context names cannot be written.
    #[error(
        "the context {} names {} as its {field}, which cannot be replaced; it stays as it was",
        path.display(), file.display()
    )]
    Unwritable {
        /// The context file.
        path: PathBuf,
        /// Which field of it.
        field: &'static str,
        /// The file it names.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that the context names cannot be read.
    #[error(
        "the context {} names {} as its {field}, which cannot be read; copy the context together with its files, or write it anew",
        path.display(), file.display()
    )]
    Missing {
        /// The context file.
        path: PathBuf,
        /// Which field of it.
        field: &'static str,
        /// The file it names.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The file's shape.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ContextFile {
    cluster: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoints: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<PathBuf>,
}

/// What a context has that goes to the servers itself.
struct Direct {
    endpoints: Vec<String>,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl Context {
    /// Reads a context and the files it names.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ContextError> {
        let path = path.as_ref();
        let file = ContextFile::read(path)?;
        let malformed = |why: String| ContextError::Malformed {
            path: path.to_owned(),
            why,
        };
        if file.cluster.is_empty() {
            return Err(malformed("`cluster` is empty; name the cluster".into()));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        if let Some(agent) = &file.agent {
            if file.names_more_than_an_agent() {
                return Err(malformed(
                    "`agent` stands for `endpoints`, `ca`, `cert` and `key`; leave those out, or it"
                        .into(),
                ));
            }
            return Ok(Self {
                file: Some(path.to_owned()),
                ..Self::through_agent(file.cluster, folder.join(agent))
            });
        }
        let cluster = file.cluster.clone();
        let file = file.direct(path)?;
        if file.endpoints.is_empty() {
            return Err(malformed(
                "`endpoints` is empty; add at least one HOST:PORT, or srv:NAME for what DNS names"
                    .into(),
            ));
        }
        let is_right = |endpoint: &str| match service(endpoint) {
            Some(name) => is_service(name),
            None => is_host_and_port(endpoint),
        };
        if let Some(bad) = file.endpoints.iter().find(|e| !is_right(e)) {
            let why = format!("endpoint {bad:?} is not HOST:PORT, nor srv:NAME with a name of DNS");
            return Err(malformed(why));
        }
        let read = |field: &'static str, name: &Path| {
            let file = folder.join(name);
            std::fs::read(&file).map_err(|source| ContextError::Missing {
                path: path.to_owned(),
                field,
                file,
                source,
            })
        };
        Ok(Self {
            ca: read("ca", &file.ca)?,
            cert: read("cert", &file.cert)?,
            key: read("key", &file.key)?,
            cluster,
            endpoints: file.endpoints,
            file: Some(path.to_owned()),
            agent: None,
        })
    }

    /// A context that goes through the agent of this node. Without a name (`""`), the cluster is
    /// whichever the agent is of.
    pub fn through_agent(cluster: impl Into<String>, socket: impl Into<PathBuf>) -> Self {
        Self {
            cluster: cluster.into(),
            agent: Some(socket.into()),
            ..Self::default()
        }
    }

    /// Puts another authority and another certificate (PEM) into the files that the context at
    /// `path` names, each whole or not at all. The key stays.
    pub fn renew(path: impl AsRef<Path>, ca: &str, cert: &str) -> Result<(), ContextError> {
        let path = path.as_ref();
        let file = ContextFile::read(path)?.direct(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for (field, name, pem) in [("cert", &file.cert, cert), ("ca", &file.ca, ca)] {
            let file = folder.join(name);
            replace(&file, pem).map_err(|source| ContextError::Unwritable {
                path: path.to_owned(),
                field,
                file,
                source,
            })?;
        }
        Ok(())
    }

    /// The context at `path` and the files that it names.
    pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, ContextError> {
        let file = ContextFile::read(path)?.direct(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let named = [&file.ca, &file.cert, &file.key].map(|name| folder.join(name));
        Ok(std::iter::once(path.to_owned()).chain(named).collect())
    }

    /// Finds and loads the context that is meant when none is named: `$HOLDFAST_CONTEXT`, else
    /// `holdfast/context.toml` in the user's configuration folder.
    pub fn discover() -> Result<Self, ContextError> {
        Self::load(Self::discover_path()?)
    }

    /// Where [`Context::discover`] would load from.
    pub fn discover_path() -> Result<PathBuf, ContextError> {
        if let Some(named) = env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
            return Ok(named.into());
        }
        let place = configuration_folder().join("holdfast").join("context.toml");
        if place.exists() {
            Ok(place)
        } else {
            Err(ContextError::None { place })
        }
    }

    /// The text of a context file that names these files.
    pub fn file_text(
        cluster: &str,
        endpoints: &[String],
        ca: impl Into<PathBuf>,
        cert: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> String {
        let file = ContextFile {
            cluster: cluster.to_owned(),
            agent: None,
            endpoints: Some(endpoints.to_vec()),
            ca: Some(ca.into()),
            cert: Some(cert.into()),
            key: Some(key.into()),
        };
        toml::to_string(&file).expect("a table of strings is TOML")
    }
}

impl ContextFile {
    fn read(path: &Path) -> Result<Self, ContextError> {
        let text = std::fs::read_to_string(path).map_err(|source| ContextError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|error| ContextError::Malformed {
            path: path.to_owned(),
            why: error.to_string(),
        })
    }

    fn names_more_than_an_agent(&self) -> bool {
        let files = [&self.ca, &self.cert, &self.key];
        self.endpoints.is_some() || files.iter().any(|file| file.is_some())
    }

    /// What it has of its own.
    fn direct(self, path: &Path) -> Result<Direct, ContextError> {
        let missing = |field: &str| ContextError::Malformed {
            path: path.to_owned(),
            why: match self.agent {
                Some(_) => format!(
                    "it goes through an agent and has no `{field}` of its own; name a context that \
                     goes to the servers itself"
                ),
                None => format!("`{field}` is missing; name it, or an `agent` instead of all"),
            },
        };
        Ok(Direct {
            endpoints: self.endpoints.ok_or_else(|| missing("endpoints"))?,
            ca: self.ca.ok_or_else(|| missing("ca"))?,
            cert: self.cert.ok_or_else(|| missing("cert"))?,
            key: self.key.ok_or_else(|| missing("key"))?,
        })
    }
}

/// Writes a file so that a reader finds the old text or the new one.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    let mut out = std::fs::File::create(&new)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&new, file)
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("cluster", &self.cluster)
            .field("endpoints", &self.endpoints)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

/// Names the context file to use.
const VARIABLE: &str = "HOLDFAST_CONTEXT";

pub(crate) fn is_host_and_port(endpoint: &str) -> bool {
    endpoint
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0))
}

/// The user's configuration folder, by each system's custom.
fn configuration_folder() -> PathBuf {
    let from = |name| {
        env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    if cfg!(windows) {
        from("APPDATA").unwrap_or_default()
    } else {
        from("XDG_CONFIG_HOME")
            .or_else(|| from("HOME").map(|home| home.join(".config")))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(context: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["ca.crt", "client.crt", "client.key"] {
            std::fs::write(folder.path().join(name), format!("PEM {name}")).unwrap();
        }
        let path = folder.path().join("context.toml");
        std::fs::write(&path, context).unwrap();
        (folder, path)
    }

    fn good() -> String {
        Context::file_text(
            "home",
            &["127.0.0.1:7101".to_owned()],
            "ca.crt",
            "client.crt",
            "client.key",
        )
    }

    #[test]
    fn paths_are_relative_to_the_context_file() {
        let (_folder, path) = folder_with(&good());
        let context = Context::load(&path).unwrap();
        assert_eq!(context.cluster, "home");
        assert_eq!(context.key, b"PEM client.key");
    }

    #[test]
    fn renewing_replaces_authority_and_certificate_and_leaves_the_key() {
        let (_folder, path) = folder_with(&good());
        Context::renew(&path, "another ca", "another cert").unwrap();
        let context = Context::load(&path).unwrap();
        assert_eq!(context.ca, b"another ca");
        assert_eq!(context.cert, b"another cert");
        assert_eq!(context.key, b"PEM client.key");
        assert_eq!(context.file, Some(path));
    }

    #[test]
    fn the_key_is_never_shown() {
        let (_folder, path) = folder_with(&good());
        let shown = format!("{:?}", Context::load(&path).unwrap());
        assert!(
            !shown.contains("PEM") && !shown.contains("80, 69, 77"),
            "{shown}"
        );
    }

    #[test]
    fn a_missing_key_file_is_named_with_its_field() {
        let (folder, path) = folder_with(&good());
        std::fs::remove_file(folder.path().join("client.key")).unwrap();
        let error = Context::load(&path).unwrap_err().to_string();
        assert!(error.contains("client.key as its key"), "{error}");
    }

    #[test]
    fn a_stale_context_says_what_to_do() {
        let error = Context::load("/nowhere/context.toml").unwrap_err();
        assert!(error.to_string().contains("name another one"), "{error}");
    }

    #[test]
    fn an_endpoint_without_a_port_is_refused() {
        let (_folder, path) = folder_with(&good().replace("127.0.0.1:7101", "127.0.0.1"));
        let error = Context::load(&path).unwrap_err().to_string();
        assert!(error.contains("is not HOST:PORT"), "{error}");
    }

    #[test]
    fn a_context_of_an_agent_has_the_cluster_and_the_socket_and_nothing_else() {
        let (folder, path) = folder_with("cluster = \"home\"\nagent = \"agent.sock\"\n");
        let context = Context::load(&path).unwrap();
        assert_eq!(context.agent, Some(folder.path().join("agent.sock")));
        assert!(context.endpoints.is_empty() && context.key.is_empty());
        let error = Context::renew(&path, "ca", "cert").unwrap_err().to_string();
        assert!(error.contains("goes through an agent"), "{error}");

        let (_folder, path) = folder_with(&(good() + "agent = \"agent.sock\"\n"));
        let error = Context::load(&path).unwrap_err().to_string();
        assert!(error.contains("leave those out, or it"), "{error}");
        let (_folder, path) = folder_with("cluster = \"home\"\n");
        let error = Context::load(&path).unwrap_err().to_string();
        assert!(error.contains("`endpoints` is missing"), "{error}");
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let (_folder, path) = folder_with(&(good() + "kay = \"x\"\n"));
        let error = Context::load(&path).unwrap_err().to_string();
        assert!(error.contains("kay"), "{error}");
    }
}
