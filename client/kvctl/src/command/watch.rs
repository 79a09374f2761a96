//! `watch`: changes as they happen.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use holdfast_client::{EventKind, KeyRange, Revision, WatchEvent, WatchItem, WatchOptions};
use serde_json::{Value as Json, json};

use super::{count, parse_revision};
use crate::{
    arguments::Format,
    duration,
    failure::Failure,
    output::{BAD, FAINT, GOOD, Output, STRONG},
    record,
    session::Session,
    terminate::Signals,
    time, value,
};

/// Show changes under a prefix as they happen, until ctrl-c
///
/// Goes on where it was when servers come and go: nothing is missed and nothing shown twice.
#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// Only keys that begin so [default: all]
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    /// Begin with this revision instead of now
    #[arg(long, value_name = "REVISION", value_parser = parse_revision)]
    from: Option<Revision>,

    /// End after so many changes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

impl Watch {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let options = WatchOptions {
            from: self.from,
            ..WatchOptions::default()
        };
        let mut watch = client.watch(KeyRange::prefix(self.prefix.clone()), options);
        let mut view = View::new(&session.output, &self.prefix);
        let mut signals = Signals::listen()?;
        let mut redraw = tokio::time::interval(REDRAW);
        view.draw();
        while self.count.is_none_or(|limit| view.changes < limit) {
            tokio::select! {
                item = watch.next() => match item {
                    Ok(item) => {
                        // An agent tells of itself while the servers are silent.
                        if !watch.is_offline() {
                            view.news = Instant::now();
                        }
                        self.take_in(&mut view, item)?;
                    }
                    Err(error) => {
                        view.clear();
                        return Err(error.into());
                    }
                },
                _ = redraw.tick() => {}
                () = signals.next() => break,
            }
            view.draw();
        }
        view.clear();
        Ok(())
    }

    fn take_in(&self, view: &mut View<'_>, item: WatchItem) -> Result<(), Failure> {
        match item {
            WatchItem::Events { revision, events } => {
                view.revision = revision;
                let left = self.count.map_or(u64::MAX, |limit| limit - view.changes);
                let left = usize::try_from(left).unwrap_or(usize::MAX);
                for event in events.iter().take(left) {
                    view.changes += 1;
                    view.show(event)?;
                }
                Ok(())
            }
            WatchItem::Progress { revision } => {
                view.revision = revision;
                Ok(())
            }
            WatchItem::Reset { revision, entries } => {
                view.revision = revision;
                let json = || {
                    json!({
                        "kind": "reset",
                        "revision": revision,
                        "entries": entries.iter().map(record::entry_json).collect::<Vec<_>>(),
                    })
                };
                view.clear();
                match view.output.format {
                    Format::Json => view.output.json_line(&json()),
                    Format::Table | Format::Raw => {
                        let keys = count(entries.len() as u64, "key");
                        view.output.warn(format_args!(
                            "changes before revision {revision} were compacted; the range has {keys} \
                             now, see `kvctl list {}`",
                            self.prefix
                        ));
                        Ok(())
                    }
                }
            }
            _ => Ok(()),
        }
    }
}

/// Lines of changes, and on a terminal a last line that lives.
struct View<'a> {
    output: &'a Output,
    prefix: &'a str,
    changes: u64,
    revision: u64,
    /// When a server was last heard of.
    news: Instant,
    lives: bool,
}

impl<'a> View<'a> {
    fn new(output: &'a Output, prefix: &'a str) -> Self {
        Self {
            output,
            prefix,
            changes: 0,
            revision: 0,
            news: Instant::now(),
            lives: output.is_terminal() && output.format == Format::Table,
        }
    }

    fn show(&self, event: &WatchEvent) -> Result<(), Failure> {
        self.clear();
        match self.output.format {
            Format::Json => self.output.json_line(&event_json(event)),
            Format::Raw => self.output.line(raw_line(event)),
            Format::Table => self.output.line(table_line(event)),
        }
    }

    /// Draws the last line anew.
    fn draw(&self) {
        if !self.lives {
            return;
        }
        self.clear();
        let silence = self.news.elapsed();
        let news = match silence >= SILENCE {
            true => format!(
                " · {BAD}no server heard for {}{BAD:#}",
                duration::show(silence)
            ),
            false => String::new(),
        };
        let prefix = match self.prefix {
            "" => "every key",
            prefix => prefix,
        };
        anstream::print!(
            "{FAINT}watching {prefix} · revision {} · {} · ctrl-c ends{FAINT:#}{news}",
            self.revision,
            count(self.changes, "change"),
        );
        // A line that did not reach the terminal is drawn again soon.
        let _ = anstream::stdout().flush();
    }

    fn clear(&self) {
        if self.lives {
            anstream::print!("\r\x1b[2K");
        }
    }
}

fn event_json(event: &WatchEvent) -> Json {
    let kind = match event.kind {
        EventKind::Put => "put",
        EventKind::Delete => "delete",
    };
    let mut json = record::entry_json(&event.entry);
    json["kind"] = json!(kind);
    json
}

fn raw_line(event: &WatchEvent) -> String {
    let entry = &event.entry;
    match (&event.kind, &entry.value) {
        (EventKind::Put, Some(value)) => {
            format!(
                "put\t{}\t{}\t{}",
                entry.modified,
                entry.key,
                value::show(value)
            )
        }
        (EventKind::Put, None) => format!("put\t{}\t{}\t", entry.modified, entry.key),
        (EventKind::Delete, _) => format!("delete\t{}\t{}", entry.modified, entry.key),
    }
}

fn table_line(event: &WatchEvent) -> String {
    let entry = &event.entry;
    let change = match event.kind {
        EventKind::Put => {
            let shown = entry.value.as_ref().map(value::show).unwrap_or_default();
            format!("{GOOD}+{GOOD:#} {STRONG}{}{STRONG:#} = {shown}", entry.key)
        }
        EventKind::Delete => format!("{BAD}-{BAD:#} {STRONG}{}{STRONG:#}", entry.key),
    };
    let note = match entry.note.as_str() {
        "" => String::new(),
        note => format!(" · {note}"),
    };
    format!(
        "{change}  {FAINT}{} · {} · {}{note}{FAINT:#}",
        entry.modified,
        entry.author,
        time::short(entry.at),
    )
}

const REDRAW: Duration = Duration::from_millis(500);
/// Three times as long as a server may stay silent.
const SILENCE: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests {
    use holdfast_client::Value;

    use super::*;

    fn event(kind: EventKind) -> WatchEvent {
        let mut entry = record::sample("a/b", Value::from("x\ny"));
        if kind == EventKind::Delete {
            entry.value = None;
        }
        WatchEvent {
            kind,
            entry,
            previous: None,
        }
    }

    #[test]
    fn a_change_is_one_line_in_every_form() {
        let put = event(EventKind::Put);
        assert_eq!(raw_line(&put), "put\t7\ta/b\tx\\ny");
        assert_eq!(raw_line(&event(EventKind::Delete)), "delete\t7\ta/b");
        let plain = anstream::adapter::strip_str(&table_line(&put)).to_string();
        assert_eq!(
            plain,
            "+ a/b = x\\ny  7 · client/admin · 2023-11-14 22:13:20 · why"
        );
        let json = event_json(&put);
        assert_eq!(
            (&json["kind"], &json["key"]),
            (&json!("put"), &json!("a/b"))
        );
        assert!(event_json(&event(EventKind::Delete))["value"].is_null());
    }
}
