//! `backup`: made, listed, checked, tried out and fetched. Restoring one makes a new cluster: that is
//! `kvd restore`.

mod create;
mod fetch;
mod list;
mod verify;

use clap::Subcommand;
use holdfast_client::{BackupFile, Client};
use serde_json::{Value as Json, json};

use crate::{failure::Failure, session::Session, time};

/// Make, list and check backups
///
/// The leader makes one every day by itself, and keeps seven; `[backup]` in node.toml says otherwise.
/// Each is in a folder of the node that made it. To restore one: `kvd restore`, on a blank host.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Backup {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(create::Create),
    List(list::List),
    Verify(verify::Verify),
    Drill(verify::Drill),
    Fetch(fetch::Fetch),
}

impl Backup {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.action {
            Action::Create(command) => command.run(session).await,
            Action::List(command) => command.run(session).await,
            Action::Verify(command) => command.run(session).await,
            Action::Drill(command) => command.run(session).await,
            Action::Fetch(command) => command.run(session).await,
        }
    }
}

/// The backup that is meant: of this name, or else the newest that this cluster made.
async fn find(client: &Client, name: Option<&str>) -> Result<BackupFile, Failure> {
    let all = client.backups().list().await?;
    let found = all.backups.into_iter().find(|backup| match name {
        Some(name) => backup.name == name,
        None => backup.problem.is_empty() && backup.cluster == all.cluster,
    });
    found.ok_or_else(|| {
        let mut message = match name {
            Some(name) => {
                format!("there is no backup {name}; `kvctl backup list` shows those that there are")
            }
            None => "there is no backup yet; `kvctl backup create` makes one".to_owned(),
        };
        for problem in all.problems {
            message.push_str("\n  ");
            message.push_str(&problem);
        }
        Failure::refused(message)
    })
}

fn backup_json(backup: &BackupFile) -> Json {
    if !backup.problem.is_empty() {
        return json!({
            "name": backup.name,
            "node": backup.member_name,
            "problem": backup.problem,
        });
    }
    json!({
        "name": backup.name,
        "node": backup.member_name,
        "at": time::rfc3339(backup.at),
        "bytes": backup.bytes,
        "index": backup.index,
        "revision": backup.revision,
        "keys": backup.keys,
        "sealed": backup.sealed,
        "scheduled": backup.scheduled,
        "epoch": (backup.epoch != 0).then_some(backup.epoch),
        "state_hash": hex(&backup.state_hash),
        "cluster_id": backup.cluster,
        "problem": backup.problem,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
