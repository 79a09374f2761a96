//! `list`: the keys under a prefix.

use holdfast_client::{KeyRange, Page, RangeOptions, Revision};
use serde_json::json;

use super::{count, get::consistency, parse_revision};
use crate::{
    arguments::Format,
    failure::Failure,
    record::{self, type_and_value},
    session::Session,
};

/// List the keys that begin with a prefix
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only keys that begin so [default: all]
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    /// Only the keys, not the values
    #[arg(long)]
    keys: bool,

    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// As it was at this revision
    #[arg(long, value_parser = parse_revision)]
    revision: Option<Revision>,

    /// Take what the asked node has, though it may be old; works without a majority
    #[arg(long)]
    local: bool,
}

impl List {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let range = KeyRange::prefix(self.prefix.clone());
        let options = RangeOptions {
            limit: self.limit.unwrap_or(0),
            keys_only: self.keys,
            revision: self.revision,
            consistency: consistency(self.local),
            ..RangeOptions::default()
        };
        let page = match self.limit {
            Some(_) => client.range(range, options).await?,
            None => client.range_all(range, options).await?,
        };
        session.tell_age(page.origin, page.age);
        self.show(session, &page)
    }

    fn show(&self, session: &Session, page: &Page) -> Result<(), Failure> {
        let output = &session.output;
        let entries = &page.entries;
        if session.is_json() {
            return output.json(&json!({
                "revision": page.revision,
                "count": page.count,
                "more": page.more,
                "entries": entries.iter().map(record::entry_json).collect::<Vec<_>>(),
            }));
        }
        if entries.is_empty() {
            let what = match self.prefix.as_str() {
                "" => "there are no keys".to_owned(),
                prefix => format!("no key begins with {prefix}"),
            };
            output.remark(format_args!("{what} at revision {}", page.revision));
            return Ok(());
        }
        if self.keys || output.format == Format::Raw {
            return entries.iter().try_for_each(|entry| match &entry.value {
                Some(value) if !self.keys => {
                    output.line(format_args!("{}\t{}", entry.key, crate::value::show(value)))
                }
                _ => output.line(&entry.key),
            });
        }
        let rows = entries.iter().map(|entry| {
            let [kind, value] = type_and_value(entry);
            [
                entry.key.to_string(),
                kind,
                value,
                entry.modified.to_string(),
                entry.author.clone(),
            ]
        });
        output.rows(
            ["KEY", "TYPE", "VALUE", "REVISION", "AUTHOR"],
            rows.collect(),
        )?;
        let shown = match page.more {
            true => format!("{} of {}", entries.len(), count(page.count, "key")),
            false => count(page.count, "key"),
        };
        output.remark(format_args!("{shown} at revision {}", page.revision));
        Ok(())
    }
}
