//! `grant`: who has which roles.

use clap::Subcommand;
use holdfast_client::Client;
use serde_json::json;

use super::identity::parse_identity;
use crate::{failure::Failure, session::Session};

/// Show and change who has which roles
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Grant {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show who has which roles
    List,
    /// Give an identity roles; it keeps those it has
    Add(Change),
    /// Take roles from an identity; what is open feels that at once
    Remove(Change),
}

#[derive(Debug, clap::Args)]
struct Change {
    /// Whom: the name of a certificate, as `kvctl identity list` shows it
    #[arg(value_parser = parse_identity)]
    identity: String,
    /// Which roles
    #[arg(required = true)]
    roles: Vec<String>,
}

impl Grant {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        match self.action {
            Action::List => list(session, &client).await,
            Action::Add(change) => apply(session, &client, &change, true).await,
            Action::Remove(change) => apply(session, &client, &change, false).await,
        }
    }
}

async fn list(session: &Session, client: &Client) -> Result<(), Failure> {
    let grants = client.access().grants().await?;
    if session.is_json() {
        let grants = grants
            .iter()
            .map(|grant| json!({ "identity": grant.identity, "roles": grant.roles }));
        let grants: Vec<_> = grants.collect();
        return session.output.json(&json!({ "grants": grants }));
    }
    let rows = grants
        .iter()
        .map(|grant| [grant.identity.clone(), grant.roles.join(", ")]);
    session.output.rows(["IDENTITY", "ROLES"], rows.collect())
}

async fn apply(
    session: &Session,
    client: &Client,
    change: &Change,
    add: bool,
) -> Result<(), Failure> {
    let named: Vec<&str> = change.roles.iter().map(String::as_str).collect();
    let (add, remove) = match add {
        true => (&named[..], &[][..]),
        false => (&[][..], &named[..]),
    };
    let access = client.access();
    let identity = change.identity.as_str();
    access.change_grant(identity, add, remove).await?;
    let grants = access.grants().await?;
    let now = grants.into_iter().find(|grant| grant.identity == identity);
    let roles = now.map(|grant| grant.roles).unwrap_or_default();
    if session.is_json() {
        let json = json!({ "identity": identity, "roles": roles });
        return session.output.json(&json);
    }
    session.output.remark(match &roles[..] {
        [] => format!("{identity} has no roles any more"),
        roles => format!("{identity} has {} now", roles.join(", ")),
    });
    Ok(())
}
