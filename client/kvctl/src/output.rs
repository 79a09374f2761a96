//! Results: tables for people, JSON for programs, raw for pipes.
//!
//! `anstream` takes colours out where standard output is no terminal.

use std::io::{IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};

use crate::{arguments::Format, failure::Failure};

/// Where a result goes, and in which form.
pub(crate) struct Output {
    pub(crate) format: Format,
    quiet: bool,
    terminal: bool,
}

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
pub(crate) const FAINT: Style = Style::new().dimmed();
pub(crate) const STRONG: Style = Style::new().bold();

impl Output {
    pub(crate) fn new(format: Format, quiet: bool) -> Self {
        Self {
            format,
            quiet,
            terminal: std::io::stdout().is_terminal(),
        }
    }

    /// Whether a person looks on.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// One line of result.
    pub(crate) fn line(&self, line: impl std::fmt::Display) -> Result<(), Failure> {
        Ok(writeln!(anstream::stdout(), "{line}")?)
    }

    /// Bytes, as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// A JSON document.
    pub(crate) fn json(&self, json: &serde_json::Value) -> Result<(), Failure> {
        self.line(format_args!("{json:#}"))
    }

    /// A JSON document on one line.
    pub(crate) fn json_line(&self, json: &serde_json::Value) -> Result<(), Failure> {
        self.line(json)
    }

    /// Rows: under headings, or with tabs between and no headings.
    pub(crate) fn rows<const N: usize>(
        &self,
        headings: [&str; N],
        rows: Vec<[String; N]>,
    ) -> Result<(), Failure> {
        if self.format == Format::Raw {
            return rows.iter().try_for_each(|row| self.line(row.join("\t")));
        }
        self.line(table(headings, rows, self.terminal))
    }

    /// A remark for people, on standard error: beside the result, never part of it.
    pub(crate) fn remark(&self, remark: impl std::fmt::Display) {
        if !self.quiet && self.format == Format::Table {
            anstream::eprintln!("{FAINT}{remark}{FAINT:#}");
        }
    }

    /// A warning for people, on standard error.
    pub(crate) fn warn(&self, warning: impl std::fmt::Display) {
        anstream::eprintln!("{WARNING}warning{WARNING:#}: {warning}");
    }
}

fn table<const N: usize>(headings: [&str; N], rows: Vec<[String; N]>, fit: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if fit {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(headings);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    let mut lines = text.lines().map(str::trim_end);
    let heading = lines.next().unwrap_or_default();
    let mut out = format!("{STRONG}{heading}{STRONG:#}");
    for line in lines {
        out.push('\n');
        out.push_str(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_headings_and_no_trailing_blanks() {
        let rows = vec![
            ["a/long/key".to_owned(), "1".to_owned()],
            ["b".to_owned(), "2".to_owned()],
        ];
        let text = anstream::adapter::strip_str(&table(["KEY", "VALUE"], rows, false)).to_string();
        assert_eq!(text, "KEY         VALUE\na/long/key  1\nb           2");
    }
}
