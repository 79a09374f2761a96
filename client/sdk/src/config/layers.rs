//! Which of several keys counts for a field: the node's own before its roles', those before the
//! cluster's.

use std::{collections::BTreeMap, sync::Arc};

use super::ConfigError;
use crate::{Entry, MirrorView};

/// A layer of a configuration. A later one counts more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// What the code says.
    Default,
    /// For all: `billing/timeout`.
    Cluster,
    /// For those of a role: `billing/timeout@role:web`.
    Role(String),
    /// For one node: `billing/timeout@node:db7`.
    Node(String),
    /// An emergency override, in a file of the node that the service runs on.
    Override,
}

/// For whom a configuration is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its roles; a later one counts more.
    pub(super) roles: Vec<String>,
    pub(super) node: Option<String>,
}

/// The version that counts for a field.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// The layer it is of.
    pub layer: Layer,
    /// The version, under its whole key.
    pub entry: Arc<Entry>,
}

impl Place {
    /// With a role. Of several, the later one counts more.
    #[must_use]
    pub fn role(mut self, name: impl Into<String>) -> Self {
        self.roles.push(name.into());
        self
    }

    /// On this node, which counts more than any role.
    #[must_use]
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = Some(name.into());
        self
    }

    /// Its roles; a later one counts more.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Its node.
    pub fn node_name(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// How much a layer counts here; `None`: it is somebody else's.
    pub(super) fn rank(&self, layer: &Layer) -> Option<usize> {
        match layer {
            Layer::Default => Some(0),
            Layer::Cluster => Some(1),
            Layer::Role(name) => {
                let place = self.roles.iter().position(|role| role == name)?;
                Some(2 + place)
            }
            Layer::Node(name) => (self.node.as_ref() == Some(name)).then_some(usize::MAX - 1),
            Layer::Override => Some(usize::MAX),
        }
    }

    /// By field, its parts joined with `/`, what counts here of what is under a prefix. A key that could
    /// be neither a field nor an override is an error.
    pub fn choose(
        &self,
        prefix: &str,
        view: &MirrorView,
    ) -> Result<BTreeMap<String, Chosen>, ConfigError> {
        let mut chosen = BTreeMap::<String, Chosen>::new();
        for entry in view.iter() {
            let (field, layer) = split(prefix, entry)?;
            let Some(rank) = self.rank(&layer) else {
                continue;
            };
            let there = chosen.get(field).and_then(|there| self.rank(&there.layer));
            if there.is_none_or(|there| there < rank) {
                let entry = Arc::clone(entry);
                chosen.insert(field.to_owned(), Chosen { layer, entry });
            }
        }
        Ok(chosen)
    }
}

/// A key's field and layer.
pub(super) fn split<'a>(prefix: &str, entry: &'a Entry) -> Result<(&'a str, Layer), ConfigError> {
    let refused = |why| ConfigError::Key {
        key: entry.key.clone(),
        why,
    };
    let text = std::str::from_utf8(entry.key.as_bytes())
        .map_err(|_| refused("it is no text, and names of fields are"))?;
    let name = text.strip_prefix(prefix).unwrap_or(text);
    let (field, layer) = match name.split_once('@') {
        None => (name, Layer::Cluster),
        Some((field, whose)) => match whose.split_once(':') {
            Some(("role", name)) if is_name(name) => (field, Layer::Role(name.to_owned())),
            Some(("node", name)) if is_name(name) => (field, Layer::Node(name.to_owned())),
            _ => return Err(refused("after `@` it must say `role:NAME` or `node:NAME`")),
        },
    };
    match field.split('/').any(str::is_empty) {
        true => Err(refused("a part of its name is empty")),
        false => Ok((field, layer)),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(['@', '/', ':'])
}

#[cfg(test)]
mod tests {
    use holdfast_proto::v1;

    use super::*;

    fn view(keys: &[&str]) -> MirrorView {
        let entries = keys.iter().zip(1..).map(|(key, revision)| {
            let text = v1::value::Kind::Text((*key).to_owned());
            let wire = v1::Entry {
                key: key.as_bytes().to_vec().into(),
                value: Some(v1::Value { kind: Some(text) }),
                modified: revision,
                ..v1::Entry::default()
            };
            Arc::new(Entry::from_wire(wire).unwrap())
        });
        let revision = keys.len() as u64;
        MirrorView::of(entries, revision..=revision)
    }

    fn place(roles: &[&str], node: Option<&str>) -> Place {
        Place {
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            node: node.map(str::to_owned),
        }
    }

    #[test]
    fn the_node_counts_most_then_the_later_role_then_the_cluster() {
        let view = view(&[
            "p/a",
            "p/a@role:db",
            "p/a@role:web",
            "p/a@node:n1",
            "p/b@role:db",
        ]);
        let cases: [(&[&str], Option<&str>, &str, bool); 6] = [
            (&[], None, "p/a", false),
            (&["db"], None, "p/a@role:db", true),
            (&["db", "web"], None, "p/a@role:web", true),
            (&["web", "db"], None, "p/a@role:db", true),
            (&["db", "web"], Some("n1"), "p/a@node:n1", true),
            (&["other"], Some("n2"), "p/a", false),
        ];
        for (roles, node, key, has_b) in cases {
            let chosen = place(roles, node).choose("p/", &view).unwrap();
            assert_eq!(chosen["a"].entry.key.to_string(), key, "{roles:?} {node:?}");
            assert_eq!(chosen.contains_key("b"), has_b && roles.contains(&"db"));
        }
    }

    #[test]
    fn an_at_sign_says_whose_it_is_and_nothing_else() {
        for key in [
            "p/a@web",
            "p/a@role:",
            "p/a@role:a@node:b",
            "p/a@group:x",
            "p/a@role:x/b",
            "p/a@",
            "p/@role:x",
            "p//a",
            "p/a/",
            "p/",
        ] {
            let refused = place(&[], None).choose("p/", &view(&[key]));
            assert!(
                matches!(refused.err(), Some(ConfigError::Key { key: named, .. }) if named.to_string() == key),
                "{key}"
            );
        }
    }
}
