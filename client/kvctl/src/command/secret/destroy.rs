//! `secret destroy`: throws the keys of versions away, so that nothing opens them.

use holdfast_client::{DestroyOptions, Key, Revision};
use serde_json::json;

use super::super::{count, parse_key, parse_revision};
use crate::{failure::Failure, record, session::Session, terminal::Person};

/// Destroy a secret for good: every version, and the key; or one version
///
/// Each version of a secret is sealed by a key of its own. That key is thrown away on every node,
/// so that nothing opens what is left of the version, in logs, snapshots and histories, whoever
/// holds the keyring. What it does not reach: backups made before still hold the keys as they were
/// then, whoever opened the secret before still knows it, and a mirror keeps it until it hears of
/// this. Change the secret where it is used, too.
#[derive(Debug, clap::Args)]
pub(crate) struct Destroy {
    /// The key
    #[arg(value_parser = parse_key)]
    key: Key,

    /// The version of this revision alone
    #[arg(long, value_parser = parse_revision)]
    revision: Option<Revision>,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Why; kept in the history, for all to read
    #[arg(long, value_name = "WHY", default_value = "")]
    note: String,
}

impl Destroy {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        if !self.yes {
            self.confirm()?;
        }
        let options = DestroyOptions {
            revision: self.revision,
            note: self.note,
        };
        let client = session.connect().await?;
        let secrets = client.secrets();
        let destroyed = secrets.destroy(self.key.clone(), options).await?;
        if session.is_json() {
            let mut fields = record::key_fields(&self.key);
            fields.insert("destroyed".to_owned(), json!(destroyed));
            return session.output.json(&fields.into());
        }
        session.output.remark(format_args!(
            "{} of {} destroyed: nothing opens what is left; backups made before still do",
            count(destroyed, "version"),
            self.key
        ));
        Ok(())
    }

    fn confirm(&self) -> Result<(), Failure> {
        let what = match self.revision {
            Some(revision) => format!("the version of revision {revision} of {}", self.key),
            None => format!("every version of {}, and the key", self.key),
        };
        let Some(person) = Person::present() else {
            return Err(Failure::usage(format!(
                "there is no terminal to ask whether to destroy {what}; nothing was destroyed, add \
                 --yes"
            )));
        };
        let question = format!(
            "This destroys {what}, for good.\nThe keys that seal it are thrown away on every node: \
             nothing opens what is left in logs, snapshots and histories.\nBackups made before \
             still hold it; whoever opened it before still knows it.\nDestroy it?"
        );
        match person.agrees(&question)? {
            true => Ok(()),
            false => Err(Failure::refused("nothing was destroyed")),
        }
    }
}
