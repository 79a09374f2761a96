//! What the story comes to, in numbers that were counted.

use std::time::Instant;

use anstyle::{AnsiColor, Style};

use super::{check::Hashed, service::Record};

/// The end of the story.
pub(super) struct Summary {
    pub(super) record: Record,
    pub(super) killed_at: Instant,
    pub(super) old: String,
    pub(super) new: String,
    /// Acknowledged writes that some node does not have.
    pub(super) lost: Vec<String>,
    pub(super) hashes: Vec<Hashed>,
    pub(super) nodes: usize,
}

/// One line: what was promised, what came of it, and whether it held.
struct Line {
    what: &'static str,
    outcome: String,
    held: bool,
}

impl Summary {
    /// Whether nothing was lost and nobody differs.
    pub(super) fn every_promise_held(&self) -> bool {
        self.lines().iter().all(|line| line.held)
    }

    /// Prints it.
    pub(super) fn print(&self) {
        let bold = Style::new().bold();
        anstream::println!("\n{bold}What the service noticed{bold:#}\n");
        for line in self.lines() {
            let color = if line.held {
                AnsiColor::Green
            } else {
                AnsiColor::Red
            };
            let style = Style::new().fg_color(Some(color.into())).bold();
            anstream::println!("  {:<42}{style}{}{style:#}", line.what, line.outcome);
        }
        for error in self.errors() {
            anstream::println!("    {error}");
        }
        if self.every_promise_held() {
            anstream::println!(
                "\n  Every promise held. `kvd dev` gives you such a cluster to play with.\n"
            );
        } else {
            anstream::println!("\n  A promise was broken. That is a bug: please report it.\n");
        }
    }

    fn lines(&self) -> Vec<Line> {
        let record = &self.record;
        let (writes, gap) = (record.writes.len(), record.longest_gap());
        let went_on = record
            .writes
            .last()
            .is_some_and(|last| last.at > self.killed_at);
        let same = self.hashes.len() == self.nodes
            && self
                .hashes
                .iter()
                .all(|hashed| hashed.hash == self.hashes[0].hash);
        let (index, hash) = self.hashes.first().map_or((0, String::new()), |first| {
            (first.applied, hex::encode(&first.hash))
        });
        let short: String = hash.chars().take(12).collect();
        vec![
            Line {
                what: "reads failed",
                outcome: format!("{} of {}", record.reads_failed.len(), record.reads),
                held: record.reads_failed.is_empty() && record.reads > 0,
            },
            Line {
                what: "writes failed",
                outcome: format!(
                    "{} of {}",
                    record.writes_failed.len(),
                    writes + record.writes_failed.len()
                ),
                held: record.writes_failed.is_empty(),
            },
            Line {
                what: "longest gap between acknowledged writes",
                outcome: format!("{} ms", gap.as_millis()),
                held: went_on,
            },
            Line {
                what: "new leader",
                outcome: format!("{}, after {}", self.new, self.old),
                held: self.new != self.old,
            },
            Line {
                what: "acknowledged writes lost",
                outcome: format!(
                    "{} of {writes}, looked up on each of {} nodes",
                    self.lost.len(),
                    self.nodes
                ),
                held: self.lost.is_empty() && writes > 0,
            },
            Line {
                what: "the killed node",
                outcome: match same {
                    true => format!(
                        "back; all {} have the state hash {short}… at {index}",
                        self.nodes
                    ),
                    false => format!("differs: {}", self.hashes_in_words()),
                },
                held: same,
            },
        ]
    }

    fn hashes_in_words(&self) -> String {
        let words = self.hashes.iter().map(|hashed| {
            let hash: String = hex::encode(&hashed.hash).chars().take(12).collect();
            format!("{} has {hash}… at {}", hashed.name, hashed.applied)
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// A few of the errors, if there are any.
    fn errors(&self) -> impl Iterator<Item = &String> {
        let record = &self.record;
        let all = [&record.reads_failed, &record.writes_failed, &self.lost];
        all.into_iter().flat_map(|errors| errors.iter().take(SHOWN))
    }
}

const SHOWN: usize = 3;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::demo::service::Acknowledged;

    fn good() -> Summary {
        let begun = Instant::now();
        let write = |number: i64, ms: u64| Acknowledged {
            key: format!("k{number}"),
            number,
            revision: number.unsigned_abs(),
            at: begun + Duration::from_millis(ms),
        };
        let hashed = |name: &str| Hashed {
            name: name.to_owned(),
            applied: 9,
            hash: vec![7; 32],
        };
        Summary {
            record: Record {
                writes: vec![write(1, 0), write(2, 10), write(3, 400), write(4, 410)],
                reads: 100,
                ..Record::default()
            },
            killed_at: begun + Duration::from_millis(20),
            old: "n1".to_owned(),
            new: "n2".to_owned(),
            lost: Vec::new(),
            hashes: vec![hashed("n1"), hashed("n2"), hashed("n3")],
            nodes: 3,
        }
    }

    #[test]
    fn all_is_well_when_nothing_was_lost() {
        let summary = good();
        assert!(summary.every_promise_held());
        assert_eq!(summary.record.longest_gap(), Duration::from_millis(390));
    }

    #[test]
    fn each_broken_promise_breaks_the_whole() {
        let breaks: [fn(&mut Summary); 7] = [
            |summary| summary.record.reads_failed.push("no".to_owned()),
            |summary| summary.record.writes_failed.push("no".to_owned()),
            |summary| summary.lost.push("n1: k3".to_owned()),
            |summary| summary.new = "n1".to_owned(),
            |summary| summary.hashes[1].hash = vec![8; 32],
            |summary| drop(summary.hashes.pop()),
            |summary| summary.killed_at += Duration::from_secs(1),
        ];
        for (index, break_it) in breaks.into_iter().enumerate() {
            let mut summary = good();
            break_it(&mut summary);
            assert!(
                !summary.every_promise_held(),
                "broken promise {index} went unnoticed"
            );
        }
    }
}
