//! Tells the cluster what is installed on this node.

use holdfast_client::{Client, Place, Report, ReportItem, Subject, default_instance};
use tokio::{sync::watch, task::JoinHandle};

use crate::status::{HookStatus, SetStatus, Sets};

/// Tells it until this is aborted.
pub(crate) fn tell(
    client: &Client,
    place: Place,
    mut sets: watch::Receiver<Sets>,
) -> JoinHandle<()> {
    let client = client.clone();
    tokio::spawn(async move {
        let reporter = client.reporter(default_instance(place.node_name()));
        let mut told = Sets::new();
        loop {
            let now = sets.borrow_and_update().clone();
            for (name, status) in &now {
                if told.get(name) != Some(status) {
                    reporter.tell(report(name, status, &place));
                }
            }
            told = now;
            if sets.changed().await.is_err() {
                return;
            }
        }
    })
}

fn report(name: &str, status: &SetStatus, place: &Place) -> Report {
    let prefix = status.prefixes.first().map_or("", String::as_str);
    let subject = Subject::set(name, prefix);
    let mut report = match &status.problem {
        None => Report::applied(subject, status.revision),
        Some(why) => Report::rejected(subject, status.revision, status.offered, why),
    };
    report.age = status.confirmed.map(|confirmed| confirmed.elapsed());
    report.offline = status.is_offline;
    report.node = place.node_name().map(str::to_owned);
    report.roles = place.roles().to_vec();
    report.items = status
        .files
        .iter()
        .map(|file| ReportItem {
            name: file.path.clone(),
            digest: hex::decode(&file.digest).unwrap_or_default(),
            ..ReportItem::default()
        })
        .collect();
    let (result, failed) = match &status.hook {
        HookStatus::None => return report,
        HookStatus::Owed => ("not run yet".to_owned(), false),
        HookStatus::Succeeded => ("succeeded".to_owned(), false),
        HookStatus::Failed {
            attempts,
            why,
            gave_up,
        } => {
            let end = if *gave_up {
                ", and is not tried again"
            } else {
                ""
            };
            (format!("{why} (attempt {attempts}{end})"), true)
        }
    };
    // First, so that it is not cut off behind many files.
    let hook = ReportItem {
        name: "hook".to_owned(),
        result,
        failed,
        ..ReportItem::default()
    };
    report.items.insert(0, hook);
    report
}
