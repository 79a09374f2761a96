//! `backup fetch`: a copy of a backup here.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use holdfast_client::{BackupFile, Client};
use serde_json::json;

use super::find;
use crate::{failure::Failure, plaintext::create_private, session::Session};

/// Bring a copy of a backup here
///
/// Into a new file, for its owner alone to read. `kvd verify-backup` checks it; `kvd restore` makes a
/// cluster of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Fetch {
    /// As `kvctl backup list` names it [default: the newest]
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// The new file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Fetch {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let backup = find(&client, self.name.as_deref()).await?;
        save(&client, &backup, &self.out).await?;
        if session.is_json() {
            return session.output.json(&json!({
                "name": backup.name,
                "node": backup.member_name,
                "bytes": backup.bytes,
                "file": self.out,
            }));
        }
        session.output.line(format_args!(
            "{} of {} is in {}",
            backup.name,
            backup.member_name,
            self.out.display()
        ))
    }
}

/// Fetches a backup into a new file. If that fails, no file is left.
pub(super) async fn save(client: &Client, backup: &BackupFile, out: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::refused(format!(
            "{} could not be written: {error}; nothing was left there",
            out.display()
        ))
    };
    let mut file = create_private(out).map_err(|error| {
        Failure::refused(format!("{} could not be made: {error}", out.display()))
    })?;
    let saving = async {
        let mut fetched = client.backups().fetch(backup.member, &backup.name).await?;
        let mut bytes = 0;
        while let Some(part) = fetched.next().await? {
            bytes += part.len() as u64;
            file.write_all(&part).map_err(failed)?;
        }
        if bytes != backup.bytes {
            return Err(Failure::refused(format!(
                "{bytes} of {} bytes came; nothing was left of them, fetch it again",
                backup.bytes
            )));
        }
        file.sync_all().map_err(failed)
    };
    let saved = saving.await;
    if saved.is_err() {
        // What cannot be removed is no backup either: its end is missing, and every reader says so.
        let _ = fs::remove_file(out);
    }
    saved
}
