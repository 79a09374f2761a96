//! Both sides' figures and their ratios: printed as tables, and written as JSON.

use std::path::Path;

use serde::Serialize;

use crate::{
    pair::Side,
    samples::{Samples, median},
};

/// What a ratio must reach.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// Only to be shown.
    None,
}

impl Target {
    fn is_met(self, ratio: f64) -> Option<bool> {
        match self {
            Self::AtMost(most) => Some(ratio <= most),
            Self::AtLeast(least) => Some(ratio >= least),
            Self::None => None,
        }
    }
}

/// One line of a table.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) subject: &'static str,
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) etcd: f64,
    pub(crate) holdfast: f64,
    /// Of Holdfast to etcd: the median over the rounds.
    pub(crate) ratio: f64,
    pub(crate) target: Target,
    pub(crate) met: Option<bool>,
    rounds: Samples,
}

/// What the machine itself takes, in microseconds.
#[derive(Serialize)]
struct Floor {
    name: &'static str,
    p50: f64,
    p99: f64,
}

/// All figures of a run.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) machine: String,
    /// The two that are compared; a ratio is of the second to the first.
    sides: [&'static str; 2],
    /// Whether ratios have targets.
    #[serde(skip)]
    judges: bool,
    floor: Vec<Floor>,
    rows: Vec<Row>,
}

impl Report {
    /// An empty one; prints what machine this is.
    pub(crate) fn new(machine: String, sides: [&'static str; 2], judges: bool) -> Self {
        println!("{machine}");
        Self {
            machine,
            sides,
            judges,
            floor: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Begins the table of the machine's own figures.
    pub(crate) fn floor_title(&self) {
        let title = "The floor of this machine";
        println!("\n{title:<54} {:>10} {:>10}", "p50", "p99");
    }

    /// Adds and prints what something takes on this machine, in microseconds.
    pub(crate) fn floor(&mut self, name: &'static str, mut micros: Vec<f64>) {
        micros.sort_unstable_by(f64::total_cmp);
        let p99 = micros[(micros.len() - 1) * 99 / 100];
        let p50 = median(micros);
        println!("  {name:<52} {:>10} {:>10} µs", short(p50), short(p99));
        self.floor.push(Floor { name, p50, p99 });
    }

    /// Begins a table.
    pub(crate) fn title(&self, title: &str) {
        let [first, second] = self.sides;
        println!(
            "\n{title:<54} {first:>10} {second:>10}       {:>6}",
            "ratio"
        );
    }

    /// Adds and prints one line.
    pub(crate) fn add(
        &mut self,
        subject: &'static str,
        name: impl Into<String>,
        unit: &'static str,
        rounds: Samples,
        target: Target,
    ) {
        let (etcd, holdfast) = (rounds.median(Side::Etcd), rounds.median(Side::Holdfast));
        let ratio = rounds.ratio();
        let target = if self.judges { target } else { Target::None };
        let met = target.is_met(ratio);
        let wanted = match target {
            Target::AtMost(most) => format!("<= {}", short(most)),
            Target::AtLeast(least) => format!(">= {}", short(least)),
            Target::None => String::new(),
        };
        let verdict = match met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let name = name.into();
        let line = format!(
            "  {name:<52} {:>10} {:>10} {unit:<5} {ratio:>6.2} {wanted:>8}  {verdict}",
            short(etcd),
            short(holdfast),
        );
        println!("{}", line.trim_end());
        self.rows.push(Row {
            subject,
            name,
            unit,
            etcd,
            holdfast,
            ratio,
            target,
            met,
            rounds,
        });
    }

    /// The line of a subject with this name.
    pub(crate) fn row(&self, subject: &str, name: &str) -> Option<&Row> {
        let is_it = |row: &&Row| row.subject == subject && row.name == name;
        self.rows.iter().find(is_it)
    }

    /// Writes everything as JSON.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        Ok(std::fs::write(path, serde_json::to_vec_pretty(self)?)?)
    }

    /// How many targets were missed.
    pub(crate) fn missed(&self) -> usize {
        let missed = |row: &&Row| row.met == Some(false);
        self.rows.iter().filter(missed).count()
    }
}

/// Four digits are all that a measurement is worth.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
