//! `delete`: takes a key, or all under a prefix, away.

use holdfast_client::{DeleteOptions, Key, KeyRange, Revision};
use serde_json::json;

use super::{count, parse_key, put};
use crate::{failure::Failure, session::Session};

/// Delete a key, or every key under a prefix
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["key", "prefix"])))]
pub(crate) struct Delete {
    /// The key
    #[arg(value_parser = parse_key)]
    key: Option<Key>,

    /// Every key that begins so, in one revision
    #[arg(long, value_parser = parse_prefix)]
    prefix: Option<Key>,

    /// Only if the key is still at this revision
    #[arg(long, value_name = "REVISION", conflicts_with = "prefix")]
    if_revision: Option<u64>,

    /// Why; kept in the history
    #[arg(long, value_name = "WHY", default_value = "")]
    note: String,
}

impl Delete {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let range = match (&self.key, &self.prefix) {
            (_, Some(prefix)) => KeyRange::prefix(prefix.to_bytes()),
            (Some(key), None) => KeyRange::single(key),
            (None, None) => return Err(Failure::usage("name a key, or a prefix with --prefix")),
        };
        let options = DeleteOptions {
            expected: self.if_revision.map(put::expected),
            note: self.note,
            ..DeleteOptions::default()
        };
        let client = session.connect().await?;
        let deleted = client.delete_range(range, options).await?;
        if session.is_json() {
            return session.output.json(&json!({
                "deleted": deleted.deleted,
                "revision": deleted.revision.map(Revision::get),
            }));
        }
        session.output.remark(match deleted.revision {
            Some(revision) => {
                format!(
                    "{} deleted at revision {revision}",
                    count(deleted.deleted, "key")
                )
            }
            None => "nothing was there, nothing changed".to_owned(),
        });
        Ok(())
    }
}

/// An empty prefix would mean everything: that is never what a slip of the hand should do.
fn parse_prefix(text: &str) -> Result<Key, String> {
    parse_key(text)
        .map_err(|_| "an empty prefix would delete every key; name the keys' beginning".to_owned())
}
