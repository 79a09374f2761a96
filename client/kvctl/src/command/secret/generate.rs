//! `secret generate`: makes a secret by chance, here, and puts it.

use holdfast_client::{Alphabet, Key, Recipe, SecretPutOptions, limits};

use super::super::{parse_key, put::expected};
use crate::{
    failure::Failure,
    plaintext::{self, is_printable},
    session::Session,
};

/// Make a secret by chance and put it
///
/// It is made on this machine out of the system's randomness, and not printed unless asked for:
/// whoever needs it opens it.
#[derive(Debug, clap::Args)]
pub(crate) struct Generate {
    /// The key
    #[arg(value_parser = parse_key)]
    key: Key,

    /// How many characters, or bytes
    #[arg(long, value_name = "N", value_parser = parse_length, default_value = "32")]
    length: usize,

    /// Out of which: alphanumeric, digits, hex, base64url, printable or bytes
    #[arg(long, value_name = "NAME", default_value_t)]
    alphabet: Alphabet,

    /// Print it, too
    #[arg(long)]
    show: bool,

    /// Only if the key is still at this revision; 0: only if there is no such key
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,

    /// Why; kept in the history, for all to read
    #[arg(long, value_name = "WHY", default_value = "")]
    note: String,
}

impl Generate {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        if self.show && session.is_json() {
            return Err(Failure::usage(
                "--show prints the secret alone, and -o json what was written; nothing was put, use \
                 one of them",
            ));
        }
        let recipe = Recipe {
            length: self.length,
            alphabet: self.alphabet,
        };
        if recipe.bits() < GUESSABLE_BITS {
            session.output.warn(format_args!(
                "{:.0} bits of chance can be guessed by whoever may try often; {GUESSABLE_BITS} are \
                 safe from that",
                recipe.bits()
            ));
        }
        let options = SecretPutOptions {
            expected: self.if_revision.map(expected),
            note: self.note,
            ..SecretPutOptions::default()
        };
        let client = session.connect().await?;
        let secrets = client.secrets();
        let (secret, written) = secrets.generate(self.key.clone(), &recipe, options).await?;
        super::written(session, &self.key, written)?;
        if self.show {
            let terminal = session.output.is_terminal();
            if terminal && !is_printable(secret.expose()) {
                session.output.warn(format_args!(
                    "bytes are not printed to a terminal; `kvctl secret get {}` opens it",
                    self.key
                ));
                return Ok(());
            }
            plaintext::write_output(secret.expose())?;
            if terminal {
                plaintext::write_output(b"\n")?;
            }
        }
        Ok(())
    }
}

fn parse_length(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|length| (1..=limits::VALUE_BYTES).contains(length))
        .ok_or_else(|| format!("a secret has 1 to {} characters", limits::VALUE_BYTES))
}

const GUESSABLE_BITS: f64 = 80.0;
