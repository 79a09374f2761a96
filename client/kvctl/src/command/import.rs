//! `import`: a file's parameters, under a prefix.

use std::{io::Read as _, path::PathBuf};

use holdfast_client::formats::{self, Change, Format, ImportPlan, Imported, import_prefix};
use serde_json::{Value as Json, json};

use super::{count, diff};
use crate::{failure::Failure, output::Output, record, session::Session};

/// Import a file's parameters under a prefix
///
/// Only what differs is written, in one transaction for each 512 keys; a key that somebody changes
/// meanwhile stops the import. Keys under the prefix that the file does not name stay.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The file: .reg, .json, .yaml, .toml or .env; - reads standard input
    file: PathBuf,

    /// Where the file's top goes; a / is put behind it if there is none
    #[arg(long)]
    prefix: String,

    /// reg, json, yaml, toml or env [default: by the file's name]
    #[arg(long)]
    format: Option<Format>,

    /// Only show what would change
    #[arg(long)]
    dry_run: bool,

    /// Why; kept in the history [default: the file's name]
    #[arg(long, value_name = "WHY")]
    note: Option<String>,
}

impl Import {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let name = self.file.display();
        let format = self
            .format
            .or_else(|| Format::of_path(&self.file))
            .ok_or_else(|| {
                Failure::usage(format!("the name {name} tells no format; add --format"))
            })?;
        let bytes = self.read()?;
        let document = formats::read(&bytes, format).map_err(|error| {
            Failure::from(error).during(format_args!("{name}, nothing was imported"))
        })?;
        if document.entries.is_empty() && document.deletions.is_empty() {
            return Err(Failure::refused(format!(
                "{name} holds no parameters; nothing was imported"
            )));
        }
        let client = session.connect().await?;
        let plan = formats::plan(&client, &self.prefix, &document).await?;
        let done = match self.dry_run {
            true => None,
            false => {
                let note = self
                    .note
                    .clone()
                    .unwrap_or_else(|| format!("import of {name}"));
                Some(plan.apply(&client, &note).await?)
            }
        };
        self.show(session, &plan, done)
    }

    fn read(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let read = match self.file.as_os_str() == "-" {
            true => std::io::stdin().read_to_end(&mut bytes).map(|_| bytes),
            false => std::fs::read(&self.file),
        };
        read.map_err(|error| {
            Failure::usage(format!(
                "{} could not be read: {error}",
                self.file.display()
            ))
        })
    }

    fn show(
        &self,
        session: &Session,
        plan: &ImportPlan,
        done: Option<Imported>,
    ) -> Result<(), Failure> {
        let output = &session.output;
        if session.is_json() {
            return output.json(&plan_json(&import_prefix(&self.prefix), plan, done));
        }
        if self.dry_run {
            show_changes(output, plan)?;
        }
        let Tally {
            added,
            changed,
            deleted,
        } = Tally::of(plan.changes());
        let counts = format!(
            "{added} added, {changed} changed, {deleted} deleted, {} as they were",
            plan.unchanged()
        );
        output.remark(match done {
            None => format!("nothing was written; an import would make it: {counts}"),
            Some(Imported {
                revision: Some(revision),
                ..
            }) => {
                let keys = count(plan.changes().len() as u64, "key");
                format!("{keys} written ({counts}) at revision {revision}")
            }
            Some(_) => format!("all is so already ({counts})"),
        });
        Ok(())
    }
}

fn show_changes(output: &Output, plan: &ImportPlan) -> Result<(), Failure> {
    plan.changes().iter().try_for_each(|change| {
        let before = change.before.as_ref().map(|before| &before.value);
        diff::show(output, &change.key, before, change.after.as_ref())
    })
}

/// How many keys change in which way.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    added: usize,
    changed: usize,
    deleted: usize,
}

impl Tally {
    fn of(changes: &[Change]) -> Self {
        let mut tally = Self::default();
        for change in changes {
            match (&change.before, &change.after) {
                (None, _) => tally.added += 1,
                (Some(_), Some(_)) => tally.changed += 1,
                (Some(_), None) => tally.deleted += 1,
            }
        }
        tally
    }
}

fn plan_json(prefix: &str, plan: &ImportPlan, done: Option<Imported>) -> Json {
    let Tally {
        added,
        changed,
        deleted,
    } = Tally::of(plan.changes());
    let changes = plan.changes().iter().map(|change| {
        let mut fields = record::key_fields(&change.key);
        let before = change.before.as_ref().map(|before| &before.value);
        fields.insert("before".to_owned(), record::optional_json(before));
        fields.insert(
            "after".to_owned(),
            record::optional_json(change.after.as_ref()),
        );
        Json::Object(fields)
    });
    json!({
        "prefix": prefix,
        "dry_run": done.is_none(),
        "revision": done.and_then(|done| done.revision),
        "added": added,
        "changed": changed,
        "deleted": deleted,
        "unchanged": plan.unchanged(),
        "changes": changes.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_s_json_has_the_documented_shape() {
        let document = formats::read(b"A=1\n", Format::Env).unwrap();
        let plan = ImportPlan::new(&document, "p", []).unwrap();
        assert_eq!(
            plan_json("p/", &plan, None).to_string(),
            r#"{"prefix":"p/","dry_run":true,"revision":null,"added":1,"changed":0,"deleted":0,"unchanged":0,"changes":[{"key":"p/A","before":null,"after":{"type":"integer","value":1}}]}"#
        );
    }
}
