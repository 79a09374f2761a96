//! `role`: rules under a name, to be granted.

use clap::Subcommand;
use holdfast_client::{AccessRole, Client, Rule};
use serde_json::{Value as Json, json};

use crate::{failure::Failure, session::Session};

/// Show and change roles: what may be done, to be granted with `kvctl grant`
///
/// A rule is written CAPABILITIES:PREFIX, as in read,write:app/ (the keys that begin with app/), or
/// read: (every key). Capabilities are list, read (implies list), reveal (secrets in the clear;
/// reveal+reason wants a reason), write, delete and lock; and, without a prefix, admin:members,
/// admin:policy, admin:keyring, admin:backup, admin:audit, admin:history, or admin:* for all of
/// them. What no rule allows is refused, and what one rule denies no other allows.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Role {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the roles and their rules, those that every cluster has first
    List,
    /// Make a role, or put other rules into it; who is granted it feels that at once
    #[command(
        after_help = "kvctl role set app --allow read,write,delete:app/ --deny read:app/keys/"
    )]
    Set {
        /// 1 to 63 of a-z, 0-9, '.', '_' and '-'
        name: String,
        /// What is allowed; may be given several times
        #[arg(long, value_name = "RULE", value_parser = allow)]
        allow: Vec<Rule>,
        /// What is denied, whatever else allows it
        #[arg(long, value_name = "RULE", value_parser = deny)]
        deny: Vec<Rule>,
    },
    /// Remove a role that nobody is granted
    Remove {
        /// Its name
        name: String,
    },
}

impl Role {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        match self.action {
            Action::List => list(session, &client).await,
            Action::Set { name, allow, deny } => {
                if allow.is_empty() && deny.is_empty() {
                    return Err(Failure::usage(
                        "a role needs a rule: --allow RULE, as in --allow read:app/",
                    ));
                }
                let rules: Vec<Rule> = allow.into_iter().chain(deny).collect();
                let number = rules.len() as u64;
                client.access().set_role(name.as_str(), rules).await?;
                let said = format!("{name} has {} now", super::count(number, "rule"));
                changed(session, &name, said)
            }
            Action::Remove { name } => {
                client.access().remove_role(name.as_str()).await?;
                changed(session, &name, format!("{name} is gone"))
            }
        }
    }
}

async fn list(session: &Session, client: &Client) -> Result<(), Failure> {
    let roles = client.access().roles().await?;
    if session.is_json() {
        let roles: Vec<Json> = roles.iter().map(role_json).collect();
        return session.output.json(&json!({ "roles": roles }));
    }
    // One line a rule; a role's name stands before its first.
    let rows = roles.iter().flat_map(|role| {
        let rules = role.rules.iter().enumerate();
        rules.map(|(place, rule)| {
            let first = place == 0;
            let name = if first { role.name.as_str() } else { "" };
            let from = match first && role.built_in {
                true => "built in",
                false => "",
            };
            [name.to_owned(), rule.to_string(), from.to_owned()]
        })
    });
    session.output.rows(["ROLE", "RULES", ""], rows.collect())
}

fn role_json(role: &AccessRole) -> Json {
    json!({
        "role": role.name,
        "built_in": role.built_in,
        "rules": role.rules.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn changed(session: &Session, name: &str, said: String) -> Result<(), Failure> {
    if session.is_json() {
        return session.output.json(&json!({ "role": name }));
    }
    session.output.remark(said);
    Ok(())
}

fn allow(text: &str) -> Result<Rule, String> {
    Rule::parse(false, text).map_err(|error| error.to_string())
}

fn deny(text: &str) -> Result<Rule, String> {
    Rule::parse(true, text).map_err(|error| error.to_string())
}
