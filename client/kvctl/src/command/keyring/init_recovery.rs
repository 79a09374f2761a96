//! `keyring init-recovery`: a recovery key in shares, made here; the cluster gets its public half.

use std::path::PathBuf;

use holdfast_client::{Client, NewRecovery, WriteError};
use holdfast_seal::{OsRandom, RecoveryKey, Share, Split};
use serde_json::json;

use super::shares;
use crate::{arguments::Format, failure::Failure, session::Session, terminal::Person};

/// Make a recovery key in shares, and have the keyring wrapped for it
///
/// Any --threshold of the shares open the secrets of a cluster of which nothing is left but a
/// backup. Key and shares are made on this machine; the cluster gets the public half alone, and the
/// private half is wiped. Give each share to another holder. No secret is accepted until
/// `kvctl keyring verify-recovery` has shown that the shares work.
#[derive(Debug, clap::Args)]
pub(crate) struct InitRecovery {
    /// How many shares: at most 16
    #[arg(long, value_name = "N")]
    shares: u8,

    /// How many of them recover the keyring: at least 2; or 1 of 1, which is no sharing
    #[arg(long, value_name = "M")]
    threshold: u8,

    /// Write one file for each share into this folder, for you alone to read. Without it each is
    /// shown at the terminal by itself, or all are printed to a pipe
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Replace the recovery key that there is: its shares recover nothing newer than this
    #[arg(long)]
    replace: bool,
}

impl InitRecovery {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let split = Split::new(self.shares, self.threshold)
            .map_err(|error| Failure::usage(error.to_string()))?;
        if session.is_json() && self.out.is_none() {
            return Err(Failure::usage(
                "-o json prints no share; add --out DIR for one file each",
            ));
        }
        let client = session.connect().await?;
        let replaces = self.replaced(&client).await?;

        let (key, shares) = RecoveryKey::split_new(&mut OsRandom, split);
        // First the shares, then the cluster: there must be no recovery key whose shares nobody has.
        let files = self.hand_out(session, &shares)?;
        let new = NewRecovery {
            set: key.set().as_bytes().to_vec().into(),
            public_key: key.public().as_bytes().to_vec().into(),
            shares: split.shares().into(),
            threshold: split.threshold().into(),
            replaces: replaces.map(Into::into),
        };
        let set = key.set();
        drop((key, shares));
        let epoch = match client.keyring().init_recovery(new).await {
            Ok(epoch) => epoch,
            Err(error @ WriteError::Unknown { .. }) => {
                return Err(Failure::from(error).during(format_args!(
                    "keep the shares of set {set} until `kvctl keyring status` tells which set counts"
                )));
            }
            Err(error) => {
                shares::remove_files(&files);
                return Err(Failure::from(error).during(format_args!(
                    "the shares of set {set} are of no use, destroy them"
                )));
            }
        };
        if session.is_json() {
            let files: Vec<_> = files
                .iter()
                .map(|file| file.display().to_string())
                .collect();
            return session.output.json(&json!({
                "epoch": epoch,
                "set": set.to_string(),
                "shares": split.shares(),
                "threshold": split.threshold(),
                "files": files,
            }));
        }
        session.output.remark(format_args!(
            "epoch {epoch} is wrapped for set {set}, {} of {}; give each share to another holder. \
             Secrets are accepted once `kvctl keyring verify-recovery` has shown that they work",
            split.threshold(),
            split.shares()
        ));
        Ok(())
    }

    /// The set that is replaced.
    async fn replaced(&self, client: &Client) -> Result<Option<Vec<u8>>, Failure> {
        let recovery = client.keyring().status().await?.recovery;
        match (recovery, self.replace) {
            (None, _) => Ok(None),
            (Some(recovery), true) => Ok(Some(recovery.set.to_vec())),
            (Some(recovery), false) => Err(Failure::refused(format!(
                "there is a recovery key, in {} shares of set {}; nothing was made, add --replace to \
                 make another",
                recovery.shares,
                shares::set_name(&recovery.set)
            ))),
        }
    }

    /// Returns the files, if that is where the shares went.
    fn hand_out(&self, session: &Session, shares: &[Share]) -> Result<Vec<PathBuf>, Failure> {
        if let Some(folder) = &self.out {
            let files = shares::write_files(shares, folder)?;
            for file in &files {
                session.output.remark(file.display());
            }
            return Ok(files);
        }
        match Person::present() {
            Some(person)
                if session.output.is_terminal() && session.output.format == Format::Table =>
            {
                shares::show_one_by_one(shares, person)?;
            }
            _ => shares::print_all(shares)?,
        }
        Ok(Vec::new())
    }
}
