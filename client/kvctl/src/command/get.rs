//! `get`: reads one key.

use holdfast_client::{Consistency, Key, ReadOptions, Revision};
use serde_json::json;

use super::{parse_key, parse_revision};
use crate::{
    arguments::Format, failure::Failure, output::STRONG, record, session::Session, time, value,
};

/// Read a key
#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    /// The key
    #[arg(value_parser = parse_key)]
    key: Key,

    /// As it was at this revision
    #[arg(long, value_parser = parse_revision)]
    revision: Option<Revision>,

    /// Take what the asked node has, though it may be old; works without a majority
    #[arg(long)]
    local: bool,
}

impl Get {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let options = ReadOptions {
            revision: self.revision,
            consistency: consistency(self.local),
        };
        let Some(found) = client.get_with(self.key.clone(), options).await? else {
            let place = match self.revision {
                Some(revision) => format!("was no key {} at revision {revision}", self.key),
                None => format!("is no key {}", self.key),
            };
            return Err(Failure::refused(format!(
                "there {place}; `kvctl list` shows what there is"
            )));
        };
        session.tell_age(found.origin, found.age);
        // An empty value, or `null`, would be taken for the secret.
        if found.entry.is_secret() {
            return Err(Failure::refused(format!(
                "{0} is a secret; `kvctl secret get {0}` opens it",
                self.key
            )));
        }
        let output = &session.output;
        match output.format {
            Format::Raw => output.bytes(&found.value().to_canonical()),
            Format::Json => {
                let mut json = record::entry_json(&found.entry);
                json["store_revision"] = json!(found.revision);
                output.json(&json)
            }
            Format::Table => {
                let entry = &found.entry;
                output.line(format_args!(
                    "{STRONG}{}{STRONG:#}",
                    value::show(found.value())
                ))?;
                output.remark(format_args!(
                    "{} · revision {} · version {} · {} · {}{}",
                    found.value().kind(),
                    entry.modified,
                    entry.version,
                    entry.author,
                    time::short(entry.at),
                    note(&entry.note),
                ));
                Ok(())
            }
        }
    }
}

pub(super) fn consistency(local: bool) -> Consistency {
    if local {
        Consistency::Local
    } else {
        Consistency::Linearizable
    }
}

fn note(note: &str) -> String {
    match note {
        "" => String::new(),
        note => format!(" · {note}"),
    }
}
