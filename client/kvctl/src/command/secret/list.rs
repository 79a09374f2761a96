//! `secret list`: which secrets there are, and nothing of what they are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_client::{Entry, KeyRange, RangeOptions, Timestamp};
use serde_json::{Value as Json, json};

use super::super::count;
use crate::{duration, failure::Failure, record, session::Session};

/// List the secrets that begin with a prefix: names, versions, ages, authors
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only keys that begin so [default: all]
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
}

impl List {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let range = KeyRange::prefix(self.prefix.clone());
        let page = client.range_all(range, RangeOptions::default()).await?;
        let secrets: Vec<&Entry> = page.entries.iter().filter(|one| one.is_secret()).collect();
        let output = &session.output;
        if session.is_json() {
            return output.json(&json!({
                "revision": page.revision,
                "count": secrets.len(),
                "entries": secrets.iter().map(|secret| entry_json(secret)).collect::<Vec<_>>(),
            }));
        }
        if secrets.is_empty() {
            let what = match self.prefix.as_str() {
                "" => "there are no secrets".to_owned(),
                prefix => format!("no secret begins with {prefix}"),
            };
            output.remark(format_args!("{what} at revision {}", page.revision));
            return Ok(());
        }
        let rows = secrets.iter().map(|secret| {
            [
                secret.key.to_string(),
                secret.version.to_string(),
                secret.modified.to_string(),
                age(secret.at),
                secret.author.clone(),
            ]
        });
        output.rows(
            ["KEY", "VERSION", "REVISION", "AGE", "AUTHOR"],
            rows.collect(),
        )?;
        output.remark(format_args!(
            "{} at revision {}",
            count(secrets.len() as u64, "secret"),
            page.revision
        ));
        Ok(())
    }
}

/// The fields of an entry, but the value: there is none to tell.
fn entry_json(secret: &Entry) -> Json {
    let mut fields = record::key_fields(&secret.key);
    fields.extend(record::version_fields(secret));
    Json::Object(fields)
}

/// How long ago, by this machine's clock.
fn age(at: Timestamp) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let at = Duration::from_millis(at.as_millis());
    duration::show(now.unwrap_or_default().saturating_sub(at))
}

#[cfg(test)]
mod tests {
    use holdfast_client::Value;

    use super::*;

    #[test]
    fn a_listed_secret_s_json_has_the_documented_shape_and_no_value() {
        let secret = record::sample("a/b", Value::Sealed(Default::default()));
        assert_eq!(
            entry_json(&secret).to_string(),
            r#"{"key":"a/b","revision":7,"created":3,"version":2,"lease":"00000000000000ff","author":"client/admin","at":"2023-11-14T22:13:20.000Z","note":"why"}"#
        );
    }
}
