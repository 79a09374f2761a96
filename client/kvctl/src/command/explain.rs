//! `explain`: where a service gets the value of a key from.

use holdfast_client::{Client, ConfigLayers, Key, Layer, LayerEntry, Place};
use serde_json::{Map, Value as Json, json};

use super::parse_key;
use crate::{
    failure::Failure,
    output::STRONG,
    record::{self, type_and_value},
    session::Session,
    time,
};

/// Show which layers a key of a configuration has, and which one counts for a service
///
/// The value for all is under the key itself; a role or a node overrides it by KEY@role:NAME or
/// KEY@node:NAME. The node counts most, and of several roles the later one.
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// The key for all, such as billing/timeout
    #[arg(value_parser = parse_key)]
    key: Key,

    /// The node of the service
    #[arg(long, value_name = "NAME")]
    node: Option<String>,

    /// A role of the service; may be given several times, and the later one counts more
    #[arg(long, value_name = "NAME")]
    role: Vec<String>,
}

impl Explain {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let mut place = Place::default();
        for role in &self.role {
            place = place.role(role);
        }
        if let Some(node) = &self.node {
            place = place.node(node);
        }
        let layers = client.config_layers(&self.key, &place).await?;
        let overridden = overridden(&client, &self.key, self.node.as_deref()).await;
        if session.is_json() {
            return session
                .output
                .json(&layers_json(&self.key, &layers, &overridden));
        }
        self.show(session, &layers, &overridden)
    }

    fn show(
        &self,
        session: &Session,
        layers: &ConfigLayers,
        overridden: &[String],
    ) -> Result<(), Failure> {
        let output = &session.output;
        if layers.entries.is_empty() {
            output.remark(format_args!(
                "no layer has {} at revision {}: the default in the code counts, if there is one",
                self.key, layers.revision
            ));
        } else {
            let rows = layers.entries.iter().rev().map(row);
            let headings = [
                "COUNTS",
                "LAYER",
                "TYPE",
                "VALUE",
                "REVISION",
                "WHEN (UTC)",
                "AUTHOR",
                "NOTE",
            ];
            output.rows(headings, rows.collect())?;
            if !layers.entries.iter().any(|entry| entry.counts) {
                output.remark(
                    "none of them is this place's: the default in the code counts, if there is one",
                );
            }
        }
        for key in &layers.odd {
            output.warn(format_args!(
                "{key} keeps every service that uses this prefix from taking changes: after `@` it \
                 must say role:NAME or node:NAME; delete it"
            ));
        }
        for who in overridden {
            output.warn(format_args!(
                "{STRONG}{who}{STRONG:#} uses an emergency override, which may count more: see \
                 `kvctl fleet`"
            ));
        }
        Ok(())
    }
}

fn row(entry: &LayerEntry) -> [String; 8] {
    let counts = match (entry.counts, entry.applies) {
        (true, _) => "yes",
        (false, true) => "no",
        (false, false) => "elsewhere",
    };
    let [kind, value] = type_and_value(&entry.entry);
    [
        counts.to_owned(),
        layer(&entry.layer),
        kind,
        value,
        entry.entry.modified.to_string(),
        time::short(entry.entry.at),
        entry.entry.author.clone(),
        entry.entry.note.clone(),
    ]
}

fn layer(layer: &Layer) -> String {
    match layer {
        Layer::Default => "default".to_owned(),
        Layer::Cluster => "cluster".to_owned(),
        Layer::Role(name) => format!("role {name}"),
        Layer::Node(name) => format!("node {name}"),
        Layer::Override => "override".to_owned(),
    }
}

/// Instances that use an emergency override for a prefix of the key; of this node, if one is named.
/// Who may not list the fleet learns nothing of them.
async fn overridden(client: &Client, key: &Key, node: Option<&str>) -> Vec<String> {
    // The shortest prefix that such a key can be under.
    let first = key.as_str().and_then(|key| key.split_once('/'));
    let prefix = first.map_or_else(String::new, |(first, _)| format!("{first}/"));
    let Ok(fleet) = client.fleet().list(prefix).await else {
        return Vec::new();
    };
    let concerned = fleet.entries.iter().filter(|entry| {
        let report = &entry.report;
        report.override_in_use.is_some()
            && key.as_bytes().starts_with(report.subject.prefix())
            && (node.is_none() || report.node.as_deref() == node)
    });
    concerned.map(|entry| entry.instance.clone()).collect()
}

fn layers_json(key: &Key, layers: &ConfigLayers, overridden: &[String]) -> Json {
    let mut fields = record::key_fields(key);
    let all = layers.entries.iter().map(|entry| {
        let mut fields = Map::new();
        fields.insert("layer".to_owned(), layer(&entry.layer).into());
        fields.insert("applies".to_owned(), entry.applies.into());
        fields.insert("counts".to_owned(), entry.counts.into());
        if let Json::Object(entry) = record::entry_json(&entry.entry) {
            fields.extend(entry);
        }
        Json::Object(fields)
    });
    let odd = layers.odd.iter().map(ToString::to_string);
    fields.insert("store_revision".to_owned(), json!(layers.revision));
    fields.insert("layers".to_owned(), all.collect::<Vec<_>>().into());
    fields.insert("odd".to_owned(), odd.collect::<Vec<_>>().into());
    fields.insert("overridden".to_owned(), json!(overridden));
    Json::Object(fields)
}
