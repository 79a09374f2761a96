//! `backup create`: one now, beside those that are made by themselves.

use std::path::PathBuf;

use serde_json::json;

use super::{backup_json, fetch};
use crate::{
    command::{count, status::amount},
    failure::Failure,
    member_name::resolve,
    session::Session,
};

/// Make a backup now
///
/// While everything goes on. It stays until somebody deletes it; those that the cluster makes by itself
/// do not count it. With a keyring it is sealed for the members that hold keys and for the recovery
/// shares; without one it is as plain as the values in it.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// In the folder of this member: name or id [default: of the one that answers]
    #[arg(long, value_name = "MEMBER")]
    node: Option<String>,

    /// Also bring a copy here, into this new file: what is only on the nodes is lost with them
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Create {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let member = match &self.node {
            Some(node) => Some(resolve(&client, node).await?),
            None => None,
        };
        let made = client.backups().create(member).await?;
        let backup = &made.backup;
        if let Some(out) = &self.out {
            fetch::save(&client, backup, out)
                .await
                .map_err(|failure| failure.during(format_args!("{} was made", backup.name)))?;
        }
        if session.is_json() {
            let mut document = backup_json(backup);
            document["took_ms"] = json!(u64::try_from(made.took.as_millis()).unwrap_or(u64::MAX));
            document["file"] = json!(self.out);
            return session.output.json(&document);
        }
        session.output.line(format_args!(
            "{} · on {} · revision {} · {} · {} · {} · {} ms",
            backup.name,
            backup.member_name,
            backup.revision,
            count(backup.keys, "key"),
            amount(backup.bytes, "bytes"),
            if backup.sealed {
                "sealed"
            } else {
                "not sealed"
            },
            made.took.as_millis(),
        ))?;
        match self.out {
            Some(out) => session
                .output
                .remark(format_args!("a copy is in {}", out.display())),
            None => session.output.remark(
                "it is on that node alone; `kvctl backup fetch` brings a copy to another place",
            ),
        }
        Ok(())
    }
}
