//! `audit tail`: what was recorded, oldest first, and what is being recorded.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures::{StreamExt as _, stream::SelectAll};
use holdfast_client::{AuditFrom, AuditRecord, AuditTail, NodeId, ReadError, Timestamp};
use serde_json::{Value as Json, json};

use crate::{
    arguments::Format, failure::Failure, member_name::resolve, output::Output, session::Session,
    terminate::Signals, time,
};

/// Show what was recorded: by default the last 20 acts of each member
///
/// Each member records what it was asked to do; the records of all are shown together.
#[derive(Debug, clap::Args)]
pub(crate) struct Tail {
    /// Go on with what is recorded from now on, until ctrl-c
    #[arg(short, long)]
    follow: bool,

    /// Only the log of this member: name or id
    #[arg(long, value_name = "MEMBER")]
    node: Option<String>,

    /// Begin with this record of each log
    #[arg(long, value_name = "SEQUENCE", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,

    /// So many of the newest of each log
    #[arg(long, value_name = "N", conflicts_with = "from", value_parser = clap::value_parser!(u64).range(1..))]
    last: Option<u64>,
}

impl Tail {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let members = client.cluster().member_list().await?.members;
        let names: BTreeMap<NodeId, String> = members
            .into_iter()
            .map(|member| (member.id, member.name))
            .collect();
        let wanted = match &self.node {
            Some(node) => vec![resolve(&client, node).await?],
            None => names.keys().copied().collect(),
        };
        let from = match (self.from, self.last) {
            (Some(from), _) => AuditFrom::Sequence(from),
            (None, last) => AuditFrom::Last(last.unwrap_or(NEWEST)),
        };
        let audit = client.audit();
        let view = View {
            output: &session.output,
            names: &names,
        };
        if self.follow {
            let tails = wanted.iter().map(|id| audit.tail(*id, from, true));
            return view.follow(tails).await;
        }
        let mut records = Vec::new();
        for id in &wanted {
            let mut tail = audit.tail(*id, from, false);
            let mut latest = Timestamp::default();
            while let Some(some) = tail.next().await.map_err(|error| view.of(*id, error))? {
                for record in some {
                    // By time, but never against the order of a log: a clock may have been set back.
                    latest = latest.max(record.at);
                    records.push((latest, record));
                }
            }
        }
        records.sort_by_key(|(at, _)| *at);
        let records: Vec<_> = records.into_iter().map(|(_, record)| record).collect();
        view.show_all(&records)
    }
}

struct View<'a> {
    output: &'a Output,
    names: &'a BTreeMap<NodeId, String>,
}

impl View<'_> {
    async fn follow(&self, tails: impl Iterator<Item = AuditTail>) -> Result<(), Failure> {
        let mut signals = Signals::listen()?;
        let mut all: SelectAll<_> = tails
            .map(|tail| Box::pin(futures::stream::try_unfold(tail, next)))
            .collect();
        loop {
            tokio::select! {
                records = all.next() => match records {
                    Some(records) => {
                        for record in records? {
                            match self.output.format {
                                Format::Json => self.output.json_line(&record_json(&record))?,
                                _ => self.output.line(self.columns(&record).join("\t"))?,
                            }
                        }
                    }
                    None => return Ok(()),
                },
                () = signals.next() => return Ok(()),
            }
        }
    }

    fn show_all(&self, records: &[AuditRecord]) -> Result<(), Failure> {
        if self.output.format == Format::Json {
            let mut lines = records.iter().map(record_json);
            return lines.try_for_each(|line| self.output.json_line(&line));
        }
        let rows = records.iter().map(|record| self.columns(record));
        self.output.rows(HEADINGS, rows.collect())
    }

    fn columns(&self, record: &AuditRecord) -> [String; 8] {
        let name = self.names.get(&record.member);
        let short = record.act.strip_prefix(OURS).unwrap_or(&record.act);
        let mut target = String::from_utf8_lossy(&record.target).into_owned();
        if record.revision != 0 {
            target = format!("{target} @{}", record.revision);
        }
        let why = match (record.allowed, record.unrecorded) {
            (Some(false), 0) => record.rule.clone(),
            (Some(false), more) => format!("{} (and {more} more before it)", record.rule),
            _ => record.reason.clone(),
        };
        [
            name.map_or_else(|| record.member.to_string(), String::clone),
            record.sequence.to_string(),
            time::short(record.at),
            match record.identity.as_str() {
                "" => "the log itself".to_owned(),
                identity => identity.to_owned(),
            },
            short.to_owned(),
            target,
            match record.allowed {
                Some(true) => "allowed",
                Some(false) => "denied",
                None => "",
            }
            .to_owned(),
            why,
        ]
        .map(|column| one_line(&column))
    }

    fn of(&self, member: NodeId, error: ReadError) -> Failure {
        let name = self.names.get(&member).map_or("?", String::as_str);
        Failure::from(error).during(format_args!("the log of {name}"))
    }
}

async fn next(mut tail: AuditTail) -> Result<Option<(Vec<AuditRecord>, AuditTail)>, ReadError> {
    Ok(tail.next().await?.map(|records| (records, tail)))
}

fn record_json(record: &AuditRecord) -> Json {
    let mut json = json!({
        "member": record.member.0,
        "sequence": record.sequence,
        "at": time::rfc3339(record.at),
        "identity": record.identity,
        "act": record.act,
        "target": String::from_utf8_lossy(&record.target),
        "revision": (record.revision != 0).then_some(record.revision),
        "allowed": record.allowed,
        "rule": record.rule,
        "reason": record.reason,
        "request": record.request,
        "address": record.address,
        "unrecorded": record.unrecorded,
    });
    if std::str::from_utf8(&record.target).is_err() {
        json["target_base64"] = json!(BASE64.encode(&record.target));
    }
    json
}

/// Whatever somebody put into a name or a reason must not draw on the terminal.
fn one_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

const HEADINGS: [&str; 8] = [
    "NODE",
    "SEQUENCE",
    "WHEN (UTC)",
    "WHO",
    "ACT",
    "TARGET",
    "",
    "WHY",
];
/// Records of each member, if nobody says how many.
const NEWEST: u64 = 20;
/// Of the acts of our own API.
const OURS: &str = "holdfast.v1.";
