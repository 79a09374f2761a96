//! Searching bytes, files and folders for all forms of all marks at once.

use std::{
    collections::BTreeSet,
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use aho_corasick::AhoCorasick;
use anyhow::Context as _;

use super::{Marks, forms};

/// Knows all marks in all forms.
pub struct Scanner {
    automaton: AhoCorasick,
    /// Of each pattern: the mark's name and the form's.
    patterns: Vec<(String, &'static str)>,
    longest: usize,
}

/// A mark that was found where it must not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    /// Where.
    pub place: String,
    /// Which.
    pub mark: String,
    /// In which form.
    pub form: &'static str,
}

/// What a search went through: one that went through nothing has proven nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// Files, and what else was searched like one.
    pub files: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// What was found.
    pub leaks: BTreeSet<Leak>,
}

impl Scanner {
    /// For these marks.
    pub fn new(marks: &Marks) -> anyhow::Result<Self> {
        let mut patterns = Vec::new();
        let mut bytes = Vec::new();
        for mark in marks.all() {
            for (form, pattern) in forms(&mark.bytes) {
                patterns.push((mark.name.clone(), form));
                bytes.push(pattern);
            }
        }
        let longest = bytes.iter().map(Vec::len).max().context("no marks")?;
        Ok(Self {
            automaton: AhoCorasick::new(bytes)?,
            patterns,
            longest,
        })
    }

    /// Searches bytes.
    pub fn bytes(&self, place: impl fmt::Display, bytes: &[u8], searched: &mut Searched) {
        searched.files += 1;
        searched.bytes += bytes.len() as u64;
        self.find(&place.to_string(), bytes, &mut searched.leaks);
    }

    /// Searches a file. One that is gone is none: what lives comes and goes.
    pub fn file(&self, path: &Path, searched: &mut Searched) -> anyhow::Result<()> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        searched.files += 1;
        self.stream(&path.display().to_string(), file, searched)
            .with_context(|| path.display().to_string())
    }

    /// Searches every file below a folder, but those below the `spared` ones.
    pub fn folder(
        &self,
        folder: &Path,
        spared: &[PathBuf],
        searched: &mut Searched,
    ) -> anyhow::Result<()> {
        if spared.iter().any(|one| folder.starts_with(one)) {
            return Ok(());
        }
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| folder.display().to_string()),
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            // A name is written somewhere, too.
            let name = entry.file_name();
            self.find(
                &format!("the name of {}", path.display()),
                name.as_encoded_bytes(),
                &mut searched.leaks,
            );
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.folder(&path, spared, searched)?;
            } else if kind.is_file() && !spared.contains(&path) {
                self.file(&path, searched)?;
            }
        }
        Ok(())
    }

    /// Piece by piece; a mark over the border of two pieces is whole in what they share.
    fn stream(
        &self,
        place: &str,
        mut from: impl Read,
        searched: &mut Searched,
    ) -> std::io::Result<()> {
        let mut piece = Vec::with_capacity(PIECE + self.longest);
        loop {
            let before = piece.len();
            let read = from.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
            if read == 0 {
                return Ok(());
            }
            searched.bytes += read as u64;
            self.find(place, &piece, &mut searched.leaks);
            let shared = (before + read).min(self.longest - 1);
            piece.drain(..before + read - shared);
        }
    }

    fn find(&self, place: &str, bytes: &[u8], leaks: &mut BTreeSet<Leak>) {
        for found in self.automaton.find_overlapping_iter(bytes) {
            let (mark, form) = &self.patterns[found.pattern().as_usize()];
            leaks.insert(Leak {
                place: place.to_owned(),
                mark: mark.clone(),
                form,
            });
        }
    }
}

const PIECE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_planted_mark_is_found_in_every_form_and_over_the_border_of_two_pieces() {
        let mut marks = Marks::default();
        let (text, bytes) = (marks.text("text").into_bytes(), marks.bytes("bytes"));
        let scanner = Scanner::new(&marks).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/er/file");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        for (name, mark) in [("text", text), ("bytes", bytes)] {
            for (form, pattern) in forms(&mark) {
                for place in [0, 1, PIECE - pattern.len() / 2, 2 * PIECE - 1] {
                    let mut content = vec![b'.'; place];
                    content.extend_from_slice(&pattern);
                    content.extend([b'.'; 100]);
                    fs::write(&file, content).unwrap();
                    let mut searched = Searched::default();
                    scanner.folder(folder.path(), &[], &mut searched).unwrap();
                    let found = searched
                        .leaks
                        .iter()
                        .any(|leak| leak.mark == name && leak.form == form);
                    assert!(found, "{name} as {form} at {place}: {searched:?}");
                    assert_eq!(searched.files, 1);
                }
            }
        }
        let mut searched = Searched::default();
        let spared = [folder.path().join("deep")];
        scanner
            .folder(folder.path(), &spared, &mut searched)
            .unwrap();
        assert_eq!(searched, Searched::default());
    }

    #[test]
    fn what_is_like_a_mark_is_none() {
        let mut marks = Marks::default();
        let text = marks.text("text");
        let other = marks.clone().text("other");
        let scanner = Scanner::new(&marks).unwrap();
        let mut searched = Searched::default();
        scanner.bytes("here", &text.as_bytes()[1..], &mut searched);
        scanner.bytes("here", other.as_bytes(), &mut searched);
        assert!(searched.leaks.is_empty(), "{searched:?}");
    }
}
