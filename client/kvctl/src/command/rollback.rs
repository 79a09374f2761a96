//! `rollback`: puts keys back to what they were.

use holdfast_client::{Client, HistoryOptions, Key, KeyRange, Revision};
use serde_json::json;

use super::{count, parse_key, parse_revision};
use crate::{failure::Failure, session::Session};

/// Put a key back to what it was at a revision, as a new revision
#[derive(Debug, clap::Args)]
pub(crate) struct Rollback {
    /// The key
    #[arg(value_parser = parse_key)]
    key: Key,

    /// The revision to go back to
    #[arg(long, value_name = "REVISION", value_parser = parse_revision)]
    to: Revision,

    /// Put back every key that begins with KEY
    #[arg(long)]
    prefix: bool,

    /// Why; kept in the history [default: which revision it goes back to]
    #[arg(long, value_name = "WHY")]
    note: Option<String>,
}

impl Rollback {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let range = match self.prefix {
            true => KeyRange::prefix(self.key.to_bytes()),
            false => KeyRange::single(&self.key),
        };
        let to = self.to;
        let note = self
            .note
            .clone()
            .unwrap_or_else(|| format!("rolled back to revision {to}"));
        let client = session.connect().await?;
        let done = client.rollback(range, to, note).await?;
        if done.revision.is_none() && !self.prefix {
            self.expect_known(&client).await?;
        }
        if session.is_json() {
            return session.output.json(&json!({
                "revision": done.revision.map(Revision::get),
                "changed": done.changed,
            }));
        }
        session.output.remark(match done.revision {
            Some(revision) => {
                let keys = count(done.changed, "key");
                format!("{keys} put back to revision {to}; this is revision {revision}")
            }
            None => format!("all is as it was at revision {to}; nothing changed"),
        });
        Ok(())
    }

    /// A key that never was is a slip of the hand, and not "all as it was".
    async fn expect_known(&self, client: &Client) -> Result<(), Failure> {
        let one = HistoryOptions {
            limit: 1,
            ..HistoryOptions::default()
        };
        let history = client.history(self.key.clone(), one).await?;
        if history.versions.is_empty() {
            return Err(Failure::refused(format!(
                "no version of {} is kept; nothing was changed, `kvctl list` shows what there is",
                self.key
            )));
        }
        Ok(())
    }
}
