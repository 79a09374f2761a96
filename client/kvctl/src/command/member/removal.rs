//! `member remove`: asks once more, removes, and says what the member takes along.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use holdfast_client::{Client, Member, Removal};
use serde_json::{Value as Json, json};

use super::{super::count, member_json};
use crate::{failure::Failure, member_name, record::key_fields, session::Session, time};

/// Removes the member of this name or id; one that was removed already is reported again.
pub(super) async fn remove(
    session: &Session,
    client: &Client,
    named: &str,
    is_sure: bool,
) -> Result<(), Failure> {
    let member = member_name::resolve_for_removal(client, named).await?;
    if !is_sure && std::io::stdin().is_terminal() && !confirm(&member)? {
        return Err(Failure::refused("nothing was changed"));
    }
    let Some(removal) = client.cluster().remove(member.id).await? else {
        session
            .output
            .remark(format_args!("{} is removed", member.name));
        return Ok(());
    };
    if session.is_json() {
        return session.output.json(&removal_json(&removal));
    }
    lines(&removal)
        .into_iter()
        .try_for_each(|line| session.output.line(line))
}

pub(super) fn confirm(member: &Member) -> Result<bool, Failure> {
    eprint!(
        "{} (id {}, {}) is removed for good; to come back it has to join anew. Go on? [y/N] ",
        member.name, member.id, member.address
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The report for people.
pub(super) fn lines(removal: &Removal) -> Vec<String> {
    let Removal { member, .. } = removal;
    let mut lines = vec![format!(
        "{} (id {}) is removed{}; it and its certificate are refused everywhere.",
        member.name,
        member.id,
        removal
            .at
            .map_or_else(String::new, |at| format!(" since {} UTC", time::short(at)))
    )];
    lines.push(match removal.heard {
        Some(heard) => format!("It was heard last at {} UTC.", time::short(heard)),
        None => "When it was heard last is not known: nobody who led since had heard it.".into(),
    });
    lines.push(
        "Whoever has its folder can read every plain value that was there at its removal.".into(),
    );
    lines.extend(of_secrets(removal));
    if removal.held_authority {
        lines.push(
            "It holds the key of the cluster's authority, so it could make certificates in \
             anybody's name."
                .into(),
        );
    }
    lines
}

fn of_secrets(removal: &Removal) -> Vec<String> {
    let Some(epoch) = removal.epoch else {
        return vec![
            "Nothing is told here of secrets: if there are any, rotate the keyring, and change \
             those that it could read."
                .into(),
        ];
    };
    let Some(held) = removal.newest_held else {
        return vec!["It never held a key of the keyring, so it could read no secret.".into()];
    };
    let mut lines = vec![format!(
        "It could read {} (epoch {held} and before):",
        count(removal.secrets.len() as u64, "secret")
    )];
    lines.extend(removal.secrets.iter().map(|secret| {
        let now = match secret.changed_since {
            true => "changed since",
            false => "its newest value: change it where it is used",
        };
        let versions = count(secret.revisions.len() as u64, "version");
        format!("  {}  {versions}, {now}", secret.key)
    }));
    if !removal.destroyed.is_empty() {
        lines.push("Destroyed by now, but its folder may still open them:".into());
        lines.extend(removal.destroyed.iter().map(|secret| {
            let versions = count(secret.revisions.len() as u64, "version");
            format!("  {}  {versions}", secret.key)
        }));
    }
    lines.push(match epoch > held {
        true => format!(
            "Epoch {epoch} was begun without it; {} of {} still to be wrapped anew{}.",
            removal.to_rewrap,
            count(removal.versions, "version"),
            match removal.to_rewrap {
                0 => "",
                _ => " (`kvctl keyring rotate --wait` follows it)",
            }
        ),
        false => "A new epoch without it is still to begin: run the same command again.".into(),
    });
    lines
}

pub(super) fn removal_json(removal: &Removal) -> Json {
    let secrets = removal.secrets.iter().map(|secret| {
        let mut fields = key_fields(&secret.key);
        fields.insert("revisions".to_owned(), json!(secret.revisions));
        fields.insert("changed_since".to_owned(), json!(secret.changed_since));
        Json::Object(fields)
    });
    let destroyed = removal.destroyed.iter().map(|secret| {
        let mut fields = key_fields(&secret.key);
        fields.insert("revisions".to_owned(), json!(secret.revisions));
        Json::Object(fields)
    });
    json!({
        "id": removal.member.id.0,
        "member": member_json(&removal.member),
        "removed_at": removal.at.map(time::rfc3339),
        "revision": removal.revision,
        "heard_at": removal.heard.map(time::rfc3339),
        "held_authority": removal.held_authority,
        "newest_held": removal.newest_held,
        "epoch": removal.epoch,
        "secrets": secrets.collect::<Vec<_>>(),
        "destroyed": destroyed.collect::<Vec<_>>(),
        "versions": removal.versions,
        "to_rewrap": removal.to_rewrap,
    })
}

#[cfg(test)]
mod tests {
    use holdfast_client::{DestroyedSecret, NodeId, ReadableSecret, Role, Timestamp};

    use super::*;

    fn removal() -> Removal {
        let member = Member {
            id: NodeId(3),
            name: "n3".to_owned(),
            address: "10.0.0.3:7101".to_owned(),
            role: Role::Voter,
            joined_at: Timestamp::default(),
        };
        let at = Timestamp::from_millis(1_700_000_000_000);
        Removal {
            revision: 9,
            heard: Some(at),
            held_authority: true,
            ..Removal::new(member, Some(at))
        }
    }

    #[test]
    fn the_report_says_when_it_was_heard_and_what_it_holds() {
        let said = lines(&removal()).join("\n").to_lowercase();
        for part in [
            "n3 (id 3) is removed since 2023-11-14 22:13:20 utc",
            "heard last at 2023-11-14",
            "nothing is told here of secrets",
            "the key of the cluster's authority",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }

    #[test]
    fn a_member_that_nobody_heard_is_told_as_such() {
        let said = lines(&Removal {
            heard: None,
            ..removal()
        });
        assert!(said.join("\n").contains("heard last is not known"));
    }

    #[test]
    fn the_report_names_secrets_and_what_is_left_to_do() {
        let secret = |key: &str, changed_since| {
            let key = holdfast_client::Key::new(key.to_owned()).unwrap();
            ReadableSecret::new(key, vec![8, 5], changed_since)
        };
        let mut report = Removal {
            newest_held: Some(2),
            epoch: Some(3),
            secrets: vec![secret("db/password", false), secret("api/token", true)],
            destroyed: vec![DestroyedSecret::new(
                holdfast_client::Key::new("old/pin").unwrap(),
                vec![4],
            )],
            versions: 40,
            to_rewrap: 7,
            ..removal()
        };
        let said = lines(&report).join("\n");
        for part in [
            "2 secrets (epoch 2 and before)",
            "db/password  2 versions, its newest value",
            "api/token  2 versions, changed since",
            "Destroyed by now, but its folder may still open them:\n  old/pin  1 version",
            "7 of 40 versions still to be wrapped anew",
            "keyring rotate --wait",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        let json = removal_json(&report);
        assert_eq!(json["id"], 3);
        assert_eq!(json["secrets"][0]["key"], "db/password");
        report.epoch = Some(2);
        assert!(lines(&report).join("\n").contains("still to begin"));
    }
}
