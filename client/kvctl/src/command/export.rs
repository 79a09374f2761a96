//! `export`: what lies under a prefix, as a file.

use std::path::PathBuf;

use holdfast_client::{
    Entry, KeyRange, RangeOptions, Revision, Value,
    formats::{self, Format, import_prefix},
};

use super::{count, parse_revision};
use crate::{failure::Failure, session::Session};

/// Export what lies under a prefix as a file that `import` takes
///
/// Keys are relative to the prefix. What the format cannot say is refused by name. Secrets are left
/// out, and said to be.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The prefix; a / is put behind it if there is none. '' means every key
    prefix: String,

    /// json, yaml, toml, env or reg
    #[arg(long)]
    format: Format,

    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// As it was at this revision
    #[arg(long, value_parser = parse_revision)]
    revision: Option<Revision>,
}

impl Export {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let prefix = import_prefix(&self.prefix);
        let client = session.connect().await?;
        let options = RangeOptions {
            revision: self.revision,
            ..RangeOptions::default()
        };
        let page = client
            .range_all(KeyRange::prefix(prefix.clone()), options)
            .await?;
        if page.entries.is_empty() {
            return Err(Failure::refused(format!(
                "no key lies under {prefix}; nothing was exported, `kvctl list` shows what there is"
            )));
        }
        let (secrets, plain): (Vec<_>, Vec<_>) =
            page.entries.into_iter().partition(Entry::is_secret);
        if plain.is_empty() {
            return Err(Failure::refused(format!(
                "only secrets lie under {prefix}, and no file holds those; nothing was exported, \
                 `kvctl secret get` opens one"
            )));
        }
        let entries = plain
            .into_iter()
            .map(|entry| relative(entry, &prefix))
            .collect::<Result<Vec<_>, _>>()?;
        let written = formats::write(&entries, self.format)
            .map_err(|error| Failure::from(error).during("nothing was exported"))?;
        match &self.file {
            None => session.output.bytes(&written)?,
            Some(path) => std::fs::write(path, &written).map_err(|error| {
                Failure::refused(format!("{} could not be written: {error}", path.display()))
            })?,
        }
        if !secrets.is_empty() {
            session.output.warn(format_args!(
                "{} left out, for no file holds one: an import of this file is not all there was",
                count(secrets.len() as u64, "secret")
            ));
        }
        let keys = count(entries.len() as u64, "key");
        session
            .output
            .remark(format_args!("{keys} of revision {}", page.revision));
        Ok(())
    }
}

fn relative(entry: Entry, prefix: &str) -> Result<(String, Value), Failure> {
    let name = entry
        .key
        .as_str()
        .and_then(|key| key.strip_prefix(prefix))
        .map(str::to_owned);
    match (name, entry.value) {
        (Some(name), Some(value)) => Ok((name, value)),
        _ => Err(Failure::refused(format!(
            "{} is not UTF-8 and no file can name it; nothing was exported, choose a longer prefix",
            entry.key
        ))),
    }
}
