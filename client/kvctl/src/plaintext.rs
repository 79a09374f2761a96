//! Plaintext on its way in and out: past every buffer that nobody wipes.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write as _},
    path::Path,
};

use holdfast_client::{Secret, limits};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// A word of the command line that is to be kept out of sight from then on.
#[derive(Clone)]
// Clap clones what it parses; each copy is wiped.
pub(crate) struct Word(Zeroizing<String>);

impl Word {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn to_secret(&self) -> Secret {
        Secret::from(self.0.as_bytes().to_vec())
    }
}

impl std::str::FromStr for Word {
    type Err = std::convert::Infallible;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(word.to_owned())))
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Word(..)")
    }
}

/// A file, whole.
pub(crate) fn read_file(path: &Path) -> Result<Secret, Failure> {
    File::open(path)
        .and_then(|file| read(file, limits::VALUE_BYTES))
        .map_err(|error| unread(path.display(), &error))?
        .ok_or_else(|| too_large(path.display()))
}

/// Standard input, whole.
pub(crate) fn read_input() -> Result<Secret, Failure> {
    let name = "standard input";
    platform::input()
        .and_then(|file| read(file, limits::VALUE_BYTES))
        .map_err(|error| unread(name, &error))?
        .ok_or_else(|| too_large(name))
}

/// All there is; `None`: more than `most` bytes.
fn read(mut from: impl Read, most: usize) -> io::Result<Option<Secret>> {
    // Never grown: what a growing buffer leaves behind is not wiped.
    let mut bytes = Zeroizing::new(vec![0; most + 1]);
    let mut length = 0;
    while length < bytes.len() {
        match from.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((length <= most).then(|| Secret::from(bytes[..length].to_vec())))
}

/// To standard output, as it is.
pub(crate) fn write_output(bytes: &[u8]) -> Result<(), Failure> {
    Ok(platform::output()?.write_all(bytes)?)
}

/// A new file that its owner alone reads.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    platform::private(path)
}

/// To a new file that its owner alone reads.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create_private(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Whether a terminal shows it as what it is, and does nothing else with it.
pub(crate) fn is_printable(bytes: &[u8]) -> bool {
    let printable = |character: char| !character.is_control() || "\n\r\t".contains(character);
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(printable))
}

fn unread(name: impl fmt::Display, error: &io::Error) -> Failure {
    Failure::usage(format!("{name} could not be read: {error}"))
}

fn too_large(name: impl fmt::Display) -> Failure {
    Failure::refused(format!(
        "{name} has more than {} bytes, which is the most that a secret may have; nothing was \
         written",
        limits::VALUE_BYTES
    ))
}

#[cfg(unix)]
mod platform {
    use std::{
        fs::{File, OpenOptions},
        io,
        os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
        path::Path,
    };

    pub(super) fn input() -> io::Result<File> {
        Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
    }

    pub(super) fn output() -> io::Result<File> {
        Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
    }

    pub(super) fn private(path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(path)
    }
}

#[cfg(windows)]
mod platform {
    use std::{
        fs::{File, OpenOptions},
        io,
        os::windows::io::AsHandle as _,
        path::Path,
    };

    pub(super) fn input() -> io::Result<File> {
        Ok(io::stdin().as_handle().try_clone_to_owned()?.into())
    }

    pub(super) fn output() -> io::Result<File> {
        Ok(io::stdout().as_handle().try_clone_to_owned()?.into())
    }

    /// A user's folders are closed to others there.
    pub(super) fn private(path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_whole_or_refused() {
        let read = |bytes: &[u8]| read(bytes, 4).unwrap().map(|all| all.expose().clone());
        assert_eq!(read(b""), Some(Vec::new()));
        assert_eq!(read(b"abc\n"), Some(b"abc\n".to_vec()));
        assert_eq!(read(b"abcde"), None);
    }

    #[test]
    fn a_terminal_is_shown_text_alone() {
        assert!(is_printable("-----BEGIN\r\n\té\n".as_bytes()));
        for bytes in [
            &b"\x1b]52;c;aGk=\x07"[..],
            b"\xff",
            b"a\0b",
            "\u{9b}31m".as_bytes(),
        ] {
            assert!(!is_printable(bytes), "{bytes:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_private_file_is_its_owner_s_alone_and_never_another() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("share");
        write_private(&path, b"x").unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(write_private(&path, b"y").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
    }

    #[test]
    fn a_word_is_not_shown() {
        let word: Word = "hunter2".parse().unwrap();
        assert_eq!(format!("{word:?}"), "Word(..)");
    }
}
