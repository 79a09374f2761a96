//! `keyring status`: epochs with exact counts, who holds them, what is wrong.

use holdfast_client::{EpochStatus, HolderStatus, KeyringStatus, RecoveryKey};
use serde_json::{Value as Json, json};

use super::{
    super::count,
    progress::{self, Followed, follow},
    shares::set_name,
};
use crate::{
    arguments::Format,
    failure::Failure,
    output::{BAD, FAINT, GOOD, Output, STRONG},
    session::Session,
    time,
};

/// Show the keyring: epochs, who holds them, the recovery key, and what is wrong
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Follow the rotation that is under way, then show it
    #[arg(long)]
    watch: bool,
}

impl Status {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let status = match self.watch {
            true => match follow(session, &client, 0).await? {
                Followed::Complete(status) => {
                    session.output.remark(progress::complete(&status));
                    status
                }
                Followed::Left => client.keyring().status().await?,
            },
            false => client.keyring().status().await?,
        };
        match session.is_json() {
            true => session.output.json(&status_json(&status)),
            false => show(&session.output, &status),
        }
    }
}

fn show(output: &Output, status: &KeyringStatus) -> Result<(), Failure> {
    if output.format == Format::Raw {
        return output.rows(EPOCHS, status.epochs.iter().map(epoch_row).collect());
    }
    output.line(match (status.epoch, status.accepts_secrets()) {
        (0, _) => format!(
            "{BAD}there is no keyring yet, and no secret is accepted: make one with `kvctl keyring \
             init-recovery`{BAD:#}"
        ),
        (_, false) => format!(
            "{BAD}no secret is accepted: the recovery shares were not shown to work yet{BAD:#}"
        ),
        (_, true) => format!(
            "{GOOD}secrets are accepted{GOOD:#} · {} · {} of them under the newest epoch",
            count(status.secrets, "version"),
            status.rewrapped
        ),
    })?;
    if let Some(recovery) = &status.recovery {
        output.line(recovery_line(recovery))?;
    }
    if !status.epochs.is_empty() {
        output.line("")?;
        output.rows(EPOCHS, status.epochs.iter().map(epoch_row).collect())?;
    }
    if !status.holders.is_empty() {
        output.line("")?;
        let headings = ["MEMBER", "NAME", "OPENS", "LAST SHOWN (UTC)", "KEY KEPT BY"];
        output.rows(headings, status.holders.iter().map(holder_row).collect())?;
        for holder in protectors(&status.holders) {
            output.line(format_args!(
                "{FAINT}{}: {}{FAINT:#}",
                holder.protector, holder.protects
            ))?;
        }
    }
    let problems = problems(status);
    if !problems.is_empty() {
        output.line("")?;
    }
    problems
        .iter()
        .try_for_each(|problem| output.line(format_args!("{BAD}{problem}{BAD:#}")))
}

/// What is wrong with the keyring, then with the hold of each member.
fn problems(status: &KeyringStatus) -> Vec<String> {
    let held = status
        .holders
        .iter()
        .filter(|holder| !holder.problem.is_empty())
        .map(|holder| format!("{}: {}", holder.name, holder.problem));
    status.problems.iter().cloned().chain(held).collect()
}

/// One holder of each protector: what it is good for is said once.
fn protectors(holders: &[HolderStatus]) -> Vec<&HolderStatus> {
    let mut said: Vec<&HolderStatus> = Vec::new();
    for holder in holders {
        let is_new = !said.iter().any(|one| one.protector == holder.protector);
        if is_new && !holder.protects.is_empty() {
            said.push(holder);
        }
    }
    said
}

fn recovery_line(recovery: &RecoveryKey) -> String {
    let shown = match recovery.verified_at {
        Some(at) => format!("shown to work {} UTC", time::short(at)),
        None => format!("{BAD}not shown to work: `kvctl keyring verify-recovery`{BAD:#}"),
    };
    format!(
        "recovered by any {} of {} shares of set {STRONG}{}{STRONG:#} · {shown}",
        recovery.threshold,
        recovery.shares,
        set_name(&recovery.set)
    )
}

fn epoch_row(epoch: &EpochStatus) -> [String; 6] {
    let holders: Vec<_> = epoch.holders.iter().map(|id| id.0.to_string()).collect();
    [
        epoch.epoch.to_string(),
        epoch.secrets.to_string(),
        holders.join(" "),
        time::short(epoch.at),
        epoch.author.clone(),
        epoch.reason.clone(),
    ]
}

fn holder_row(holder: &HolderStatus) -> [String; 5] {
    let opens = match (holder.wrapped, holder.opens) {
        (false, _) => "no wrap",
        (true, false) => "not shown",
        (true, true) => "yes",
    };
    [
        holder.member.to_string(),
        holder.name.clone(),
        opens.to_owned(),
        holder.opened_at.map(time::short).unwrap_or_default(),
        holder.protector.clone(),
    ]
}

fn status_json(status: &KeyringStatus) -> Json {
    let epochs = status.epochs.iter().map(|epoch| {
        json!({
            "epoch": epoch.epoch,
            "at": time::rfc3339(epoch.at),
            "author": epoch.author,
            "reason": epoch.reason,
            "secrets": epoch.secrets,
            "holders": epoch.holders.iter().map(|id| id.0).collect::<Vec<_>>(),
        })
    });
    let recovery = status.recovery.as_ref().map(|recovery| {
        json!({
            "set": set_name(&recovery.set),
            "shares": recovery.shares,
            "threshold": recovery.threshold,
            "at": time::rfc3339(recovery.at),
            "verified_at": recovery.verified_at.map(time::rfc3339),
            "author": recovery.author,
        })
    });
    let holders = status.holders.iter().map(|holder| {
        json!({
            "member": holder.member.0,
            "name": holder.name,
            "wrapped": holder.wrapped,
            "opens": holder.opens,
            "opened_at": holder.opened_at.map(time::rfc3339),
            "protector": holder.protector,
            "protects": holder.protects,
            "problem": holder.problem,
        })
    });
    json!({
        "accepts_secrets": status.accepts_secrets(),
        "epoch": status.epoch,
        "secrets": status.secrets,
        "rewrapped": status.rewrapped,
        "epochs": epochs.collect::<Vec<_>>(),
        "recovery": recovery,
        "holders": holders.collect::<Vec<_>>(),
        "problems": status.problems,
    })
}

const EPOCHS: [&str; 6] = [
    "EPOCH",
    "VERSIONS",
    "HELD BY",
    "BEGUN (UTC)",
    "AUTHOR",
    "REASON",
];

#[cfg(test)]
mod tests {
    use holdfast_client::{NodeId, Timestamp};

    use super::*;

    fn sample() -> KeyringStatus {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let holder = |member, problem: &str| HolderStatus {
            member: NodeId(member),
            name: format!("n{member}"),
            wrapped: true,
            opens: problem.is_empty(),
            opened_at: Some(at),
            protector: "file".to_owned(),
            protects: "not from a stolen disk".to_owned(),
            problem: problem.to_owned(),
        };
        KeyringStatus {
            epoch: 2,
            epochs: vec![EpochStatus {
                epoch: 2,
                at,
                author: "client/admin".to_owned(),
                reason: "yearly".to_owned(),
                secrets: 7,
                holders: vec![NodeId(1), NodeId(2)],
            }],
            recovery: Some(RecoveryKey {
                set: b"\xab\xcd".as_slice().into(),
                public_key: Default::default(),
                shares: 5,
                threshold: 3,
                at,
                verified_at: Some(at),
                author: "client/admin".to_owned(),
            }),
            holders: vec![holder(1, ""), holder(2, "cannot open epoch 2")],
            secrets: 9,
            rewrapped: 7,
            problems: vec!["2 versions wait to be wrapped anew".to_owned()],
        }
    }

    #[test]
    fn the_status_s_json_has_the_documented_shape() {
        let json = status_json(&sample());
        let fields: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            fields.join(" "),
            "accepts_secrets epoch secrets rewrapped epochs recovery holders problems"
        );
        assert_eq!(json["recovery"]["set"], "abcd");
        assert_eq!(json["epochs"][0]["holders"], json!([1, 2]));
        assert_eq!(json["holders"][1]["problem"], "cannot open epoch 2");
        assert_eq!(json["accepts_secrets"], true);
    }

    #[test]
    fn problems_are_the_keyring_s_and_then_the_members() {
        assert_eq!(
            problems(&sample()),
            [
                "2 versions wait to be wrapped anew",
                "n2: cannot open epoch 2"
            ]
        );
        assert_eq!(protectors(&sample().holders).len(), 1);
    }

    #[test]
    fn shares_that_were_not_shown_to_work_are_said_to_be_so() {
        let mut status = sample();
        status.recovery.as_mut().unwrap().verified_at = None;
        assert_eq!(status_json(&status)["accepts_secrets"], false);
        let line = recovery_line(status.recovery.as_ref().unwrap());
        assert!(line.contains("verify-recovery"), "{line}");
    }
}
