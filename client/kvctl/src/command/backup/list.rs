//! `backup list`: what there is, on which node.

use serde_json::json;

use super::backup_json;
use crate::{command::status::amount, failure::Failure, session::Session, time};

/// Show the backups of all members, the newest first
#[derive(Debug, clap::Args)]
pub(crate) struct List {}

impl List {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let all = client.backups().list().await?;
        if session.is_json() {
            return session.output.json(&json!({
                "backups": all.backups.iter().map(backup_json).collect::<Vec<_>>(),
                "problems": all.problems,
            }));
        }
        let readable = all.backups.iter().filter(|one| one.problem.is_empty());
        let rows = readable.map(|backup| {
            [
                backup.member_name.clone(),
                backup.name.clone(),
                time::short(backup.at),
                backup.revision.to_string(),
                backup.keys.to_string(),
                amount(backup.bytes, "bytes"),
                if backup.sealed { "sealed" } else { "open" }.to_owned(),
                match (backup.cluster == all.cluster, backup.scheduled) {
                    (false, _) => "of another cluster",
                    (true, true) => "by itself",
                    (true, false) => "asked for",
                }
                .to_owned(),
            ]
        });
        session.output.rows(HEADINGS, rows.collect())?;
        for backup in all.backups.iter().filter(|one| !one.problem.is_empty()) {
            let (member, problem) = (&backup.member_name, &backup.problem);
            session.output.warn(format_args!("{member}: {problem}"));
        }
        for problem in &all.problems {
            session.output.warn(problem);
        }
        Ok(())
    }
}

const HEADINGS: [&str; 8] = [
    "NODE",
    "NAME",
    "MADE (UTC)",
    "REVISION",
    "KEYS",
    "SIZE",
    "BODY",
    "MADE",
];
