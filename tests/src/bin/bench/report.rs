//! Figures: printed as tables with their targets beside them, and written as JSON.

use std::{path::Path, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

/// What a figure must reach.
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
    fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtMost(most) => Some(value <= most),
            Self::AtLeast(least) => Some(value >= least),
            Self::None => None,
        }
    }
}

#[derive(Serialize)]
struct Figure {
    bench: &'static str,
    name: String,
    value: f64,
    unit: &'static str,
    target: Target,
    met: Option<bool>,
}

/// All figures of a run.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: String,
    figures: Vec<Figure>,
}

impl Report {
    /// An empty one; prints what machine this is.
    pub(crate) fn new(machine: String) -> Self {
        println!("{machine}");
        Self {
            machine,
            figures: Vec::new(),
        }
    }

    /// Begins a table.
    pub(crate) fn title(&self, title: &str) {
        println!("\n{title}");
    }

    /// Adds and prints one figure.
    pub(crate) fn add(
        &mut self,
        bench: &'static str,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        target: Target,
    ) {
        let name = name.into();
        let met = target.is_met(value);
        let (wanted, verdict) = match target {
            Target::AtMost(most) => (format!("<= {}", short(most)), met),
            Target::AtLeast(least) => (format!(">= {}", short(least)), met),
            Target::None => (String::new(), met),
        };
        let verdict = match verdict {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        println!(
            "  {name:<52} {:>12} {unit:<5} {wanted:>12}  {verdict}",
            short(value)
        );
        self.figures.push(Figure {
            bench,
            name,
            value,
            unit,
            target,
            met,
        });
    }

    /// Adds the median and the worst of some durations, in ms.
    pub(crate) fn gaps(
        &mut self,
        bench: &'static str,
        gaps: &mut [Duration],
        median: f64,
        worst: f64,
    ) {
        gaps.sort_unstable();
        let ms = |gap: Duration| gap.as_secs_f64() * 1e3;
        let Some(longest) = gaps.last() else { return };
        let of = gaps.len();
        let middle = ms(gaps[of / 2]);
        self.add(
            bench,
            format!("median of {of}"),
            middle,
            "ms",
            Target::AtMost(median),
        );
        self.add(
            bench,
            format!("worst of {of}"),
            ms(*longest),
            "ms",
            Target::AtMost(worst),
        );
    }

    /// Writes everything as JSON.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        Ok(std::fs::write(path, serde_json::to_vec_pretty(self)?)?)
    }

    /// How many targets were missed.
    pub(crate) fn missed(&self) -> usize {
        self.figures
            .iter()
            .filter(|figure| figure.met == Some(false))
            .count()
    }
}

/// Latencies from a microsecond to a minute, three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order")
}

/// A quantile in ms.
pub(crate) fn quantile_ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

/// Megabytes of bytes.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Four digits are all that a measurement is worth.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
