//! What a set would change, as a unified diff that shows no secret.
//!
//! What is new is shown veiled: it was made without the secrets. What is old is shown as it is on the
//! disk only if neither it nor the new one has any; else veiled, as it was recorded when it was installed;
//! and if it was not installed by an agent, or edited since, not at all.

use std::path::{Path, PathBuf};

use similar::TextDiff;

use crate::{
    set::{InstallError, InstalledFile, Record, Wanted, WantedFile, read_present},
    settings::SetSettings,
};

/// The diff of a set; empty: nothing would change.
pub(crate) fn diff(
    settings: &SetSettings,
    record: &Record,
    wanted: &Wanted,
) -> Result<String, InstallError> {
    let mut out = String::new();
    let installed = record.installed.as_ref();
    let recorded = installed.map_or(&[][..], |installed| &installed.files);
    for file in &wanted.files {
        let known = recorded.iter().find(|known| known.path == file.path);
        let present = read_present(settings, &file.path)?;
        diff_file(&mut out, file, known, present.as_ref());
    }
    for gone in recorded {
        let is_wanted = wanted.files.iter().any(|file| file.path == gone.path);
        if !is_wanted && settings.is_in_folder() {
            out.push_str(&format!(
                "--- {0}\n+++ /dev/null\n(it belongs to the set no more)\n",
                gone.path.display()
            ));
        }
    }
    Ok(out)
}

/// What is on the disk under a path.
pub(crate) struct Present {
    pub(crate) content: Vec<u8>,
    pub(crate) digest: String,
    /// Whether owner and mode are as given.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

fn diff_file(
    out: &mut String,
    file: &WantedFile,
    known: Option<&InstalledFile>,
    present: Option<&Present>,
) {
    let path = &file.path;
    let has_secrets = file.veiled.is_some() || known.is_some_and(|known| known.veiled.is_some());
    let new = match &file.veiled {
        Some(veiled) => veiled.clone(),
        None => text(path, &file.content),
    };
    let Some(present) = present else {
        out.push_str(&unified(path, "", &new, true));
        return;
    };
    let (mode, owner) = (file.mode(), file.owner());
    if present.mode != mode {
        out.push_str(&format!(
            "{}: mode {:04o} becomes {mode:04o}\n",
            path.display(),
            present.mode
        ));
    }
    if (present.uid, present.gid) != owner {
        out.push_str(&format!(
            "{}: owner {}:{} becomes {}:{}\n",
            path.display(),
            present.uid,
            present.gid,
            owner.0,
            owner.1
        ));
    }
    if present.digest == file.digest {
        return;
    }
    let is_known = known.filter(|known| known.digest == present.digest);
    let old = match (has_secrets, is_known) {
        (false, _) => text(path, &present.content),
        (
            true,
            Some(InstalledFile {
                veiled: Some(veiled),
                ..
            }),
        ) => veiled.clone(),
        // It had none when it was installed, and is as it was.
        (true, Some(_)) => text(path, &present.content),
        (true, None) => "(what is there is not shown: it may hold secrets)\n".to_owned(),
    };
    match old == new {
        true => out.push_str(&format!("{}: secrets in it change\n", path.display())),
        false => out.push_str(&unified(path, &old, &new, false)),
    }
}

fn unified(path: &Path, old: &str, new: &str, is_new: bool) -> String {
    let name = path.display().to_string();
    let old_name = match is_new {
        true => "/dev/null",
        false => name.as_str(),
    };
    let diff = TextDiff::from_lines(old, new);
    diff.unified_diff().header(old_name, &name).to_string()
}

/// A file's text, or what is told of one that has none.
fn text(path: &Path, content: &[u8]) -> String {
    match std::str::from_utf8(content) {
        Ok(text) => text.to_owned(),
        Err(_) => format!(
            "({} is {} bytes and no text)\n",
            PathBuf::from(path).display(),
            content.len()
        ),
    }
}
