//! The chart for the README: some rows of the report as pairs of bars, in one SVG file.
//!
//! Each pair has a scale of its own, as the units differ; the longer bar fills the space. The card
//! brings its own background, so it is readable wherever it is shown, and is dark where the reader
//! wants it dark.

use std::fmt::Write as _;

use anyhow::Context as _;

use crate::report::{Report, Row, short};

/// The chart of a report that has everything.
pub(crate) fn draw(report: &Report) -> anyhow::Result<String> {
    let mut body = String::new();
    let mut y = TOP;
    for (title, pairs) in SECTIONS {
        y += 34.0;
        text(&mut body, LEFT, y, "section", title);
        y += 14.0;
        for (label, subject, name) in pairs {
            let row = report
                .row(subject, name)
                .with_context(|| format!("the chart shows {subject}, {name}: measure all"))?;
            pair(&mut body, y, label, row);
            y += STEP;
        }
    }
    let height = y + 40.0;
    text(&mut body, LEFT, height - 20.0, "small", &report.machine);
    let titles = TITLES;
    Ok(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title description">
{titles}
<style>{STYLE}</style>
<rect class="card" x="0.5" y="0.5" width="{}" height="{}" rx="10"/>
<text x="{LEFT}" y="42" class="title">Holdfast beside etcd 3.7.2</text>
<text x="{LEFT}" y="64" class="small">The same client, the same machine, in alternating rounds; three members each, mutual TLS, every write synced</text>
<rect class="holdfast" x="{LEFT}" y="79" width="12" height="12" rx="2"/><text x="{}" y="89" class="label">Holdfast</text>
<rect class="etcd" x="{}" y="79" width="12" height="12" rx="2"/><text x="{}" y="89" class="label">etcd</text>
<text x="{RIGHT}" y="89" class="small end">Holdfast / etcd</text>
{body}</svg>
"#,
        WIDTH - 1.0,
        height - 1.0,
        LEFT + 18.0,
        LEFT + 92.0,
        LEFT + 110.0,
    ))
}

/// Two bars, their figures, and the ratio.
fn pair(body: &mut String, y: f64, label: &str, row: &Row) {
    text(body, LEFT, y + 21.0, "label", label);
    let longest = row.holdfast.max(row.etcd);
    for (class, value, y) in [("holdfast", row.holdfast, y), ("etcd", row.etcd, y + 16.0)] {
        let width = (value / longest * BAR).max(2.0);
        let _ = writeln!(
            body,
            r#"<rect class="{class}" x="{BARS}" y="{y:.1}" width="{width:.1}" height="13" rx="2"/>"#
        );
        let figure = format!("{} {}", with_thousands(value), row.unit);
        text(body, BARS + width + 7.0, y + 10.5, "figure", figure.trim());
    }
    let ratio = format!("{:.2}×", row.ratio);
    text(body, RIGHT, y + 21.0, "ratio end", &ratio);
}

fn text(body: &mut String, x: f64, y: f64, class: &str, words: &str) {
    let words = words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    // Writing to a string does not fail.
    let _ = writeln!(
        body,
        r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{words}</text>"#
    );
}

/// `12345` as `12,345`.
fn with_thousands(value: f64) -> String {
    let digits = short(value);
    if value < 1_000.0 {
        return digits;
    }
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A label, and the subject and name of the row that it stands for.
type Pair = (&'static str, &'static str, &'static str);

/// What is shown.
const SECTIONS: [(&str, &[Pair]); 2] = [
    (
        "More is better",
        &[
            ("Puts, 64 clients", "puts", "64 clients: rate"),
            ("Puts, 256 clients", "puts", "256 clients: rate"),
            (
                "Transactions, 64 clients",
                "transactions",
                "64 clients: rate",
            ),
            (
                "Linearizable gets, 64 clients",
                "gets",
                "64 clients, linearizable: rate",
            ),
            (
                "Serializable gets, 64 clients",
                "gets",
                "64 clients, serializable: rate",
            ),
        ],
    ),
    (
        "Less is better",
        &[
            ("A put of one client", "puts", "1 client: p50"),
            (
                "A put until 100 watchers have it",
                "fanout",
                "each watcher: p50",
            ),
            ("Leader killed, until puts go on", "failover", "gap: median"),
            ("Memory of an idle member", "footprint", "memory, idle"),
        ],
    ),
];

const WIDTH: f64 = 880.0;
const LEFT: f64 = 28.0;
const RIGHT: f64 = WIDTH - 28.0;
const BARS: f64 = 270.0;
/// The longest bar; its figure stands behind it.
const BAR: f64 = 400.0;
const TOP: f64 = 84.0;
const STEP: f64 = 42.0;
const TITLES: &str = "<title id=\"title\">Holdfast beside etcd 3.7.2</title>\n\
    <desc id=\"description\">Bars of throughput, latency, failover and memory of both</desc>";
const STYLE: &str = "
text { font: 13px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-size: 20px; font-weight: 600 }
.section { font-weight: 600; fill: #59636e }
.small { font-size: 12px; fill: #59636e }
.figure { font-size: 11.5px; fill: #59636e }
.ratio { font-size: 17px; font-weight: 600 }
.end { text-anchor: end }
.card { fill: #ffffff; stroke: #d1d9e0 }
.holdfast { fill: #1f6feb }
.etcd { fill: #afb8c1 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .section, .small, .figure { fill: #9198a1 }
  .card { fill: #0d1117; stroke: #3d444d }
  .holdfast { fill: #4c9aff }
  .etcd { fill: #6e7681 }
}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pair::Side, report::Target, samples::Samples};

    fn report() -> Report {
        let mut report = Report::new("a <machine>".into(), ["etcd", "Holdfast"], true);
        for (_, pairs) in SECTIONS {
            for (_, subject, name) in pairs {
                let mut samples = Samples::default();
                samples.push(Side::Etcd, 1_000.0);
                samples.push(Side::Holdfast, 12_345.0);
                report.add(subject, *name, "/s", samples, Target::None);
            }
        }
        report
    }

    #[test]
    fn each_pair_has_two_bars_in_proportion_and_its_ratio() {
        let drawn = draw(&report()).unwrap();
        let pairs: usize = SECTIONS.iter().map(|(_, pairs)| pairs.len()).sum();
        assert_eq!(drawn.matches("width=\"400.0\"").count(), pairs);
        assert_eq!(drawn.matches("width=\"32.4\"").count(), pairs);
        assert_eq!(drawn.matches(">12.35×<").count(), pairs);
        assert_eq!(drawn.matches(">12,345 /s<").count(), pairs);
        assert!(drawn.contains("a &lt;machine&gt;"), "text is escaped");
    }

    #[test]
    fn a_chart_with_a_hole_is_not_drawn() {
        let missing = draw(&Report::new(String::new(), ["etcd", "Holdfast"], true)).unwrap_err();
        assert!(missing.to_string().contains("puts, 64 clients: rate"));
    }
}
