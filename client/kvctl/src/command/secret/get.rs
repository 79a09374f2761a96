//! `secret get`: opens a secret. The servers record who did, and why.

use std::path::PathBuf;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use holdfast_client::{Key, ReadError, Reason, RevealOptions, Revealed, Revision, SecretsClient};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use zeroize::Zeroizing;

use super::super::{get::consistency, parse_key, parse_revision};
use crate::{
    arguments::Format,
    failure::Failure,
    plaintext::{self, is_printable},
    record,
    session::Session,
    terminal::Person,
    time,
};

/// Open a secret and print it, as it is
///
/// Recorded in the audit log with your name. In a pipe nothing is added; a terminal gets a newline.
#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    /// The key
    #[arg(value_parser = parse_key)]
    key: Key,

    /// The version of this revision
    #[arg(long, value_parser = parse_revision)]
    revision: Option<Revision>,

    /// Take what the asked node has, or the agent of this one, though it may be old
    #[arg(long)]
    local: bool,

    /// Why, for the audit log; asked for at a terminal where the policy wants one
    #[arg(long, value_name = "WHY", default_value = "")]
    reason: String,

    /// Write to this new file, for you alone to read, instead of standard output
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Print it to a terminal although it is not text
    #[arg(long, conflicts_with = "file")]
    binary: bool,
}

impl Get {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let revealed = self.reveal(&client.secrets()).await?;
        session.tell_age(revealed.origin, revealed.age);
        let plaintext = revealed.secret.expose();
        if let Some(path) = &self.file {
            return plaintext::write_private(path, plaintext).map_err(|error| {
                Failure::refused(format!("{} could not be written: {error}", path.display()))
            });
        }
        let output = &session.output;
        if session.is_json() {
            return plaintext::write_output(&json(&revealed)?);
        }
        if output.is_terminal() && !self.binary && !is_printable(plaintext) {
            return Err(Failure::refused(format!(
                "{} is not text, and may do anything to a terminal; it was opened and not printed, \
                 add --file FILE, > FILE or --binary",
                self.key
            )));
        }
        plaintext::write_output(plaintext)?;
        if output.is_terminal() && !plaintext.ends_with(b"\n") {
            plaintext::write_output(b"\n")?;
        }
        if output.format == Format::Table && output.is_terminal() {
            let entry = &revealed.entry;
            output.remark(format_args!(
                "revision {} · version {} · {} · {}",
                entry.modified,
                entry.version,
                entry.author,
                time::short(entry.at),
            ));
        }
        Ok(())
    }

    /// Opens it; once more with a reason where the policy wants one and somebody can be asked.
    async fn reveal(&self, secrets: &SecretsClient) -> Result<Revealed, Failure> {
        let options = |reason| RevealOptions {
            revision: self.revision,
            reason,
            consistency: consistency(self.local),
        };
        let first = options(self.reason.clone());
        let error = match secrets.reveal_with(self.key.clone(), first).await {
            Ok(revealed) => return Ok(revealed),
            Err(error) => error,
        };
        let ReadError::Refused { reason, message } = &error else {
            return Err(error.into());
        };
        match (reason, Person::present()) {
            (Reason::ReasonRequired, Some(person)) if self.reason.is_empty() => {
                let why = person.ask(&format!("{message}. Why is {} opened? ", self.key))?;
                Ok(secrets.reveal_with(self.key.clone(), options(why)).await?)
            }
            (Reason::ReasonRequired, _) => Err(Failure::refused(format!(
                "{message}; nothing was opened, add --reason WHY"
            ))),
            (Reason::KeyMissing, _) => Err(Failure::refused(format!(
                "{message}; `kvctl secret list` shows what there is"
            ))),
            _ => Err(error.into()),
        }
    }
}

/// The document, in memory that is wiped.
fn json(revealed: &Revealed) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let plaintext = revealed.secret.expose();
    // Six bytes is the most that one takes; what a growing buffer leaves behind is not wiped.
    let mut document = Zeroizing::new(Vec::with_capacity(6 * plaintext.len() + ROOM));
    serde_json::to_writer_pretty(&mut *document, &Opened(revealed))
        .map_err(|error| Failure::refused(format!("the secret makes no JSON: {error}")))?;
    document.push(b'\n');
    Ok(document)
}

/// A revealed secret as a document: the fields of an entry.
struct Opened<'a>(&'a Revealed);

impl Serialize for Opened<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(revealed) = self;
        let mut map = serializer.serialize_map(None)?;
        for (name, field) in record::key_fields(&revealed.entry.key) {
            map.serialize_entry(&name, &field)?;
        }
        match revealed.secret.text() {
            Ok(text) => {
                map.serialize_entry("type", "text")?;
                map.serialize_entry("value", text)?;
            }
            Err(_) => {
                let encoded = Zeroizing::new(BASE64_STANDARD.encode(revealed.secret.expose()));
                map.serialize_entry("type", "bytes")?;
                map.serialize_entry("value", encoded.as_str())?;
            }
        }
        for (name, field) in record::version_fields(&revealed.entry) {
            map.serialize_entry(&name, &field)?;
        }
        map.serialize_entry("store_revision", &revealed.revision)?;
        map.end()
    }
}

/// For everything but the plaintext: a key, an author, a note.
const ROOM: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use holdfast_client::{Origin, Secret, Value};

    use super::*;

    fn revealed(bytes: &[u8]) -> Revealed {
        Revealed {
            secret: Secret::from(bytes.to_vec()),
            entry: record::sample("a/b", Value::Sealed(Default::default())),
            revision: 9,
            origin: Origin::Cache,
            age: Duration::ZERO,
        }
    }

    #[test]
    fn an_opened_secret_s_json_has_the_documented_shape() {
        let document = |bytes: &[u8]| -> serde_json::Value {
            serde_json::from_slice(&json(&revealed(bytes)).unwrap()).unwrap()
        };
        assert_eq!(
            document(b"hunter2").to_string(),
            r#"{"key":"a/b","type":"text","value":"hunter2","revision":7,"created":3,"version":2,"lease":"00000000000000ff","author":"client/admin","at":"2023-11-14T22:13:20.000Z","note":"why","store_revision":9}"#
        );
        let binary = document(b"\0\xff");
        assert_eq!(
            (&binary["type"], &binary["value"]),
            (&"bytes".into(), &"AP8=".into())
        );
    }

    #[test]
    fn the_document_never_outgrows_its_buffer() {
        let worst = vec![1; 10_000];
        let document = json(&revealed(&worst)).unwrap();
        assert!(
            document.capacity() < 6 * worst.len() + ROOM + 64,
            "it was grown"
        );
    }
}
