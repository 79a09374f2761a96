//! `override sign`: with the key of the context, and without a server.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::ValueEnum;
use holdfast_client::{Override, OverrideFormat, OverrideTerms};
use serde_json::Value as Json;

use super::{described, read, timestamp};
use crate::{duration, failure::Failure, plaintext, session::Session, time};

/// Sign settings that a service is to use for a while, whatever the store has
///
/// Needs no server. Prints the file; put it, on each node where the service runs, at the place that
/// the service was told. It counts within a second, if you may change the policy, and ends by itself.
/// Whoever can read the file reads the settings.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "kvctl override sign --prefix billing/ --expires 4h --reason 'the database moved' fields.toml"
)]
pub(crate) struct Sign {
    /// The fields, as TOML or JSON: timeout = 30, or [database] for what is below it; - is standard
    /// input
    file: PathBuf,

    /// The prefix of the configuration, just as the service names it
    #[arg(long, value_name = "PREFIX")]
    prefix: String,

    /// How long it counts, from now on; 24h at most
    #[arg(long, value_name = "TIME", value_parser = duration::parse_some)]
    expires: Duration,

    /// Why, for all who see that it is in use
    #[arg(long, value_name = "WHY")]
    reason: String,

    /// How the fields are written [default: json for a file that is called so, else toml]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,

    /// Write it into this new file, which only you can read, in place of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Toml,
    Json,
}

impl Sign {
    pub(super) async fn run(self, session: &Session) -> Result<ExitCode, Failure> {
        let context = session.own_context()?;
        let fields = read(&self.file)?;
        let terms = OverrideTerms {
            prefix: self.prefix.clone(),
            lifetime: self.expires,
            reason: self.reason.clone(),
        };
        let now = SystemTime::now();
        let text = Override::sign(&context, &terms, self.format(), &fields, now)?;
        let signed = Override::inspect(&context, &text, now)?;
        self.warn_if_in_vain(session, signed.signer()).await;
        if let Some(out) = &self.out {
            write(out, &text)?;
        }
        let output = &session.output;
        if session.is_json() {
            let mut fields = described(&signed);
            let file = self.out.as_ref().map(|out| out.display().to_string());
            fields.insert("file".to_owned(), file.into());
            let text = self.out.is_none().then_some(text);
            fields.insert("text".to_owned(), text.into());
            output.json(&Json::Object(fields))?;
        } else if self.out.is_none() {
            output.bytes(text.as_bytes())?;
        }
        output.remark(format_args!(
            "signed by {} for {} until {} UTC: {}",
            signed.signer(),
            signed.prefix(),
            time::short(timestamp(signed.expires())),
            signed.fields().join(", ")
        ));
        Ok(ExitCode::SUCCESS)
    }

    fn format(&self) -> OverrideFormat {
        let is_json = self.file.extension().is_some_and(|it| it == "json");
        match self.format {
            Some(Format::Json) => OverrideFormat::Json,
            None if is_json => OverrideFormat::Json,
            Some(Format::Toml) | None => OverrideFormat::Toml,
        }
    }

    /// Where a server happens to be there: what is signed for nothing is better known now.
    async fn warn_if_in_vain(&self, session: &Session, signer: &str) {
        let Ok(client) = session.client() else {
            return;
        };
        let client = client.with_timeout(A_MOMENT);
        if let Ok(administrators) = client.fleet().administrators().await
            && !administrators.iter().any(|known| known == signer)
        {
            session.output.warn(format_args!(
                "{signer} may not change the policy, so services will refuse this; those whose \
                 overrides count are {}",
                administrators.join(", ")
            ));
        }
    }
}

fn write(out: &Path, text: &str) -> Result<(), Failure> {
    plaintext::write_private(out, text.as_bytes())
        .map_err(|error| Failure::refused(format!("{} was not written: {error}", out.display())))
}

const A_MOMENT: Duration = Duration::from_secs(1);
