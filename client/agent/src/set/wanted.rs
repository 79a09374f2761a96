//! What a set is to be.

use std::{path::PathBuf, sync::Arc};

use zeroize::Zeroizing;

use super::{Owner, directory::Access};
use crate::{
    render::{self, Content, RenderError, Secrets},
    settings::{Mode, SetSettings},
    values::Values,
};

/// The files of a set, all of one revision. Contents are wiped when it is dropped.
pub(crate) struct Wanted {
    pub(crate) files: Vec<WantedFile>,
    pub(crate) revision: u64,
    /// How many keys there were.
    pub(crate) keys: usize,
    /// Of every path, owner, mode and content.
    pub(crate) digest: String,
}

/// A file.
pub(crate) struct WantedFile {
    /// As the settings have it.
    pub(crate) path: PathBuf,
    pub(super) access: Access,
    pub(crate) content: Zeroizing<Vec<u8>>,
    /// Of the content.
    pub(crate) digest: String,
    /// What is told of the content. A short secret could be guessed by a hash, so of a file with secrets
    /// it is a hash of what is shown and of the secrets' versions.
    pub(crate) told_digest: String,
    /// As it is shown, if it holds secrets.
    pub(crate) veiled: Option<String>,
}

/// Why a set cannot be made of what there is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WantedError {
    #[error("{}: {source}", path.display())]
    Render { path: PathBuf, source: RenderError },
    #[error("{} {why}", path.display())]
    Owner { path: PathBuf, why: &'static str },
    #[error(
        "there is no key under {0}, and the set stays as it is; put what is missing, or set \
         guard.allow_empty"
    )]
    Empty(String),
    #[error(
        "{} would become empty, and the set stays as it is; put what is missing, or set \
         guard.allow_empty", .0.display()
    )]
    EmptyFile(PathBuf),
    #[error(
        "{before} keys became {now}, more vanished than the {allowed} % that may at once; the set \
         stays as it is: put them back, or raise guard.vanish_percent"
    )]
    Vanished {
        before: usize,
        now: usize,
        allowed: u8,
    },
}

impl Wanted {
    /// Makes the set, or says why it is better left as it is. `before`: how many keys the installed one
    /// was made of.
    pub(crate) fn make(
        settings: &SetSettings,
        values: &Arc<Values>,
        before: Option<usize>,
    ) -> Result<Self, WantedError> {
        guard(settings, values, before)?;
        let mut files = Vec::new();
        for file in &settings.files {
            let made = |secrets| {
                let prefix = settings.prefixes[0].as_str();
                let content = render::render(settings.name.as_str(), file, prefix, values, secrets);
                content.map_err(|source| WantedError::Render {
                    path: file.path.clone(),
                    source,
                })
            };
            let content = made(Secrets::Told)?;
            if content.bytes.is_empty() && !settings.guard.allow_empty {
                return Err(WantedError::EmptyFile(file.path.clone()));
            }
            let has_secrets = !content.secrets.is_empty();
            let veiled = match has_secrets {
                true => Some(match made(Secrets::Veiled) {
                    Ok(veiled) => String::from_utf8_lossy(&veiled.bytes).into_owned(),
                    Err(_) => NOT_SHOWN.to_owned(),
                }),
                false => None,
            };
            let owner = Owner::of(
                file.owner.as_deref().or(settings.owner.as_deref()),
                file.group.as_deref().or(settings.group.as_deref()),
            );
            let owner = owner.map_err(|why| WantedError::Owner {
                path: file.path.clone(),
                why,
            })?;
            let usual = match has_secrets {
                true => Mode::of(0o600),
                false => Mode::of(0o644),
            };
            let digest = digest(&content.bytes);
            files.push(WantedFile {
                told_digest: match &veiled {
                    None => digest.clone(),
                    Some(veiled) => told_digest(veiled, &content, values),
                },
                path: file.path.clone(),
                access: Access {
                    owner,
                    mode: file.mode.unwrap_or(usual).bits(),
                },
                digest,
                content: content.bytes,
                veiled,
            });
        }
        Ok(Self {
            digest: digest_of_all(&files),
            files,
            revision: values.revision,
            keys: values.len(),
        })
    }
}

impl WantedFile {
    pub(crate) fn mode(&self) -> u32 {
        self.access.mode
    }

    /// User and group.
    pub(crate) fn owner(&self) -> (u32, u32) {
        (self.access.owner.uid, self.access.owner.gid)
    }
}

fn guard(
    settings: &SetSettings,
    values: &Values,
    before: Option<usize>,
) -> Result<(), WantedError> {
    let guard = &settings.guard;
    if guard.allow_empty {
        return Ok(());
    }
    if let Some(prefix) = values.empty_prefix() {
        return Err(WantedError::Empty(prefix.to_owned()));
    }
    let (before, now) = (before.unwrap_or(0), values.len());
    let vanished = before.saturating_sub(now);
    match vanished * 100 > before * usize::from(guard.vanish_percent) {
        true => Err(WantedError::Vanished {
            before,
            now,
            allowed: guard.vanish_percent,
        }),
        false => Ok(()),
    }
}

pub(super) fn digest(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

fn told_digest(veiled: &str, content: &Content, values: &Values) -> String {
    let mut told = blake3::Hasher::new();
    told.update(veiled.as_bytes());
    for key in &content.secrets {
        told.update(&values.version(key).to_le_bytes());
    }
    told.finalize().to_hex().to_string()
}

fn digest_of_all(files: &[WantedFile]) -> String {
    let mut all = blake3::Hasher::new();
    for file in files {
        let path = file.path.as_os_str().as_encoded_bytes();
        all.update(&(path.len() as u64).to_le_bytes());
        all.update(path);
        for number in [
            file.access.mode,
            file.access.owner.uid,
            file.access.owner.gid,
        ] {
            all.update(&number.to_le_bytes());
        }
        // Of one length.
        all.update(file.digest.as_bytes());
    }
    all.finalize().to_hex().to_string()
}

const NOT_SHOWN: &str = "(its template needs its secrets to be made, so it is not shown)\n";
