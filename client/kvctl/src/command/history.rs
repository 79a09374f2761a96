//! `history`: who set a key to what, when and why.

use holdfast_client::{self as sdk, Client, HistoryOptions, Key, Version};
use serde_json::{Value as Json, json};

use super::parse_key;
use crate::{failure::Failure, record, session::Session, time};

/// Show the kept versions of a key, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// The key
    #[arg(value_parser = parse_key)]
    key: Key,

    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// Leave the values out; works while older values are being rebuilt
    #[arg(long)]
    no_values: bool,
}

impl History {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let history = read_all(&client, &self.key, self.limit, !self.no_values).await?;
        let output = &session.output;
        if session.is_json() {
            let mut fields = record::key_fields(&self.key);
            let versions: Vec<_> = history.versions.iter().map(version_json).collect();
            fields.insert("versions".to_owned(), versions.into());
            fields.insert("more".to_owned(), json!(history.more));
            return output.json(&fields.into());
        }
        let rows = history.versions.iter().map(|version| {
            let entry = &version.entry;
            let [kind, value] = match version.deleted {
                true => ["deleted".to_owned(), String::new()],
                false => record::type_and_value(entry),
            };
            let revision = entry.modified.to_string();
            [
                revision,
                time::short(entry.at),
                entry.author.clone(),
                kind,
                value,
                entry.note.clone(),
            ]
        });
        let headings = ["REVISION", "WHEN (UTC)", "AUTHOR", "TYPE", "VALUE", "NOTE"];
        output.rows(headings, rows.collect())
    }
}

/// The kept versions; an error where there are none. Without a limit all of them: one answer holds
/// what fits.
pub(super) async fn read_all(
    client: &Client,
    key: &Key,
    limit: Option<u64>,
    values: bool,
) -> Result<sdk::History, Failure> {
    let options = HistoryOptions {
        limit: limit.unwrap_or(0),
        before: None,
        values,
    };
    let mut history = client.history(key.clone(), options.clone()).await?;
    while limit.is_none() && history.more {
        let before = history
            .versions
            .last()
            .map(|version| version.entry.modified);
        let options = HistoryOptions {
            before,
            ..options.clone()
        };
        let older = client.history(key.clone(), options).await?;
        history.more = older.more && !older.versions.is_empty();
        history.versions.extend(older.versions);
    }
    if history.versions.is_empty() {
        return Err(Failure::refused(format!(
            "no version of {key} is kept; `kvctl list` shows what there is"
        )));
    }
    Ok(history)
}

fn version_json(version: &Version) -> Json {
    let mut fields = record::version_fields(&version.entry);
    fields.insert("deleted".to_owned(), json!(version.deleted));
    let digest: String = version
        .digest
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    fields.insert("digest".to_owned(), json!(digest));
    let value = version.entry.value.as_ref().filter(|_| !version.deleted);
    if let Json::Object(value) = record::optional_json(value) {
        fields.extend(value);
    }
    Json::Object(fields)
}
