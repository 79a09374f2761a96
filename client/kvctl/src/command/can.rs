//! `can`: what would be decided, and by which rule.

use std::process::ExitCode;

use holdfast_client::{AccessDecision, Capability, Key, KeyRange};
use serde_json::json;

use super::identity::parse_identity;
use crate::{failure::Failure, session::Session};

/// Say whether somebody may do something, and which rule decides
///
/// Exits with 0 if so, else with 1. Anybody may ask about himself; others are for administrators.
#[derive(Debug, clap::Args)]
#[command(after_help = "kvctl can shop read app/db    kvctl can me admin:members")]
pub(crate) struct Can {
    /// Who: the name of a certificate, or me
    #[arg(value_parser = parse_who)]
    who: String,
    /// What: list, read, reveal, write, delete, lock, or admin:…
    #[arg(value_name = "DO")]
    capability: Capability,
    /// To what: a key, or PREFIX/ for all keys under it [default: every key]
    #[arg(value_name = "WHAT")]
    what: Option<String>,
}

impl Can {
    pub(crate) async fn run(self, session: &Session) -> Result<ExitCode, Failure> {
        let range = self.range()?;
        let client = session.connect().await?;
        let access = client.access();
        let decision = access
            .can(self.who.as_str(), self.capability, range)
            .await?;
        self.tell(session, &decision)?;
        Ok(match decision.allowed {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(1),
        })
    }

    fn range(&self) -> Result<Option<KeyRange>, Failure> {
        match (&self.what, self.capability.is_admin()) {
            (None, true) => Ok(None),
            (Some(_), true) => Err(Failure::usage(format!(
                "{} is not about keys; name none",
                self.capability
            ))),
            (None, false) => Ok(Some(KeyRange::all())),
            (Some(prefix), false) if prefix.ends_with('/') => {
                Ok(Some(KeyRange::prefix(prefix.clone().into_bytes())))
            }
            (Some(key), false) => {
                let key = Key::try_from(key.as_str());
                let key = key.map_err(|error| Failure::usage(error.to_string()))?;
                Ok(Some(KeyRange::single(&key)))
            }
        }
    }

    fn tell(&self, session: &Session, decision: &AccessDecision) -> Result<(), Failure> {
        if session.is_json() {
            let by = decision.by.as_ref();
            return session.output.json(&json!({
                "identity": decision.identity,
                "capability": self.capability.as_str(),
                "what": self.what,
                "allowed": decision.allowed,
                "by": by.map(|by| json!({
                    "role": by.role, "place": u64::from(by.place) + 1, "rule": by.text,
                })),
                "reason_required": decision.reason_required,
                "revoked": decision.revoked,
            }));
        }
        let capability = self.capability;
        let act = match &self.what {
            _ if capability.is_admin() => format!("act as {capability}"),
            None => format!("{capability} every key"),
            Some(what) if what.ends_with('/') => format!("{capability} all of {what}"),
            Some(what) => format!("{capability} {what}"),
        };
        let (answer, may) = match decision.allowed {
            true => ("yes", "may"),
            false => ("no", "may not"),
        };
        let why = match &decision.by {
            _ if decision.revoked => "it was revoked".to_owned(),
            Some(by) => by.to_string(),
            None => "no rule allows it".to_owned(),
        };
        let reason = match decision.reason_required {
            true => ", with a reason",
            false => "",
        };
        session.output.line(format_args!(
            "{answer}: {} {may} {act}{reason}: {why}",
            decision.identity
        ))
    }
}

/// Empty: whoever asks.
fn parse_who(text: &str) -> Result<String, String> {
    match text {
        "me" => Ok(String::new()),
        name => parse_identity(name),
    }
}
