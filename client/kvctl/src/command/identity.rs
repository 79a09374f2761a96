//! `identity`: certificates for services and people, and the end of them.

mod issue;

use clap::Subcommand;
use holdfast_client::{AccessIdentity, Client, Timestamp};
use serde_json::{Value as Json, json};

use crate::{failure::Failure, session::Session, terminal::Person, time};

/// Issue certificates, and show and revoke those there are
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Identity {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show who was given a certificate, and who was revoked
    List,
    Issue(issue::Issue),
    /// Let an identity in no more, for good: its certificates are refused and its roles are gone
    Revoke {
        /// Whom
        #[arg(value_parser = parse_identity)]
        identity: String,
        /// Do not ask once more
        #[arg(long)]
        yes: bool,
    },
}

impl Identity {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.action {
            Action::List => list(session, &session.connect().await?).await,
            Action::Issue(command) => command.run(session).await,
            Action::Revoke { identity, yes } => revoke(session, &identity, yes).await,
        }
    }
}

/// `client/NAME` of a NAME.
pub(super) fn parse_identity(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("client/").unwrap_or(text);
    let known = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    match (1..=63).contains(&name.len()) && name.bytes().all(known) {
        true => Ok(format!("client/{name}")),
        false => {
            Err("an identity is called by 1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-'".to_owned())
        }
    }
}

async fn list(session: &Session, client: &Client) -> Result<(), Failure> {
    let identities = client.access().identities().await?;
    if session.is_json() {
        let identities: Vec<Json> = identities.iter().map(identity_json).collect();
        return session.output.json(&json!({ "identities": identities }));
    }
    let shown = |at: Option<Timestamp>| at.map_or_else(String::new, time::short);
    let rows = identities.iter().map(|known| {
        [
            known.identity.clone(),
            shown(known.issued_at),
            shown(known.expires_at),
            shown(known.revoked_at),
        ]
    });
    let headings = ["IDENTITY", "ISSUED (UTC)", "EXPIRES (UTC)", "REVOKED (UTC)"];
    session.output.rows(headings, rows.collect())
}

fn identity_json(known: &AccessIdentity) -> Json {
    json!({
        "identity": known.identity,
        "issued_at": known.issued_at.map(time::rfc3339),
        "expires_at": known.expires_at.map(time::rfc3339),
        "revoked_at": known.revoked_at.map(time::rfc3339),
    })
}

async fn revoke(session: &Session, identity: &str, yes: bool) -> Result<(), Failure> {
    if !yes && let Some(person) = Person::present() {
        let question = format!("Let {identity} in no more, for good?");
        if !person.agrees(&question)? {
            return Err(Failure::refused("nothing was changed"));
        }
    }
    let client = session.connect().await?;
    client.access().revoke(identity).await?;
    if session.is_json() {
        return session.output.json(&json!({ "identity": identity }));
    }
    session.output.remark(format_args!(
        "{identity} is let in no more, and the name is not given out again"
    ));
    Ok(())
}
