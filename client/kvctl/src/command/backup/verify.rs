//! `backup verify` and `backup drill`: whether a backup is what it says, and whether a store opens with it.

use holdfast_client::VerifiedBackup;
use serde_json::{Value as Json, json};

use super::{find, hex};
use crate::{
    command::count,
    failure::Failure,
    output::{GOOD, Output},
    session::Session,
};

/// Check a backup, whole, on the node where it is
///
/// Its signature, every byte of it, and that its rows make the state that its head promises. It needs the
/// memory of the state once more there, and may take minutes. For a copy elsewhere: `kvd verify-backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// As `kvctl backup list` names it [default: the newest]
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Restore a backup into a scratch folder of its node, and compare
///
/// All that `verify` does; then a store is opened with what was restored, and the hash of its state is held
/// against the backup's. Nothing is left of it. The node goes on serving meanwhile.
#[derive(Debug, clap::Args)]
pub(crate) struct Drill {
    /// As `kvctl backup list` names it [default: the newest]
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

impl Verify {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        check(session, self.name.as_deref(), false).await
    }
}

impl Drill {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        check(session, self.name.as_deref(), true).await
    }
}

async fn check(session: &Session, name: Option<&str>, drill: bool) -> Result<(), Failure> {
    let client = session.connect().await?;
    let backup = find(&client, name).await?;
    let found = client
        .backups()
        .verify(backup.member, &backup.name, drill)
        .await?;
    match session.is_json() {
        true => session.output.json(&found_json(&found, drill)),
        false => show(&session.output, &found, drill),
    }
}

fn show(output: &Output, found: &VerifiedBackup, drill: bool) -> Result<(), Failure> {
    let what = match drill {
        true => "whole, and a store opens with it",
        false => "whole",
    };
    output.line(format_args!(
        "{} of {} is {GOOD}{what}{GOOD:#}: revision {}, {}, {}, state hash {} · {} ms",
        found.backup.name,
        found.backup.member_name,
        found.backup.revision,
        count(found.keys, "key"),
        count(found.past_rows, "older value"),
        hex(&found.state_hash),
        found.took.as_millis(),
    ))
}

fn found_json(found: &VerifiedBackup, drill: bool) -> Json {
    json!({
        "name": found.backup.name,
        "node": found.backup.member_name,
        "drill": drill,
        "revision": found.backup.revision,
        "keys": found.keys,
        "past_rows": found.past_rows,
        "state_hash": hex(&found.state_hash),
        "took_ms": u64::try_from(found.took.as_millis()).unwrap_or(u64::MAX),
    })
}
