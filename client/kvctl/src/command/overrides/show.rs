//! `override show`: what a file is, and whether it would count.

use std::{path::PathBuf, process::ExitCode, time::SystemTime};

use holdfast_client::Override;
use serde_json::{Value as Json, json};

use super::{described, read, timestamp};
use crate::{
    failure::Failure,
    output::{BAD, GOOD},
    session::Session,
    time,
};

/// Show what an override says, and whether anything is wrong with it; exits with 1 if so
///
/// Needs no server. Whether its signer is an administrator is for each service to know. Names the
/// fields; their values are in the file.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The file; - is standard input
    file: PathBuf,
}

impl Show {
    pub(super) fn run(self, session: &Session) -> Result<ExitCode, Failure> {
        let context = session.own_context()?;
        let text = read(&self.file)?;
        let output = &session.output;
        let read = match Override::inspect(&context, &text, SystemTime::now()) {
            Ok(read) => read,
            Err(error) => {
                let problem = error.to_string();
                match session.is_json() {
                    true => output.json(&json!({ "problem": problem }))?,
                    false => output.line(format_args!("{BAD}does not count{BAD:#}: {problem}"))?,
                }
                return Ok(ExitCode::FAILURE);
            }
        };
        if session.is_json() {
            let mut fields = described(&read);
            fields.insert("problem".to_owned(), Json::Null);
            output.json(&Json::Object(fields))?;
            return Ok(ExitCode::SUCCESS);
        }
        let until = time::short(timestamp(read.expires()));
        let rows = [
            ("prefix", read.prefix().to_owned()),
            ("signer", read.signer().to_owned()),
            ("until", format!("{until} UTC")),
            ("reason", read.reason().to_owned()),
            ("fields", read.fields().join(", ")),
        ];
        output.line(format_args!("{GOOD}in order{GOOD:#}"))?;
        for (name, value) in rows {
            output.line(format_args!("{name:<8}{value}"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
