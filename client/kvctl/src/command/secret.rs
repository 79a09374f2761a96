//! `secret`: what is sealed, and opens on demand.

mod destroy;
mod generate;
mod get;
mod history;
mod list;
mod put;

use clap::Subcommand;
use holdfast_client::{Key, SecretWritten};
use serde_json::json;

use crate::{failure::Failure, record, session::Session};

/// Put, open and destroy secrets
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Secret {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Put(put::Put),
    Get(get::Get),
    List(list::List),
    History(history::History),
    Destroy(destroy::Destroy),
    Generate(generate::Generate),
}

impl Secret {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.action {
            Action::Put(command) => command.run(session).await,
            Action::Get(command) => command.run(session).await,
            Action::List(command) => command.run(session).await,
            Action::History(command) => command.run(session).await,
            Action::Destroy(command) => command.run(session).await,
            Action::Generate(command) => command.run(session).await,
        }
    }
}

/// What a put says, however the secret was come by.
fn written(session: &Session, key: &Key, written: SecretWritten) -> Result<(), Failure> {
    if session.is_json() {
        let mut fields = record::key_fields(key);
        fields.insert("revision".to_owned(), json!(written.revision.get()));
        fields.insert("version".to_owned(), json!(written.version));
        return session.output.json(&fields.into());
    }
    session.output.remark(format_args!(
        "{key} is at revision {}, version {}",
        written.revision, written.version
    ));
    Ok(())
}
