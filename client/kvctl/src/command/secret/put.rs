//! `secret put`: seals what is typed, piped in or in a file.

use std::{io::IsTerminal as _, path::PathBuf};

use holdfast_client::{Key, Secret, SecretPutOptions, limits};

use super::super::{parse_key, put::expected};
use crate::{
    failure::Failure,
    plaintext::{self, Word},
    session::Session,
    terminal::Person,
};

/// Put a secret; without a source it is asked for twice and not shown
#[derive(Debug, clap::Args)]
pub(crate) struct Put {
    /// The key
    #[arg(value_parser = parse_key)]
    key: Key,

    /// - reads standard input, whole, as it is: a newline at its end is a part of the secret
    // Anything else is refused without being repeated, also where it looks like an option.
    #[arg(value_name = "-", allow_hyphen_values = true)]
    source: Option<Word>,

    /// Read a file, whole, as it is
    #[arg(long, value_name = "FILE", conflicts_with = "source")]
    file: Option<PathBuf>,

    /// The secret itself, for all processes of this machine and for the shell's history to see
    #[arg(
        long,
        value_name = "SECRET",
        allow_hyphen_values = true,
        conflicts_with_all = ["source", "file"]
    )]
    insecure_argv: Option<Word>,

    /// Only if the key is still at this revision; 0: only if there is no such key
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,

    /// Why; kept in the history, for all to read
    #[arg(long, value_name = "WHY", default_value = "")]
    note: String,
}

impl Put {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let secret = self.given(session)?;
        if secret.expose().is_empty() {
            return Err(Failure::usage(
                "the secret is empty; nothing was put, see where it should have come from",
            ));
        }
        let options = SecretPutOptions {
            expected: self.if_revision.map(expected),
            note: self.note,
            ..SecretPutOptions::default()
        };
        let client = session.connect().await?;
        let secrets = client.secrets();
        let written = secrets.put_with(self.key.clone(), secret, options).await?;
        super::written(session, &self.key, written)
    }

    fn given(&self, session: &Session) -> Result<Secret, Failure> {
        if let Some(path) = &self.file {
            return plaintext::read_file(path);
        }
        if let Some(word) = &self.insecure_argv {
            return within_limit(word.to_secret());
        }
        match &self.source {
            Some(word) if word.as_str() == "-" => {
                if std::io::stdin().is_terminal() {
                    return Err(Failure::usage(
                        "a terminal shows what is typed; nothing was put, leave the - out to be asked \
                         for the secret unseen",
                    ));
                }
                let secret = plaintext::read_input()?;
                if ends_by_accident(secret.expose()) {
                    session.output.remark(
                        "the secret ends with a newline, as `echo` writes one; `printf %s` does not",
                    );
                }
                Ok(secret)
            }
            Some(_) => Err(Failure::usage(
                "a secret on the command line is seen by every process of this machine and kept in \
                 the shell's history; nothing was put. Leave it out to be asked for it, or give \
                 --file FILE or - for standard input (--insecure-argv takes it all the same). Take \
                 this one for seen and choose another",
            )),
            None => {
                // Whoever typed it twice does not want to hear then that there is no context.
                session.client()?;
                ask(&self.key)
            }
        }
    }
}

/// Twice, since nobody sees what is typed.
fn ask(key: &Key) -> Result<Secret, Failure> {
    let Some(person) = Person::present() else {
        return Err(Failure::usage(
            "there is no terminal to ask for the secret at; nothing was put, give --file FILE or - \
             for standard input",
        ));
    };
    let question = format!("secret for {key} (not shown): ");
    let [first, second] = person.ask_secrets([&question, "once more: "])?;
    if *first != *second {
        return Err(Failure::refused(
            "the two are not the same; nothing was put, try again",
        ));
    }
    Ok(Secret::from(first))
}

fn within_limit(secret: Secret) -> Result<Secret, Failure> {
    match secret.expose().len() {
        length if length > limits::VALUE_BYTES => Err(Failure::refused(format!(
            "the secret has {length} bytes; at most {} are allowed, nothing was put",
            limits::VALUE_BYTES
        ))),
        _ => Ok(secret),
    }
}

/// One line of text with its end: most likely a password through `echo`.
fn ends_by_accident(bytes: &[u8]) -> bool {
    match bytes {
        [line @ .., b'\n'] => !line.is_empty() && !line.contains(&b'\n'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_through_echo_is_told_from_a_file_of_lines() {
        assert!(ends_by_accident(b"hunter2\n"));
        for fine in [&b"hunter2"[..], b"", b"\n", b"-----BEGIN\nabc\n"] {
            assert!(!ends_by_accident(fine), "{fine:?}");
        }
    }
}
