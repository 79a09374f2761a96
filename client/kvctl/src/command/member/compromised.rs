//! `member remove --compromised`: the removal, and the rotation of the cluster's authority with it.
//!
//! The steps on this side: ask for it; put the next authority and the new certificate into the files
//! of the context; come again with those, and only then have the old authority retired. So whoever ends
//! a rotation has shown that he can come in afterwards. Each step may be interrupted, and the same
//! command goes on.

use std::{collections::BTreeMap, io::IsTerminal as _, path::Path, time::Duration};

use holdfast_client::{Client, ClientOptions, Context, NodeId, Rotation, Timestamp};
use serde_json::{Value as Json, json};

use super::{super::count, removal};
use crate::{failure::Failure, member_name, session::Session, time};

/// Removes the member of this name or id and rotates the authority.
pub(super) async fn remove(
    session: &Session,
    client: &Client,
    named: &str,
    is_sure: bool,
    cuts_off: bool,
) -> Result<(), Failure> {
    let member = member_name::resolve_for_removal(client, named).await?;
    if !is_sure && std::io::stdin().is_terminal() && !removal::confirm(&member)? {
        return Err(Failure::refused("nothing was changed"));
    }
    let names = names(client).await?;
    let patient = client.with_timeout(session.common.timeout.max(PATIENCE));
    let removed = patient.cluster().remove_compromised(member.id).await?;
    let mut rotation = removed.rotation;
    let file = session.context_file()?;
    if let Some(cert) = &rotation.cert {
        Context::renew(&file, &rotation.ca, cert)?;
    }
    let others = others(&rotation);
    let waits = rotation.retired_at.is_none() && !others.is_empty() && !cuts_off;
    if rotation.retired_at.is_none() && !waits {
        rotation.retired_at = Some(retire(session, &file, rotation.generation).await?);
    }
    if session.is_json() {
        let mut report = match &removed.removal {
            Some(report) => removal::removal_json(report),
            None => json!({ "id": member.id.0 }),
        };
        report["rotation"] = rotation_json(&rotation);
        session.output.json(&report)?;
    } else {
        let report = removed.removal.as_ref().map(removal::lines);
        let lines = report.into_iter().flatten();
        lines
            .chain(rotation_lines(&rotation, &names, &others))
            .try_for_each(|line| session.output.line(line))?;
    }
    match waits {
        false => Ok(()),
        true => Err(Failure::refused(format!(
            "the old authority is still trusted: {} would be cut off. Give each a new certificate \
             (`kvctl identity issue`) in the place of its old one, then run the same command again \
             with --cut-off-clients: who has it by then goes on without a failed request",
            count(others.len() as u64, "client")
        ))),
    }
}

/// Comes with the new certificate, and has the old authority retired.
async fn retire(session: &Session, file: &Path, generation: u64) -> Result<Timestamp, Failure> {
    let options = ClientOptions {
        request_timeout: session.common.timeout.max(PATIENCE),
        ..ClientOptions::default()
    };
    let renewed = Client::with_options(&Context::load(file)?, options).await?;
    Ok(renewed.cluster().retire_authority(generation).await?)
}

/// What people call the members.
async fn names(client: &Client) -> Result<BTreeMap<NodeId, String>, Failure> {
    let known = client.cluster().member_list().await?;
    let all = known.members.into_iter().chain(known.removed);
    Ok(all.map(|member| (member.id, member.name)).collect())
}

/// The clients that have to renew, but for the one that was renewed here.
fn others(rotation: &Rotation) -> Vec<String> {
    let seen = rotation.clients_to_renew.iter();
    seen.filter(|name| **name != rotation.asked_by)
        .cloned()
        .collect()
}

fn rotation_lines(
    rotation: &Rotation,
    names: &BTreeMap<NodeId, String>,
    others: &[String],
) -> Vec<String> {
    let mut lines = vec![format!(
        "Authority {} follows the one whose key it may have given away; {} certificates of it.",
        rotation.generation,
        match rotation.taken.len() {
            1 => "1 node has".to_owned(),
            taken => format!("{taken} nodes have"),
        }
    )];
    let name = |id: &NodeId| names.get(id).cloned().unwrap_or_else(|| id.to_string());
    let away: Vec<String> = rotation.away.iter().map(name).collect();
    if !away.is_empty() {
        lines.push(format!(
            "{} did not answer: nothing is to be done there, the key that the cluster knows of it \
             lets it in when it comes back, and it takes the new authority then.",
            away.join(", ")
        ));
    }
    lines.push(match &rotation.cert {
        Some(_) => {
            "This context has a new certificate; copies of it elsewhere are to be replaced.".into()
        }
        None => format!(
            "This context has no new certificate from this: {} began the rotation.",
            rotation.asked_by
        ),
    });
    if !others.is_empty() {
        lines.push("Seen with certificates of the old authority:".into());
        lines.extend(others.iter().map(|name| format!("  {name}")));
    }
    lines.push(match rotation.retired_at {
        Some(at) => format!(
            "The old authority is trusted no more since {} UTC: every other certificate of it, and \
             every join token, is refused. Give services and operators new certificates: \
             `kvctl identity issue`.",
            time::short(at)
        ),
        None => "The old authority is still trusted beside it.".into(),
    });
    lines
}

fn rotation_json(rotation: &Rotation) -> Json {
    let ids = |ids: &[NodeId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
    json!({
        "generation": rotation.generation,
        "asked_by": rotation.asked_by,
        "asked_at": time::rfc3339(rotation.asked_at),
        "retired_at": rotation.retired_at.map(time::rfc3339),
        "taken": ids(&rotation.taken),
        "away": ids(&rotation.away),
        "clients_to_renew": rotation.clients_to_renew,
    })
}

/// Each node has to take the next authority; that takes longer than a request.
const PATIENCE: Duration = Duration::from_secs(60);
