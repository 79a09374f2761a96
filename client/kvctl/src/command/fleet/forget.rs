//! `fleet forget`: takes who is gone for good off the list.

use holdfast_client::{Client, ForgetOptions};
use serde_json::json;

use super::super::{count, identity::parse_identity};
use crate::{failure::Failure, session::Session};

/// Forget what services said that are gone for good
///
/// Whoever still runs says it again within a minute.
#[derive(Debug, clap::Args)]
pub(crate) struct Forget {
    /// Of prefixes that begin so
    #[arg(required_unless_present_any = ["identity", "instance", "stale"], default_value = "", hide_default_value = true)]
    prefix: String,

    /// Only what this identity said
    #[arg(long, value_name = "IDENTITY", value_parser = parse_identity)]
    identity: Option<String>,

    /// Only what this instance said
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,

    /// Only on this set of files
    #[arg(long, value_name = "NAME")]
    set: Option<String>,

    /// Only of those who were not heard for three minutes
    #[arg(long)]
    stale: bool,
}

impl Forget {
    pub(super) async fn run(self, session: &Session, client: &Client) -> Result<(), Failure> {
        let options = ForgetOptions {
            identity: self.identity,
            instance: self.instance,
            set: self.set,
            stale: self.stale,
        };
        let forgotten = client.fleet().forget(self.prefix, options).await?;
        if session.is_json() {
            return session.output.json(&json!({ "forgotten": forgotten }));
        }
        session
            .output
            .remark(format_args!("{} forgotten", count(forgotten, "report")));
        Ok(())
    }
}
