//! `kvagent check`: what can be said without a server.

use std::process::ExitCode;

use crate::{arguments::Check, failure::Failure, settings::Settings};

pub(crate) fn run(check: &Check) -> Result<ExitCode, Failure> {
    let settings = Settings::load(&check.config)?;
    anstream::println!(
        "{} is sound: {} sets of files",
        check.config.display(),
        settings.sets.len()
    );
    Ok(ExitCode::SUCCESS)
}
