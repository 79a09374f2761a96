//! `put`: sets a key.

use std::{io::Read as _, path::PathBuf};

use holdfast_client::{Expected, Key, PutOptions, Reason, Revision, ValueKind, WriteError};
use serde_json::json;

use super::parse_key;
use crate::{
    failure::Failure,
    record,
    session::Session,
    value::{self, Given},
};

/// Set a key
#[derive(Debug, clap::Args)]
pub(crate) struct Put {
    /// The key
    #[arg(value_parser = parse_key)]
    key: Key,

    /// The value; - reads it from standard input. Bytes are given in base64, a list as a JSON array
    /// of strings or one item a line
    #[arg(
        allow_hyphen_values = true,
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    value: Option<String>,

    /// Read the value from a file, whole; bytes as they are
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// text, integer, float, boolean, json, bytes or list [default: text]
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<ValueKind>,

    /// Only if the key is still at this revision; 0: only if there is no such key
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,

    /// Why; kept in the history
    #[arg(long, value_name = "WHY", default_value = "")]
    note: String,

    /// Also where the key is a secret: the value will be there for all to read
    #[arg(long)]
    replace_secret: bool,
}

impl Put {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let value = value::parse(self.given()?, self.kind)?;
        let options = PutOptions {
            expected: self.if_revision.map(expected),
            note: self.note.clone(),
            replace_secret: self.replace_secret,
            ..PutOptions::default()
        };
        let client = session.connect().await?;
        let written = client.put_with(self.key.clone(), value, options).await;
        let written = written.map_err(|error| self.failure(error))?;
        if session.is_json() {
            let mut fields = record::key_fields(&self.key);
            fields.insert("revision".to_owned(), json!(written.revision.get()));
            return session.output.json(&fields.into());
        }
        session.output.remark(format_args!(
            "{} is at revision {}",
            self.key, written.revision
        ));
        Ok(())
    }

    /// A secret that is put as a plain value is one no more, and stays in the history for all to
    /// read. That is a slip of the hand.
    fn failure(&self, error: WriteError) -> Failure {
        match error {
            WriteError::Refused {
                reason: Reason::IsSecret,
                ..
            } => Failure::refused(format!(
                "{0} is a secret, and a plain value is there for all to read; nothing was written, \
                 use `kvctl secret put {0}`, or add --replace-secret",
                self.key
            )),
            error => error.into(),
        }
    }

    fn given(&self) -> Result<Given, Failure> {
        match (&self.file, &self.value) {
            (Some(path), _) => std::fs::read(path).map(Given::Bytes).map_err(|error| {
                Failure::usage(format!("{} could not be read: {error}", path.display()))
            }),
            (None, Some(word)) if word == "-" => {
                let mut bytes = Vec::new();
                std::io::stdin().read_to_end(&mut bytes).map_err(|error| {
                    Failure::usage(format!("standard input could not be read: {error}"))
                })?;
                Ok(Given::Bytes(bytes))
            }
            (None, word) => Ok(Given::Word(word.clone().unwrap_or_default())),
        }
    }
}

pub(super) fn expected(revision: u64) -> Expected {
    Revision::new(revision).map_or(Expected::Absent, Expected::At)
}
