//! Reports of the fleet.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::{limits, log::v1 as wire, v1};

use crate::{
    command::{CommandError, most},
    fleet::{Report, ReportKey, Reported},
};

pub(super) fn parse_reports(
    wire: wire::FleetReports,
) -> Result<Vec<(Arc<str>, Report)>, CommandError> {
    check_count(wire.reports.len())?;
    let reports = wire.reports.into_iter().map(|reported| {
        let report = reported.report;
        let report = report.ok_or(CommandError::Missing("a report is empty"))?;
        Ok((parse_identity(reported.identity)?, report.try_into()?))
    });
    reports.collect()
}

pub(super) fn reports_to_wire(reports: Vec<(Arc<str>, Report)>) -> wire::FleetReports {
    let reports = reports.into_iter();
    let reports = reports.map(|(identity, report)| wire::FleetReported {
        identity: identity.to_string(),
        report: Some(report.to_wire()),
    });
    wire::FleetReports {
        reports: reports.collect(),
    }
}

pub(super) fn parse_keys(wire: wire::FleetForget) -> Result<Vec<ReportKey>, CommandError> {
    // As many as there can be.
    most(
        "the command",
        "reports",
        wire.reports.len(),
        limits::FLEET_REPORTS,
    )?;
    let keys = wire.reports.into_iter().map(|key| {
        Ok(ReportKey {
            identity: parse_identity(key.identity)?,
            prefix: Bytes::copy_from_slice(&key.prefix),
            set: key.set.into(),
            instance: key.instance.into(),
        })
    });
    keys.collect()
}

pub(super) fn keys_to_wire(keys: Vec<ReportKey>) -> wire::FleetForget {
    let keys = keys.into_iter().map(|key| wire::FleetKey {
        identity: key.identity.to_string(),
        prefix: key.prefix,
        set: key.set.to_string(),
        instance: key.instance.to_string(),
    });
    wire::FleetForget {
        reports: keys.collect(),
    }
}

/// A row of an archive.
pub(crate) fn parse_entry(mut wire: v1::FleetEntry) -> Result<(Arc<str>, Reported), CommandError> {
    let report = wire.report.take();
    let report = report.ok_or(CommandError::Missing("a report is empty"))?;
    let reported = Reported::from_wire(Report::try_from(report)?, &wire);
    Ok((parse_identity(wire.identity)?, reported))
}

/// Whoever has a certificate may have said it: nodes too.
fn parse_identity(identity: String) -> Result<Arc<str>, CommandError> {
    most(
        "the identity",
        "author bytes",
        identity.len(),
        limits::AUTHOR_BYTES,
    )?;
    if identity.is_empty() {
        return Err(CommandError::Missing("a report names nobody"));
    }
    Ok(identity.into())
}

fn check_count(count: usize) -> Result<(), CommandError> {
    most(
        "the command",
        "reports",
        count,
        limits::FLEET_COMMAND_REPORTS,
    )
}
