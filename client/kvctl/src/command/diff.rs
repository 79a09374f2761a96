//! `diff`: what changed between two revisions.

use holdfast_client::{Client, Difference, HistoryOptions, Key, KeyRange, Revision, Value};
use serde_json::{Value as Json, json};
use similar::{ChangeTag, TextDiff};

use super::{parse_key, parse_revision};
use crate::{
    arguments::Format,
    failure::Failure,
    output::{BAD, GOOD, Output, STRONG},
    record,
    session::Session,
    value,
};

/// Show what changed between two revisions
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// The key; without revisions, its newest version is compared with the one before
    #[arg(value_parser = parse_key)]
    key: Key,

    /// The older revision
    #[arg(value_parser = parse_revision, requires = "to", required_if_eq("prefix", "true"))]
    from: Option<Revision>,

    /// The newer revision
    #[arg(value_parser = parse_revision)]
    to: Option<Revision>,

    /// Compare every key that begins with KEY
    #[arg(long)]
    prefix: bool,
}

impl Diff {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let range = match self.prefix {
            true => KeyRange::prefix(self.key.to_bytes()),
            false => KeyRange::single(&self.key),
        };
        let (from, to) = match (self.from, self.to) {
            (Some(from), to) => (from, to),
            (None, _) => (self.version_before(&client).await?, None),
        };
        let diff = client.diff(range, from, to).await?;
        let output = &session.output;
        match output.format {
            Format::Json => output.json(&json!({
                "from": diff.from,
                "to": diff.to,
                "differences": diff.differences.iter().map(difference_json).collect::<Vec<_>>(),
            })),
            Format::Table | Format::Raw => {
                if diff.differences.is_empty() {
                    let (from, to) = (diff.from, diff.to);
                    output.remark(format_args!(
                        "nothing differs between revisions {from} and {to}"
                    ));
                }
                diff.differences.iter().try_for_each(|difference| {
                    let value = |entry: &Option<holdfast_client::Entry>| {
                        entry.as_ref().and_then(|entry| entry.value.clone())
                    };
                    let (before, after) = (value(&difference.before), value(&difference.after));
                    show(output, &difference.key, before.as_ref(), after.as_ref())
                })
            }
        }
    }

    /// The revision of the version before the newest.
    async fn version_before(&self, client: &Client) -> Result<Revision, Failure> {
        let options = HistoryOptions {
            limit: 2,
            ..HistoryOptions::default()
        };
        let history = client.history(self.key.clone(), options).await?;
        match &history.versions[..] {
            [_, before, ..] => Ok(before.entry.modified),
            [only] => Err(Failure::refused(format!(
                "{} has one version, of revision {}; there is nothing to compare it with",
                self.key, only.entry.modified
            ))),
            [] => Err(Failure::refused(format!(
                "no version of {} is kept",
                self.key
            ))),
        }
    }
}

fn difference_json(difference: &Difference) -> Json {
    let side = |entry: &Option<holdfast_client::Entry>| {
        entry.as_ref().map_or(Json::Null, record::entry_json)
    };
    let mut fields = record::key_fields(&difference.key);
    fields.insert("before".to_owned(), side(&difference.before));
    fields.insert("after".to_owned(), side(&difference.after));
    Json::Object(fields)
}

/// One key's difference: lines of text line by line, anything else as a whole.
pub(super) fn show(
    output: &Output,
    key: &Key,
    before: Option<&Value>,
    after: Option<&Value>,
) -> Result<(), Failure> {
    output.line(format_args!("{STRONG}{key}{STRONG:#}"))?;
    if let (Some(Value::Text(before)), Some(Value::Text(after))) = (before, after)
        && (before.contains('\n') || after.contains('\n'))
    {
        for change in TextDiff::from_lines(before, after).iter_all_changes() {
            let line = value::show(&Value::from(change.value().trim_end_matches('\n')));
            match change.tag() {
                ChangeTag::Delete => output.line(format_args!("{BAD}  - {line}{BAD:#}"))?,
                ChangeTag::Insert => output.line(format_args!("{GOOD}  + {line}{GOOD:#}"))?,
                ChangeTag::Equal => output.line(format_args!("    {line}"))?,
            }
        }
        return Ok(());
    }
    let of_other_kind = before.map(Value::kind) != after.map(Value::kind);
    let shown = |value: &Value| match of_other_kind {
        true => format!("{} ({})", value::show(value), value.kind()),
        false => value::show(value),
    };
    if let Some(before) = before {
        output.line(format_args!("{BAD}  - {}{BAD:#}", shown(before)))?;
    }
    if let Some(after) = after {
        output.line(format_args!("{GOOD}  + {}{GOOD:#}", shown(after)))?;
    }
    Ok(())
}
