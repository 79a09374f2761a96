//! `member`: who belongs to the cluster.

mod compromised;
mod removal;

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use holdfast_client::{Client, Member as Node, NodeId, Role};
use serde_json::{Value as Json, json};

use crate::{
    arguments::Format, duration, failure::Failure, member_name::resolve, session::Session, time,
};

/// Show and change who belongs to the cluster
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Member {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the members
    List,
    /// Make a token that lets one new node in; give it to `kvd join`
    Token {
        /// Only a node of this name may use it
        #[arg(long)]
        name: Option<String>,
        /// What the node will be
        #[arg(long, value_enum, default_value_t = NewRole::Voter)]
        role: NewRole,
        /// How long it is good: at most 7d
        #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1h")]
        ttl: Duration,
    },
    /// Make a learner a voter
    Promote {
        /// The member's name or id
        member: String,
    },
    /// Remove a member for good, and say what it takes along
    ///
    /// Its certificate is refused from then on. Run it again for one that was removed already to
    /// end what was interrupted, and to see the report again.
    Remove {
        /// The member's name or id
        member: String,
        /// Its disk may be in wrong hands: rotate the cluster's authority, too, and renew the
        /// certificate of this context. Goes on where it stopped when it is run again
        #[arg(long)]
        compromised: bool,
        /// Retire the old authority even while other clients still use certificates of it
        #[arg(long, requires = "compromised")]
        cut_off_clients: bool,
        /// Do not ask once more
        #[arg(long)]
        yes: bool,
    },
    /// Hand leadership over
    TransferLeader {
        /// To whom: name or id [default: whoever is most up to date]
        member: Option<String>,
    },
}

/// What a new node will be.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum NewRole {
    /// It votes
    Voter,
    /// It follows and does not vote
    Learner,
    /// It votes and keeps ciphertext, has no keys and takes no clients
    Witness,
}

impl Member {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        match self.action {
            Action::List => list(session, &client).await,
            Action::Token { name, role, ttl } => {
                let role = match role {
                    NewRole::Voter => Role::Voter,
                    NewRole::Learner => Role::Learner,
                    NewRole::Witness => Role::Witness,
                };
                token(session, &client, name.as_deref(), role, ttl).await
            }
            Action::Promote { member } => {
                let id = resolve(&client, &member).await?;
                client.cluster().promote(id).await?;
                changed(
                    session,
                    &json!({ "id": id.0 }),
                    format!("{member} votes now"),
                )
            }
            Action::Remove {
                member,
                compromised: false,
                yes,
                ..
            } => removal::remove(session, &client, &member, yes).await,
            Action::Remove {
                member,
                cut_off_clients,
                yes,
                ..
            } => compromised::remove(session, &client, &member, yes, cut_off_clients).await,
            Action::TransferLeader { member } => {
                let to = match &member {
                    Some(member) => Some(resolve(&client, member).await?),
                    None => None,
                };
                let leader = client.cluster().transfer_leader(to).await?;
                let name = match member {
                    Some(member) => member,
                    None => name_of(&client, leader).await?,
                };
                let said = format!("{name} leads now");
                changed(session, &json!({ "leader": leader.0 }), said)
            }
        }
    }
}

/// What people call a member.
async fn name_of(client: &Client, id: NodeId) -> Result<String, Failure> {
    let members = client.cluster().member_list().await?.members;
    let named = members.into_iter().find(|member| member.id == id);
    Ok(named.map_or_else(|| format!("member {id}"), |member| member.name))
}

fn changed(session: &Session, json: &Json, said: String) -> Result<(), Failure> {
    if session.is_json() {
        return session.output.json(json);
    }
    session.output.remark(said);
    Ok(())
}

async fn list(session: &Session, client: &Client) -> Result<(), Failure> {
    let members = client.cluster().member_list().await?;
    if session.is_json() {
        return session.output.json(&json!({
            "leader": members.leader.map(|leader| leader.0),
            "members": members.members.iter().map(member_json).collect::<Vec<_>>(),
        }));
    }
    let rows = members.members.iter().map(|member| {
        let leads = match members.leader == Some(member.id) {
            true => "leader",
            false => "",
        };
        [
            member.id.to_string(),
            member.name.clone(),
            role_name(member.role).to_owned(),
            leads.to_owned(),
            member.address.clone(),
            time::short(member.joined_at),
        ]
    });
    let headings = ["ID", "NAME", "ROLE", "", "ADDRESS", "JOINED (UTC)"];
    session.output.rows(headings, rows.collect())
}

async fn token(
    session: &Session,
    client: &Client,
    name: Option<&str>,
    role: Role,
    ttl: Duration,
) -> Result<(), Failure> {
    let token = client.cluster().create_token(role, ttl, name).await?;
    let output = &session.output;
    match output.format {
        Format::Json => output.json(&json!({
            "token": token.token,
            "expires_at": time::rfc3339(token.expires_at),
        })),
        Format::Table | Format::Raw => {
            output.line(&token.token)?;
            output.remark(format_args!(
                "good for one node until {} UTC: kvd join --dir DIR --name {} --listen HOST:PORT \
                 --token TOKEN",
                time::short(token.expires_at),
                name.unwrap_or("NAME"),
            ));
            Ok(())
        }
    }
}

pub(super) fn member_json(member: &Node) -> Json {
    json!({
        "id": member.id.0,
        "name": member.name,
        "address": member.address,
        "role": role_name(member.role),
        "joined_at": time::rfc3339(member.joined_at),
    })
}

pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Voter => "voter",
        Role::Learner => "learner",
        Role::Witness => "witness",
        _ => "unknown",
    }
}
