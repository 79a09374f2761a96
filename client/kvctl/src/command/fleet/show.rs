//! The list: a row for each instance and subject, and what is wrong with it in words.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use holdfast_client::{Fleet, FleetEntry, ReportState, Standing, Timestamp};
use serde_json::{Value as Json, json};

use super::super::count;
use crate::{duration, failure::Failure, session::Session, time};

pub(super) fn show(session: &Session, prefix: &str, fleet: &Fleet) -> Result<(), Failure> {
    let output = &session.output;
    if session.is_json() {
        return output.json(&fleet_json(fleet));
    }
    if fleet.entries.is_empty() {
        let whom = match prefix {
            "" => "nobody reports".to_owned(),
            prefix => format!("nobody reports on {prefix}"),
        };
        output.remark(format_args!(
            "{whom}; services that use the SDK do by themselves"
        ));
        return Ok(());
    }
    let rows = fleet.entries.iter().map(|entry| {
        [
            entry.standing().as_str().to_owned(),
            entry.report.subject.to_string(),
            entry.identity.clone(),
            instance(entry),
            revision(entry),
            format!("{} ago", duration::show(entry.heard)),
            problems(entry).join("; "),
        ]
    });
    let headings = [
        "STATE", "SUBJECT", "IDENTITY", "INSTANCE", "REVISION", "HEARD", "PROBLEM",
    ];
    output.rows(headings, rows.collect())?;
    output.remark(summary(fleet));
    Ok(())
}

/// With the node whose overrides count, where its name does not say so.
fn instance(entry: &FleetEntry) -> String {
    match &entry.report.node {
        Some(node) if !entry.instance.contains(node.as_str()) => {
            format!("{} (node {node})", entry.instance)
        }
        _ => entry.instance.clone(),
    }
}

/// What is in use, and what should be.
fn revision(entry: &FleetEntry) -> String {
    let report = &entry.report;
    let used = match report.revision {
        0 => "none".to_owned(),
        revision => revision.to_string(),
    };
    let wanted = report.offered.max(entry.newest);
    match report.revision < wanted {
        true => format!("{used}, not {wanted}"),
        false => used,
    }
}

/// What is wrong, in words; nothing where all is well.
fn problems(entry: &FleetEntry) -> Vec<String> {
    let report = &entry.report;
    let offered = match report.offered {
        0 => "what it found".to_owned(),
        offered => offered.to_string(),
    };
    let mut problems = Vec::new();
    if entry.standing() == Standing::Stale {
        problems.push(format!("silent for {}", duration::show(entry.heard)));
    }
    match report.state {
        ReportState::Rejected => problems.push(format!("refused {offered}: {}", report.detail)),
        ReportState::Pending => problems.push(format!("waits with {offered}: {}", report.detail)),
        _ if !report.detail.is_empty() => problems.push(report.detail.clone()),
        _ => {}
    }
    if entry.standing() == Standing::Behind {
        problems.push("it has not said what keeps it from the newest".to_owned());
    }
    if let Some(one) = &report.override_in_use {
        problems.push(format!(
            "EMERGENCY OVERRIDE by {} until {}: {}",
            one.signer,
            time::short(timestamp(one.expires)),
            one.reason
        ));
    }
    if report.offline {
        problems.push("it runs from its disk: no server answered since it started".to_owned());
    }
    if let Some(age) = report.age.filter(|age| *age > LONG) {
        problems.push(format!(
            "it knew nothing of the last {} when it said so",
            duration::show(age)
        ));
    }
    let failed = report.items.iter().filter(|item| item.failed);
    problems.extend(failed.map(|item| format!("{}: {}", item.name, item.result)));
    if entry.is_shared {
        problems
            .push("two processes report by this name; give each an instance of its own".to_owned());
    }
    problems
}

fn summary(fleet: &Fleet) -> String {
    let entries = &fleet.entries;
    let mut parts: Vec<String> = Vec::new();
    // They are in order of how they stand.
    for some in entries.chunk_by(|one, other| one.standing() == other.standing()) {
        parts.push(format!("{} {}", some.len(), some[0].standing().as_str()));
    }
    format!(
        "{}: {}; the newest revision is {}",
        count(entries.len() as u64, "report"),
        parts.join(", "),
        fleet.revision
    )
}

fn fleet_json(fleet: &Fleet) -> Json {
    json!({
        "revision": fleet.revision,
        "now": time::rfc3339(fleet.now),
        "reports": fleet.entries.iter().map(entry_json).collect::<Vec<_>>(),
    })
}

fn entry_json(entry: &FleetEntry) -> Json {
    let report = &entry.report;
    let some = |revision: u64| (revision != 0).then_some(revision);
    let items = report.items.iter().map(|item| {
        let digest = item.digest.iter().map(|byte| format!("{byte:02x}"));
        json!({
            "name": item.name,
            "digest": digest.collect::<String>(),
            "result": item.result,
            "failed": item.failed,
        })
    });
    let mut json = json!({
        "standing": entry.standing().as_str(),
        "prefix": String::from_utf8_lossy(report.subject.prefix()),
        "set": report.subject.set_name(),
        "identity": entry.identity,
        "instance": entry.instance,
        "node": report.node,
        "roles": report.roles,
        "state": report.state.as_str(),
        "revision": some(report.revision),
        "offered": some(report.offered),
        "newest": some(entry.newest),
        "detail": report.detail,
        "age_ms": report.age.map(|age| age.as_millis() as u64),
        "offline": report.offline,
        "heard_at": time::rfc3339(entry.heard_at),
        "heard_ms": entry.heard.as_millis() as u64,
        "since": time::rfc3339(entry.since),
        "shared": entry.is_shared,
        "program": entry.program,
        "sdk": entry.version,
        "items": items.collect::<Vec<_>>(),
        "override": report.override_in_use.as_ref().map(|one| json!({
            "signer": one.signer,
            "expires_at": time::rfc3339(timestamp(one.expires)),
            "reason": one.reason,
        })),
    });
    if let Json::Object(fields) = &mut json
        && std::str::from_utf8(report.subject.prefix()).is_err()
    {
        let exact = BASE64_STANDARD.encode(report.subject.prefix());
        fields.insert("prefix_base64".to_owned(), exact.into());
    }
    json
}

fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.map_or(0, |since| since.as_millis());
    Timestamp::from_millis(u64::try_from(since).unwrap_or(u64::MAX))
}

/// A copy is checked far more often than this.
const LONG: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use holdfast_client::{Report, ReportItem, ReportedOverride, Subject};

    use super::*;

    fn entry(report: Report, newest: u64) -> FleetEntry {
        FleetEntry {
            report,
            identity: "client/web".to_owned(),
            instance: "web1/shop".to_owned(),
            program: "shop".to_owned(),
            version: "0.1.0".to_owned(),
            heard_at: Timestamp::from_millis(1_700_000_000_000),
            heard: Duration::from_secs(2),
            since: Timestamp::from_millis(1_699_999_000_000),
            newest,
            is_shared: false,
        }
    }

    fn shop() -> Subject {
        Subject::config("shop/")
    }

    #[test]
    fn who_runs_what_it_should_has_no_problem() {
        let well = entry(Report::applied(shop(), 12), 12);
        assert_eq!(well.standing(), Standing::Applied);
        assert_eq!(
            (revision(&well), problems(&well)),
            ("12".to_owned(), vec![])
        );
    }

    #[test]
    fn who_refused_says_what_and_why_and_what_it_uses() {
        let refused = entry(Report::rejected(shop(), 12, 15, "a timeout of 0 s"), 15);
        assert_eq!(refused.standing(), Standing::Rejected);
        assert_eq!(revision(&refused), "12, not 15");
        assert_eq!(problems(&refused), ["refused 15: a timeout of 0 s"]);
        let never = entry(Report::rejected(shop(), 0, 15, "no host"), 15);
        assert_eq!(revision(&never), "none, not 15");
    }

    #[test]
    fn who_is_silent_is_stale_whatever_it_said() {
        let mut silent = entry(Report::rejected(shop(), 12, 15, "no host"), 15);
        silent.heard = Duration::from_secs(3_900);
        assert_eq!(silent.standing(), Standing::Stale);
        assert_eq!(
            problems(&silent),
            ["silent for 1h 5m", "refused 15: no host"]
        );
    }

    #[test]
    fn an_override_a_failed_hook_and_a_shared_name_are_told() {
        let mut report = Report::applied(shop(), 12);
        report.override_in_use = Some(ReportedOverride {
            signer: "client/admin".to_owned(),
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            reason: "the database moved".to_owned(),
        });
        report.items = vec![
            ReportItem {
                name: "hook".to_owned(),
                result: "exit 1".to_owned(),
                failed: true,
                ..ReportItem::default()
            },
            ReportItem::default(),
        ];
        report.age = Some(Duration::from_secs(65));
        let mut odd = entry(report, 12);
        odd.is_shared = true;
        assert_eq!(odd.standing(), Standing::Overridden);
        assert_eq!(
            problems(&odd),
            [
                "EMERGENCY OVERRIDE by client/admin until 2023-11-14 22:13:20: the database moved",
                "it knew nothing of the last 1m 5s when it said so",
                "hook: exit 1",
                "two processes report by this name; give each an instance of its own",
            ]
        );
    }

    #[test]
    fn who_uses_an_older_revision_and_does_not_say_why_is_behind() {
        let behind = entry(Report::applied(shop(), 12), 15);
        assert_eq!(behind.standing(), Standing::Behind);
        assert_eq!(revision(&behind), "12, not 15");
        assert!(problems(&behind)[0].contains("has not said"));
    }

    #[test]
    fn the_summary_counts_by_standing() {
        let entries = vec![
            entry(Report::rejected(shop(), 1, 15, ""), 15),
            entry(Report::applied(shop(), 15), 15),
            entry(Report::applied(shop(), 16), 15),
        ];
        let fleet = Fleet {
            entries,
            revision: 16,
            now: Timestamp::from_millis(0),
        };
        assert_eq!(
            summary(&fleet),
            "3 reports: 1 rejected, 2 applied; the newest revision is 16"
        );
    }
}
