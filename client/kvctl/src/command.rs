//! The commands, one a file: what each takes and what it does.

mod audit;
mod backup;
mod can;
mod completion;
mod delete;
mod diff;
mod explain;
mod export;
mod fleet;
mod get;
mod grant;
mod history;
mod identity;
mod import;
mod keyring;
mod list;
mod lock;
mod member;
mod overrides;
mod put;
mod role;
mod rollback;
mod secret;
mod status;
mod transaction;
mod txn;
mod watch;

use std::process::ExitCode;

use clap::Subcommand;
use holdfast_client::{Key, Revision};

use crate::{arguments::Arguments, failure::Failure, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Put(put::Put),
    Get(get::Get),
    List(list::List),
    Delete(delete::Delete),
    Txn(txn::Txn),
    History(history::History),
    Diff(diff::Diff),
    Rollback(rollback::Rollback),
    Watch(watch::Watch),
    Import(import::Import),
    Export(export::Export),
    Secret(secret::Secret),
    Keyring(keyring::Keyring),
    Audit(audit::Audit),
    Backup(backup::Backup),
    Lock(lock::Lock),
    Member(member::Member),
    Role(role::Role),
    Grant(grant::Grant),
    Identity(identity::Identity),
    Can(can::Can),
    Explain(explain::Explain),
    Fleet(fleet::Fleet),
    #[command(name = "override")]
    Overrides(overrides::Overrides),
    Status(status::Status),
    Completion(completion::Completion),
}

/// Runs the command; its exit code is 0 unless it chose another.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let session = Session::new(arguments.common);
    match arguments.command {
        Command::Put(command) => command.run(&session).await?,
        Command::Get(command) => command.run(&session).await?,
        Command::List(command) => command.run(&session).await?,
        Command::Delete(command) => command.run(&session).await?,
        Command::Txn(command) => command.run(&session).await?,
        Command::History(command) => command.run(&session).await?,
        Command::Diff(command) => command.run(&session).await?,
        Command::Rollback(command) => command.run(&session).await?,
        Command::Watch(command) => command.run(&session).await?,
        Command::Import(command) => command.run(&session).await?,
        Command::Export(command) => command.run(&session).await?,
        Command::Secret(command) => command.run(&session).await?,
        Command::Keyring(command) => command.run(&session).await?,
        Command::Audit(command) => return command.run(&session).await,
        Command::Backup(command) => command.run(&session).await?,
        Command::Lock(command) => return command.run(&session).await,
        Command::Member(command) => command.run(&session).await?,
        Command::Role(command) => command.run(&session).await?,
        Command::Grant(command) => command.run(&session).await?,
        Command::Identity(command) => command.run(&session).await?,
        Command::Can(command) => return command.run(&session).await,
        Command::Explain(command) => command.run(&session).await?,
        Command::Fleet(command) => return command.run(&session).await,
        Command::Overrides(command) => return command.run(&session).await,
        Command::Status(command) => return command.run(&session).await,
        Command::Completion(command) => command.run(&session)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A key of the command line.
fn parse_key(text: &str) -> Result<Key, String> {
    Key::try_from(text).map_err(|error| error.to_string())
}

/// A revision of the command line.
fn parse_revision(text: &str) -> Result<Revision, String> {
    text.parse()
        .ok()
        .and_then(Revision::new)
        .ok_or_else(|| "a revision is a whole number from 1 on".to_owned())
}

/// `1 key`, `2 keys`.
fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}
