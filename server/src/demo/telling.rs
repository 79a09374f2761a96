//! How the story is told: a spinner and ticks on a terminal, plain lines elsewhere.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};

/// One step at a time.
pub(super) struct Telling {
    spinner: Option<ProgressBar>,
    begun: Instant,
}

impl Telling {
    /// The first words.
    pub(super) fn begin() -> Self {
        let bold = Style::new().bold();
        anstream::println!(
            "\n{bold}A service keeps working while its cluster loses the leader.{bold:#}\n"
        );
        Self {
            spinner: None,
            begun: Instant::now(),
        }
    }

    /// What happens now.
    pub(super) fn doing(&mut self, what: &str) {
        self.begun = Instant::now();
        if std::io::stdout().is_terminal() {
            let style = ProgressStyle::with_template("  {spinner:.cyan} {msg} …");
            let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
            if let Ok(style) = style {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(TICK);
            self.spinner = Some(spinner);
        }
    }

    /// It is done.
    pub(super) fn done(&mut self, what: &str) {
        self.line("✔", AnsiColor::Green, what);
    }

    /// It is done, and it hurt.
    pub(super) fn struck(&mut self, what: &str) {
        self.line("✘", AnsiColor::Red, what);
    }

    fn line(&mut self, sign: &str, color: AnsiColor, what: &str) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
        let (color, dim) = (
            Style::new().fg_color(Some(color.into())),
            Style::new().dimmed(),
        );
        let seconds = self.begun.elapsed().as_secs_f64();
        anstream::println!("  {color}{sign}{color:#} {what} {dim}({seconds:.1} s){dim:#}");
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

const TICK: Duration = Duration::from_millis(80);
