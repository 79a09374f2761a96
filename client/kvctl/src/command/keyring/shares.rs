//! Shares of a recovery key on their way to their holders and back.
//!
//! A share never leaves this machine by this program, and its text is wiped wherever it passes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use holdfast_seal::{Gathered, RecoveryKey, SetId, Share, Split};
use zeroize::Zeroizing;

use crate::{
    failure::Failure,
    plaintext::{read_file, write_output, write_private},
    terminal::Person,
};

/// What a set of shares is called: as each of its shares begins.
pub(super) fn set_name(set: &[u8]) -> String {
    match set.try_into() {
        Ok(set) => SetId::from_bytes(set).to_string(),
        Err(_) => set.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// One file each, for its owner alone to read. If one cannot be written, none is left.
pub(super) fn write_files(shares: &[Share], folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    fs::create_dir_all(folder).map_err(|error| {
        Failure::refused(format!(
            "{} could not be made: {error}; no recovery key was made",
            folder.display()
        ))
    })?;
    let mut written = Vec::new();
    for share in shares {
        let path = folder.join(format!("{}.share", name(share)));
        let mut text = Zeroizing::new(Vec::with_capacity(LONGEST_SHARE));
        text.extend_from_slice(share.to_text().expose());
        text.push(b'\n');
        if let Err(error) = write_private(&path, &text) {
            remove_files(&written);
            return Err(Failure::refused(format!(
                "{} could not be written: {error}; no recovery key was made",
                path.display()
            )));
        }
        written.push(path);
    }
    Ok(written)
}

/// Takes back what [`write_files`] wrote: they are shares of nothing.
pub(super) fn remove_files(paths: &[PathBuf]) {
    for path in paths {
        // One that stays is of no use to anybody.
        let _ = fs::remove_file(path);
    }
}

/// Each on a screen of its own, which is cleared when enter is pressed.
pub(super) fn show_one_by_one(shares: &[Share], person: Person) -> Result<(), Failure> {
    for share in shares {
        let mut text = heading(share);
        text.push_str("\n\n");
        text.push_str(&in_lines(share));
        text.push_str(
            "\n\nWrite it down, or print it, for one holder alone. It is not shown again.\nPress \
             enter when it is kept; the screen is cleared then.",
        );
        person.show_alone(&text)?;
    }
    Ok(())
}

/// All of them to standard output.
pub(super) fn print_all(shares: &[Share]) -> Result<(), Failure> {
    for share in shares {
        let mut text = heading(share);
        text.push('\n');
        text.push_str(&in_lines(share));
        text.push_str("\n\n");
        write_output(text.as_bytes())?;
    }
    Ok(())
}

/// The key that the shares in these files make.
pub(super) fn gather_files(paths: &[PathBuf]) -> Result<RecoveryKey, Failure> {
    let mut gathered = Gathered::default();
    for path in paths {
        let text = read_file(path)?;
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::usage(format!("{}: {error}; nothing was proven", path.display()))
        };
        let text = text.text().map_err(|error| wrong(&error))?;
        let share = Share::parse(text).map_err(|error| wrong(&error))?;
        gathered.add(share).map_err(|error| wrong(&error))?;
    }
    combine(gathered)
}

/// The key that the shares make which are typed, one after the other and not shown. A typo costs
/// the one share that it is in.
pub(super) fn gather_typed(person: Person, split: Split) -> Result<RecoveryKey, Failure> {
    let mut gathered = Gathered::default();
    let mut missing = split.threshold();
    while missing > 0 {
        let more = match missing {
            1 => "the last share".to_owned(),
            more => format!("a share, {more} are needed"),
        };
        let line = person.ask_secret(&format!("{more} (not shown): "))?;
        let text = std::str::from_utf8(&line).unwrap_or_default();
        let added = Share::parse(text)
            .map_err(|error| error.to_string())
            .and_then(|share| gathered.add(share).map_err(|error| error.to_string()));
        match added {
            Ok(left) => missing = left,
            Err(wrong) => person.tell(&format!("{wrong}; type that share again"))?,
        }
    }
    combine(gathered)
}

fn combine(gathered: Gathered) -> Result<RecoveryKey, Failure> {
    gathered
        .combine()
        .map_err(|error| Failure::refused(format!("{error}; nothing was proven")))
}

fn name(share: &Share) -> String {
    format!(
        "{}-{}-of-{}",
        share.set(),
        share.index(),
        share.split().shares()
    )
}

fn heading(share: &Share) -> Zeroizing<String> {
    let split = share.split();
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    text.push_str(&format!(
        "Holdfast recovery share {} of {} of set {}; any {} of them recover the keyring",
        share.index(),
        split.shares(),
        share.set(),
        split.threshold()
    ));
    text
}

/// Its groups, some to a line: what is read off line by line is not lost track of.
fn in_lines(share: &Share) -> Zeroizing<String> {
    let text = share.to_text();
    let mut lines = Zeroizing::new(String::with_capacity(LONGEST_SHARE));
    let mut groups = 0;
    for byte in text.expose() {
        lines.push(char::from(*byte));
        if *byte == b'-' {
            groups += 1;
            if groups % GROUPS_A_LINE == 0 {
                lines.push('\n');
            }
        }
    }
    lines
}

const GROUPS_A_LINE: usize = 6;
/// A share's text, with line breaks.
const LONGEST_SHARE: usize = 256;
/// A share's text, and what is said around it.
const ROOM: usize = 1024;

#[cfg(test)]
mod tests {
    use holdfast_seal::OsRandom;

    use super::*;

    fn made(shares: u8, threshold: u8) -> (RecoveryKey, Vec<Share>) {
        let split = Split::new(shares, threshold).unwrap();
        RecoveryKey::split_new(&mut OsRandom, split)
    }

    #[test]
    fn shares_come_back_from_their_files_and_too_few_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let (key, shares) = made(3, 2);
        let out = folder.path().join("out");
        let files = write_files(&shares, &out).unwrap();
        assert_eq!(files.len(), 3);
        let again = gather_files(&files[1..]).unwrap();
        assert_eq!(again.set(), key.set());
        let failure = format!("{:?}", gather_files(&files[..1]).unwrap_err());
        assert!(failure.contains("nothing was proven"), "{failure}");
        // Never over another's.
        assert!(write_files(&shares, &out).is_err());
        assert!(files.iter().all(|file| file.exists()));
        remove_files(&files);
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
    }

    #[test]
    fn a_typo_is_told_by_its_group_and_nothing_of_the_share_is_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let (_, shares) = made(3, 2);
        let files = write_files(&shares, folder.path()).unwrap();
        let text = fs::read_to_string(&files[0]).unwrap();
        let mut groups: Vec<_> = text.trim().split('-').map(str::to_owned).collect();
        groups[3] = match groups[3].starts_with('7') {
            true => groups[3].replacen('7', "8", 1),
            false => format!("7{}", &groups[3][1..]),
        };
        fs::write(&files[0], groups.join("-")).unwrap();
        let failure = format!("{:?}", gather_files(&files[..2]).unwrap_err());
        assert!(failure.contains("group 3"), "{failure}");
        for group in groups {
            assert!(!failure.contains(&group) || group == "HFS1", "{failure}");
        }
    }

    #[test]
    fn a_share_in_lines_is_the_same_share() {
        let (_, shares) = made(2, 2);
        let lines = in_lines(&shares[0]);
        assert!(lines.lines().count() == 3 && lines.lines().all(|line| line.len() < 45));
        let again = Share::parse(&lines).unwrap();
        assert_eq!(again.to_text().expose(), shares[0].to_text().expose());
        let name = set_name(shares[0].set().as_bytes());
        assert!(heading(&shares[0]).contains(&name));
    }
}
