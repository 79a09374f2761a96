//! `override`: settings for an emergency, signed where no server is needed.

mod show;
mod sign;

use std::{
    io::{self, Read as _},
    path::Path,
    process::ExitCode,
    time::SystemTime,
};

use clap::Subcommand;
use holdfast_client::{Override, Timestamp};
use serde_json::{Map, Value as Json, json};

use crate::{failure::Failure, session::Session, time};

/// Emergency overrides: signed files that count on a service's node while no server can be asked
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Overrides {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Sign(sign::Sign),
    Show(show::Show),
}

impl Overrides {
    pub(crate) async fn run(self, session: &Session) -> Result<ExitCode, Failure> {
        match self.action {
            Action::Sign(command) => command.run(session).await,
            Action::Show(command) => command.run(session),
        }
    }
}

/// What a file says beside its values.
fn described(read: &Override) -> Map<String, Json> {
    let fields = json!({
        "prefix": read.prefix(),
        "signer": read.signer(),
        "signed_at": time::rfc3339(timestamp(read.signed())),
        "expires_at": time::rfc3339(timestamp(read.expires())),
        "reason": read.reason(),
        "fields": read.fields(),
    });
    match fields {
        Json::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// A file, or standard input for `-`.
fn read(path: &Path) -> Result<String, Failure> {
    let text = match path.as_os_str() == "-" {
        true => {
            let mut text = String::new();
            io::stdin().lock().read_to_string(&mut text).map(|_| text)
        }
        false => std::fs::read_to_string(path),
    };
    text.map_err(|error| Failure::usage(format!("{} could not be read: {error}", path.display())))
}

fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.map_or(0, |since| since.as_millis());
    Timestamp::from_millis(u64::try_from(since).unwrap_or(u64::MAX))
}
