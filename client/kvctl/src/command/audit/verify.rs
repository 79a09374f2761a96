//! `audit verify`: whether the members' logs are whole, and are those that the cluster anchored.

use std::process::ExitCode;

use holdfast_client::AuditReport;
use serde_json::{Value as Json, json};

use crate::{
    failure::Failure,
    member_name::resolve,
    output::{BAD, GOOD, STRONG, WARNING},
    session::Session,
};

/// Check that the audit logs are whole and unchanged
///
/// The node that answers holds each member's files against the anchors that the cluster agreed on.
/// Exits with 1 if anything is wrong or could not be looked at.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Only the log of this member: name or id
    #[arg(long, value_name = "MEMBER")]
    node: Option<String>,
}

impl Verify {
    pub(crate) async fn run(self, session: &Session) -> Result<ExitCode, Failure> {
        let client = session.connect().await?;
        let member = match &self.node {
            Some(node) => Some(resolve(&client, node).await?),
            None => None,
        };
        let reports = client.audit().verify(member).await?;
        let whole = reports.iter().all(AuditReport::is_whole);
        if session.is_json() {
            session.output.json(&json!({
                "whole": whole,
                "members": reports.iter().map(report_json).collect::<Vec<_>>(),
            }))?;
        } else {
            for report in &reports {
                for line in lines(report) {
                    session.output.line(line)?;
                }
            }
        }
        Ok(match whole {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }
}

fn lines(report: &AuditReport) -> Vec<String> {
    let name = format!("{STRONG}{}{STRONG:#}", report.name);
    if !report.unchecked.is_empty() {
        let why = &report.unchecked;
        return vec![format!("{name}  {WARNING}not checked{WARNING:#}: {why}")];
    }
    let verdict = match report.is_whole() {
        true => format!("{GOOD}whole{GOOD:#}"),
        false => format!("{BAD}damaged{BAD:#}"),
    };
    let what = match report.records {
        0 => "nothing recorded".to_owned(),
        records => format!(
            "{records} records ({} to {}) in {} files, {} anchors match, anchored up to {}",
            report.first, report.last, report.segments, report.anchors, report.anchored
        ),
    };
    let mut lines = vec![format!("{name}  {verdict}  {what}")];
    lines.extend(report.damages.iter().map(|damage| {
        let place = match damage.segment.as_str() {
            "" => format!("record {}", damage.sequence),
            segment => format!("record {}, {segment}", damage.sequence),
        };
        format!(
            "  {BAD}{}{BAD:#} at {place}: {}",
            damage.kind, damage.message
        )
    }));
    lines
}

fn report_json(report: &AuditReport) -> Json {
    let some = |number: u64| (number != 0).then_some(number);
    let head: String = report
        .head
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let damages = report.damages.iter().map(|damage| {
        json!({
            "kind": damage.kind,
            "sequence": damage.sequence,
            "segment": damage.segment,
            "message": damage.message,
        })
    });
    json!({
        "member": report.member.0,
        "name": report.name,
        "first": some(report.first),
        "last": some(report.last),
        "head": head,
        "records": report.records,
        "segments": report.segments,
        "anchors": report.anchors,
        "anchored": some(report.anchored),
        "damages": damages.collect::<Vec<_>>(),
        "unchecked": report.unchecked,
    })
}
