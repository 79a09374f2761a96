//! `status`: how the cluster is, and what is wrong with it, in words.

use std::process::ExitCode;

use holdfast_client::{self as sdk, Limit, MemberStatus, ReadError, Role};
use serde_json::{Value as Json, json};

use super::{
    count,
    member::{member_json, role_name},
};
use crate::{
    failure::{Exit, Failure},
    output::{BAD, FAINT, GOOD, Output, STRONG},
    session::Session,
    time,
};

/// Show how the cluster is and what is wrong with it
///
/// Works while servers are down. Exit code 4: no server answers, or too few for a leader.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(self, session: &Session) -> Result<ExitCode, Failure> {
        let client = session.client()?;
        // Every endpoint is asked first: one that is down or distrusted is said by name.
        let (answers, silent): (Vec<_>, Vec<_>) = client
            .cluster()
            .status_each()
            .await
            .into_iter()
            .partition(|(_, answer)| answer.is_ok());
        let silent: Vec<_> = silent
            .into_iter()
            .filter_map(|(endpoint, answer)| Some((endpoint, answer.err()?)))
            .collect();
        let Some(own) = answers.into_iter().find_map(|(_, answer)| answer.ok()) else {
            return Err(nobody_answers(&silent));
        };
        // A node that answers for itself may still fail to ask its peers in time.
        let status = client.cluster().status().await.unwrap_or(own);
        let problems = problems(&status, &silent);
        if session.is_json() {
            session
                .output
                .json(&status_json(client.cluster_name(), &status, &problems))?;
        } else {
            show(&session.output, client.cluster_name(), &status, &problems)?;
        }
        Ok(match serves(&status) {
            true => ExitCode::SUCCESS,
            false => Exit::Unreachable.into(),
        })
    }
}

/// Whether the leader is there, and with it most of the voters.
fn serves(status: &sdk::Status) -> bool {
    let voters = || {
        status
            .members
            .iter()
            .filter(|status| status.member.role == Role::Voter)
    };
    let reachable = voters().filter(|voter| voter.reachable).count();
    let led = status
        .members
        .iter()
        .any(|member| member.leader && member.reachable);
    led && 2 * reachable > voters().count()
}

fn nobody_answers(silent: &[(String, ReadError)]) -> Failure {
    let distrusted = |error: &ReadError| {
        matches!(
            error,
            ReadError::Unauthorized { .. } | ReadError::Denied { .. }
        )
    };
    let each: String = silent
        .iter()
        .map(|(endpoint, error)| format!("\n  {endpoint}: {error}"))
        .collect();
    if !silent.is_empty() && silent.iter().all(|(_, error)| distrusted(error)) {
        return Failure::refused(format!("no node of this context trusts this client:{each}"));
    }
    Failure::unreachable(format!(
        "no node of this context answers; reads and writes are refused until a majority of the \
         nodes runs again:{each}"
    ))
}

/// What the answering node says is wrong, and what could be seen from here, each once.
fn problems(status: &sdk::Status, silent: &[(String, ReadError)]) -> Vec<String> {
    let mut problems = status.problems.clone();
    let mut add = |problem: String| {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    };
    if status.leader.is_none() && status.problems.is_empty() {
        add(
            "there is no leader: reads and writes wait until a majority of the voters runs"
                .to_owned(),
        );
    }
    for member in &status.members {
        let name = &member.member.name;
        if !member.problem.is_empty()
            && !status
                .problems
                .iter()
                .any(|said| said.contains(&member.problem))
        {
            add(format!("{name}: {}", member.problem));
        }
    }
    for (endpoint, error) in silent {
        let member = status
            .members
            .iter()
            .find(|member| member.member.address == *endpoint);
        // A member that its peers cannot reach either was spoken of already.
        if member.is_none_or(|member| member.reachable) {
            add(format!("{endpoint} does not answer here: {error}"));
        }
    }
    problems
}

fn show(
    output: &Output,
    cluster: &str,
    status: &sdk::Status,
    problems: &[String],
) -> Result<(), Failure> {
    let leader = status
        .members
        .iter()
        .find(|member| Some(member.member.id) == status.leader);
    let leader = match leader {
        Some(leader) if leader.reachable => format!("leader {}", leader.member.name),
        _ => "no leader".to_owned(),
    };
    output.line(format_args!(
        "{STRONG}{}{STRONG:#} · {leader} · term {} · revision {} · {} · {} UTC",
        cluster,
        status.term,
        status.revision,
        count(status.keys, "key"),
        time::short(status.cluster_time),
    ))?;
    output.line("")?;
    let headings = [
        "NODE",
        "ROLE",
        "STATE",
        "ADDRESS",
        "APPLIED",
        "LAG",
        "REVISION",
        "STATE HASH",
        "VERSION",
    ];
    output.rows(headings, status.members.iter().map(member_row).collect())?;
    output.line("")?;
    output.rows(
        ["LIMIT", "USED", "MOST"],
        status.limits.iter().map(limit_row).collect(),
    )?;
    output.line("")?;
    output.line(format_args!(
        "{FAINT}history: {} older versions, {}{} · log {} to {}, archive at {} · \
         {} · {}{FAINT:#}",
        status.past_rows,
        status.past,
        match status.compacted {
            0 => String::new(),
            compacted => format!("; compacted below {compacted}"),
        },
        status.log_first,
        status.log_last,
        status.snapshot,
        count(status.leases, "lease"),
        newest_backup(status),
    ))?;
    if problems.is_empty() {
        return output.line(format_args!("{GOOD}all is well{GOOD:#}"));
    }
    problems
        .iter()
        .try_for_each(|problem| output.line(format_args!("{BAD}problem{BAD:#}: {problem}")))
}

fn newest_backup(status: &sdk::Status) -> String {
    let made = status
        .members
        .iter()
        .filter_map(|member| Some((member.backup_at?, &member.member.name)));
    match made.max() {
        Some((at, member)) => format!("newest backup {} UTC on {member}", time::short(at)),
        None => "no backup yet".to_owned(),
    }
}

fn member_row(status: &MemberStatus) -> [String; 9] {
    let known = |number: u64| match status.reachable {
        true => number.to_string(),
        false => "-".to_owned(),
    };
    let state = match (status.reachable, status.leader) {
        (false, _) => "down",
        (true, true) => "leader",
        (true, false) => "follower",
    };
    [
        status.member.name.clone(),
        role_name(status.member.role).to_owned(),
        state.to_owned(),
        status.member.address.clone(),
        known(status.applied),
        known(status.lag),
        known(status.revision),
        hex(&status.state_hash).chars().take(HASH_DIGITS).collect(),
        status.version.clone(),
    ]
}

fn limit_row(limit: &Limit) -> [String; 3] {
    let used = match limit.used {
        0 => String::new(),
        used => amount(used, &limit.unit),
    };
    [limit.name.clone(), used, amount(limit.most, &limit.unit)]
}

/// A number and its unit; bytes in the unit that fits.
pub(super) fn amount(number: u64, unit: &str) -> String {
    if unit != "bytes" {
        let unit = unit
            .strip_suffix('s')
            .filter(|_| number == 1)
            .unwrap_or(unit);
        return format!("{number} {unit}").trim_end().to_owned();
    }
    match number {
        0..1024 => format!("{number} B"),
        1024..1_048_576 => format!("{:.1} KiB", number as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", number as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", number as f64 / 1_073_741_824.0),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn status_json(cluster: &str, status: &sdk::Status, problems: &[String]) -> Json {
    json!({
        "cluster": cluster,
        "cluster_id": status.cluster,
        "answered_by": status.node.0,
        "leader": status.leader.map(|leader| leader.0),
        "term": status.term,
        "revision": status.revision,
        "keys": status.keys,
        "leases": status.leases,
        "compacted": status.compacted,
        "state_bytes": status.state_bytes,
        "past": { "state": status.past, "rows": status.past_rows },
        "log": { "first": status.log_first, "last": status.log_last, "archive": status.snapshot },
        "cluster_time": time::rfc3339(status.cluster_time),
        "members": status.members.iter().map(member_status_json).collect::<Vec<_>>(),
        "limits": status.limits.iter().map(limit_json).collect::<Vec<_>>(),
        "problems": problems,
    })
}

fn member_status_json(status: &MemberStatus) -> Json {
    let mut json = member_json(&status.member);
    json["leader"] = json!(status.leader);
    json["reachable"] = json!(status.reachable);
    json["applied"] = json!(status.applied);
    json["lag"] = json!(status.lag);
    json["revision"] = json!(status.revision);
    json["state_hash"] = json!(hex(&status.state_hash));
    json["version"] = json!(status.version);
    json["problem"] = json!(status.problem);
    json["backup_at"] = json!(status.backup_at.map(time::rfc3339));
    json
}

fn limit_json(limit: &Limit) -> Json {
    json!({ "name": limit.name, "used": limit.used, "most": limit.most, "unit": limit.unit })
}

/// Of a hash, in the table: enough to tell two apart.
const HASH_DIGITS: usize = 12;

#[cfg(test)]
mod tests;
