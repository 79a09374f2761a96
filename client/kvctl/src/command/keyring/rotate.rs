//! `keyring rotate`: a new epoch, and every version's key wrapped anew.

use serde_json::json;

use super::progress::{self, Followed, follow};
use crate::{failure::Failure, session::Session};

/// Begin a new epoch; the keys of all versions are wrapped anew in the background
///
/// The new epoch counts at once. No secret is opened for it. Whoever leads goes on with the
/// wrapping, so this can be left and looked at again.
#[derive(Debug, clap::Args)]
pub(crate) struct Rotate {
    /// Why; kept with the epoch. Not needed with --wait while a rotation is under way
    #[arg(long, value_name = "WHY", required_unless_present = "wait")]
    reason: Option<String>,

    /// Wait until every version is wrapped anew; without --reason for the rotation that is under
    /// way, and no new one is begun
    #[arg(long)]
    wait: bool,
}

impl Rotate {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let epoch = match &self.reason {
            Some(reason) => client.keyring().rotate(reason.clone()).await?,
            None => client.keyring().status().await?.epoch,
        };
        let output = &session.output;
        if !self.wait {
            if session.is_json() {
                return output.json(&json!({ "epoch": epoch, "complete": false }));
            }
            output.remark(format_args!(
                "epoch {epoch} has begun; versions are wrapped anew in the background, \
                 `kvctl keyring rotate --wait` follows it"
            ));
            return Ok(());
        }
        match follow(session, &client, epoch).await? {
            Followed::Complete(status) if session.is_json() => output.json(&json!({
                "epoch": status.epoch,
                "complete": true,
                "secrets": status.secrets,
            })),
            Followed::Complete(status) => {
                output.remark(progress::complete(&status));
                Ok(())
            }
            Followed::Left => Err(Failure::refused(
                "interrupted; the rotation goes on, `kvctl keyring rotate --wait` follows it",
            )),
        }
    }
}
