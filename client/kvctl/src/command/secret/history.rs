//! `secret history`: who put which version, when and why.

use holdfast_client::{Key, Version};
use serde_json::{Value as Json, json};

use super::super::{history, parse_key};
use crate::{failure::Failure, record, session::Session, time};

/// Show the kept versions of a secret, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// The key
    #[arg(value_parser = parse_key)]
    key: Key,
}

impl History {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let history = history::read_all(&client, &self.key, None, true).await?;
        let is_secret = |version: &Version| version.entry.is_secret();
        if !history.versions.iter().any(is_secret) {
            return Err(Failure::refused(format!(
                "no version of {} is a secret; `kvctl secret list` shows what there is",
                self.key
            )));
        }
        let output = &session.output;
        if session.is_json() {
            let mut fields = record::key_fields(&self.key);
            let versions: Vec<_> = history.versions.iter().map(version_json).collect();
            fields.insert("versions".to_owned(), versions.into());
            return output.json(&fields.into());
        }
        let rows = history.versions.iter().map(|version| {
            let entry = &version.entry;
            [
                entry.modified.to_string(),
                entry.version.to_string(),
                time::short(entry.at),
                entry.author.clone(),
                what(version).to_owned(),
                entry.note.clone(),
            ]
        });
        let headings = [
            "REVISION",
            "VERSION",
            "WHEN (UTC)",
            "AUTHOR",
            "WHAT",
            "NOTE",
        ];
        output.rows(headings, rows.collect())
    }
}

/// What a version is, in a word.
fn what(version: &Version) -> &'static str {
    match version.deleted {
        true => "deleted",
        false if version.entry.is_secret() => "secret",
        false => "plain",
    }
}

fn version_json(version: &Version) -> Json {
    let mut fields = record::version_fields(&version.entry);
    fields.insert("what".to_owned(), json!(what(version)));
    Json::Object(fields)
}

#[cfg(test)]
mod tests {
    use holdfast_client::Value;

    use super::*;

    #[test]
    fn a_version_s_json_has_the_documented_shape_and_no_value() {
        let version = |value, deleted| Version {
            entry: record::sample("a/b", value),
            deleted,
            digest: vec![1],
        };
        let secret = version(Value::Sealed(Default::default()), false);
        assert_eq!(
            version_json(&secret).to_string(),
            r#"{"revision":7,"created":3,"version":2,"lease":"00000000000000ff","author":"client/admin","at":"2023-11-14T22:13:20.000Z","note":"why","what":"secret"}"#
        );
        let plain = version_json(&version(Value::from("hunter2"), false));
        assert_eq!(plain["what"], "plain");
        assert!(!plain.to_string().contains("hunter2"));
    }
}
