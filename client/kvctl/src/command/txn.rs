//! `txn`: several operations in one revision, if what they rest on still holds.

use std::{io::Read as _, path::PathBuf};

use holdfast_client::{OperationResult, Transacted};
use serde_json::{Value as Json, json};

use super::{count, transaction};
use crate::{failure::Failure, record, session::Session};

/// Run a transaction: all of it in one revision, or nothing
///
/// FILE.json: {"note": WHY, "if": [CONDITION…], "then": [OPERATION…], "else": [OPERATION…]}
#[derive(Debug, clap::Args)]
#[command(after_long_help = transaction::HELP)]
pub(crate) struct Txn {
    /// The transaction; - reads standard input
    #[arg(value_name = "FILE.json")]
    file: PathBuf,

    /// Why; kept in the history [default: the file's "note"]
    #[arg(long, value_name = "WHY")]
    note: Option<String>,
}

impl Txn {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let text = self.read()?;
        let parsed = transaction::parse(&text).map_err(|error| {
            let name = self.file.display();
            Failure::usage(format!(
                "{name}: {error}; nothing was done, see `kvctl txn --help`"
            ))
        })?;
        let note = self.note.or(parsed.note).unwrap_or_default();
        let has_otherwise = parsed.has_otherwise;
        let client = session.connect().await?;
        let done = client.transact(parsed.transaction, note).await?;
        if session.is_json() {
            session.output.json(&json!({
                "succeeded": done.succeeded,
                "revision": done.revision,
                "results": results_json(&done.results),
            }))?;
        } else {
            show(session, &done)?;
        }
        if !done.succeeded && !has_otherwise {
            return Err(Failure::refused(
                "a condition does not hold; nothing was changed, read the keys again and decide",
            ));
        }
        Ok(())
    }

    fn read(&self) -> Result<String, Failure> {
        let mut text = String::new();
        let read = match self.file.as_os_str() == "-" {
            true => std::io::stdin().read_to_string(&mut text).map(|_| text),
            false => std::fs::read_to_string(&self.file),
        };
        read.map_err(|error| {
            Failure::usage(format!(
                "{} could not be read: {error}",
                self.file.display()
            ))
        })
    }
}

fn show(session: &Session, done: &Transacted) -> Result<(), Failure> {
    let mut rows = Vec::new();
    result_rows(&done.results, &mut rows);
    if !rows.is_empty() {
        session
            .output
            .rows(["OPERATION", "KEY", "TYPE", "VALUE"], rows)?;
    }
    if done.succeeded {
        session.output.remark(format_args!(
            "the conditions held; revision {}",
            done.revision
        ));
    } else {
        session.output.remark(format_args!(
            "a condition did not hold; revision {}",
            done.revision
        ));
    }
    Ok(())
}

fn result_rows(results: &[OperationResult], rows: &mut Vec<[String; 4]>) {
    let word = |word: &str| word.to_owned();
    for result in results {
        match result {
            OperationResult::Range { entries, .. } => {
                if entries.is_empty() {
                    rows.push([
                        word("get"),
                        String::new(),
                        String::new(),
                        word("nothing there"),
                    ]);
                }
                for entry in entries {
                    let [kind, value] = record::type_and_value(entry);
                    rows.push([word("get"), entry.key.to_string(), kind, value]);
                }
            }
            OperationResult::Put { .. } => {
                rows.push([word("put"), String::new(), String::new(), word("done")]);
            }
            OperationResult::Delete { deleted, .. } => {
                let keys = count(*deleted, "key");
                rows.push([word("delete"), String::new(), String::new(), keys]);
            }
            OperationResult::Transaction { succeeded, results } => {
                let held = if *succeeded { "then" } else { "else" };
                rows.push([word("txn"), String::new(), String::new(), word(held)]);
                result_rows(results, rows);
            }
        }
    }
}

fn results_json(results: &[OperationResult]) -> Vec<Json> {
    results
        .iter()
        .map(|result| match result {
            OperationResult::Range {
                entries,
                more,
                count,
            } => json!({
                "get": {
                    "entries": entries.iter().map(record::entry_json).collect::<Vec<_>>(),
                    "more": more,
                    "count": count,
                }
            }),
            OperationResult::Put { .. } => json!({ "put": {} }),
            OperationResult::Delete { deleted, .. } => json!({ "delete": { "deleted": deleted } }),
            OperationResult::Transaction { succeeded, results } => json!({
                "txn": { "succeeded": succeeded, "results": results_json(results) }
            }),
        })
        .collect()
}
