//! Talking with a person: questions on standard error, answers from standard input.
//!
//! What is asked for as a secret is not shown while it is typed, and is kept in memory that is
//! wiped. All that is Unix-only about it is in `platform`.

use std::io::{IsTerminal as _, Write as _};

use zeroize::Zeroizing;

use crate::failure::Failure;

/// Somebody who can be asked: both standard input and standard error are a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Person(());

impl Person {
    /// `None`: nobody is there.
    pub(crate) fn present() -> Option<Self> {
        let there = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        there.then_some(Self(()))
    }

    /// A line that is not shown while it is typed.
    pub(crate) fn ask_secret(self, question: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
        platform::unseen(|| read_unseen(question))
    }

    /// Two such lines. Between them nothing is shown either, however early the second is typed.
    pub(crate) fn ask_secrets(
        self,
        questions: [&str; 2],
    ) -> Result<[Zeroizing<Vec<u8>>; 2], Failure> {
        let [first, second] = questions;
        platform::unseen(|| Ok([read_unseen(first)?, read_unseen(second)?]))
    }

    /// Something to know before the next question.
    pub(crate) fn tell(self, what: &str) -> Result<(), Failure> {
        say(&format!("{what}\n"))
    }

    /// A line that is shown.
    pub(crate) fn ask(self, question: &str) -> Result<String, Failure> {
        say(question)?;
        let line = read_line(LONGEST_LINE)?;
        match std::str::from_utf8(&line) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(_) => Err(Failure::refused("the terminal sent what is no text")),
        }
    }

    /// Whether the answer is yes; anything but `y` and `yes` is no.
    pub(crate) fn agrees(self, question: &str) -> Result<bool, Failure> {
        let answer = self.ask(&format!("{question} [y/N] "))?;
        Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
    }

    /// Shows text on a screen of its own, which no scrolling back brings up again, until enter is
    /// pressed.
    pub(crate) fn show_alone(self, text: &str) -> Result<(), Failure> {
        let _screen = Screen::take()?;
        say(text)?;
        read_line(LONGEST_LINE).map(drop)
    }
}

/// The terminal's second screen. Cleared and left when dropped.
struct Screen;

impl Screen {
    fn take() -> Result<Self, Failure> {
        say("\x1b[?1049h\x1b[2J\x1b[H")?;
        Ok(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing more.
        let _ = say("\x1b[2J\x1b[H\x1b[?1049l");
    }
}

/// Standard error is not buffered.
fn say(text: &str) -> Result<(), Failure> {
    let mut terminal = std::io::stderr();
    terminal
        .write_all(text.as_bytes())
        .map_err(|error| Failure::refused(format!("the terminal could not be written to: {error}")))
}

/// A line, while the terminal shows nothing of it.
fn read_unseen(question: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    say(question)?;
    let line = read_line(LONGEST_SECRET);
    // The enter key was not shown either.
    say("\n")?;
    line
}

/// One line without its end, byte by byte: what is behind it stays for the next question.
fn read_line(most: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // Never grown: what a growing buffer leaves behind is not wiped.
    let mut line = Line(Zeroizing::new(Vec::with_capacity(most)));
    loop {
        let mut byte = Zeroizing::new([0]);
        match platform::read(byte.as_mut()) {
            Ok(0) => return Err(interrupted()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Failure::refused(format!(
                    "the terminal could not be read: {error}"
                )));
            }
        }
        if line.take_in(byte[0], most)? {
            return Ok(line.0);
        }
    }
}

/// A line that is being typed.
struct Line(Zeroizing<Vec<u8>>);

impl Line {
    /// Whether the line is complete.
    fn take_in(&mut self, byte: u8, most: usize) -> Result<bool, Failure> {
        match byte {
            b'\n' | b'\r' => return Ok(true),
            CTRL_C => return Err(interrupted()),
            CTRL_D if self.0.is_empty() => return Err(interrupted()),
            BACKSPACE | DELETE => self.drop_character(),
            CTRL_U => self.0.clear(),
            // Dropped silently it would make another secret than the one that was typed.
            byte if byte.is_ascii_control() && byte != b'\t' => {
                return Err(Failure::refused(
                    "the terminal sent a control character, such as an arrow key's; nothing was \
                     done, try again or give a file with --file",
                ));
            }
            _ if self.0.len() == most => {
                return Err(Failure::refused(format!(
                    "the line has more than {most} bytes; nothing was done, give a file with --file"
                )));
            }
            byte => self.0.push(byte),
        }
        Ok(false)
    }

    /// The last character, of however many bytes.
    fn drop_character(&mut self) {
        while let Some(byte) = self.0.pop() {
            if byte & 0b1100_0000 != 0b1000_0000 {
                break;
            }
        }
    }
}

fn interrupted() -> Failure {
    Failure::refused("interrupted; nothing was done")
}

const LONGEST_LINE: usize = 4 * 1024;
const LONGEST_SECRET: usize = 64 * 1024;
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const BACKSPACE: u8 = 8;
const CTRL_U: u8 = 21;
const DELETE: u8 = 127;

#[cfg(unix)]
mod platform {
    use std::io;

    use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};

    use super::Failure;

    /// Reads from standard input, past the buffer of the standard library.
    pub(super) fn read(into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(rustix::stdio::stdin(), into)?)
    }

    /// Does what reads a line, while the terminal shows nothing and hands over each key at once:
    /// also ctrl-c, so that nothing ends the process while nothing is shown.
    pub(super) fn unseen<T>(read: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let failed = |error: rustix::io::Errno| {
            Failure::refused(format!(
                "the terminal would show what is typed ({error}); nothing was asked, give a file \
                 with --file"
            ))
        };
        let before = rustix::termios::tcgetattr(rustix::stdio::stdin()).map_err(failed)?;
        let mut unseen = before.clone();
        unseen
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        unseen.special_codes[SpecialCodeIndex::VMIN] = 1;
        unseen.special_codes[SpecialCodeIndex::VTIME] = 0;
        rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &unseen)
            .map_err(failed)?;
        let _restore = Restore(before);
        read()
    }

    struct Restore(Termios);

    impl Drop for Restore {
        fn drop(&mut self) {
            // A terminal that is gone needs nothing.
            let stdin = rustix::stdio::stdin();
            let _ = rustix::termios::tcsetattr(stdin, OptionalActions::Drain, &self.0);
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::io::{self, Read as _};

    use super::Failure;

    pub(super) fn read(into: &mut [u8]) -> io::Result<usize> {
        io::stdin().read(into)
    }

    pub(super) fn unseen<T>(_: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        Err(Failure::refused(
            "nothing can be typed unseen on this system; give a file with --file",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let mut line = Line(Zeroizing::new(Vec::new()));
        for key in keys {
            if line.take_in(*key, 8)? {
                return Ok(Some(line.0.to_vec()));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_line_is_edited_by_whole_characters() {
        assert_eq!(typed(b"ab\tc\n").unwrap().unwrap(), b"ab\tc");
        assert_eq!(typed("aé\x7fb\r".as_bytes()).unwrap().unwrap(), b"ab");
        assert_eq!(typed(b"\x08ab\x15c\n").unwrap().unwrap(), b"c");
        assert_eq!(typed(b"ab").unwrap(), None);
        assert_eq!(typed(b"12345678\n").unwrap().unwrap(), b"12345678");
    }

    #[test]
    fn what_is_no_text_is_refused_and_never_dropped() {
        for keys in [&b"ab\x1b[A"[..], b"ab\x03", b"\x04", b"123456789"] {
            let failure = typed(keys).unwrap_err();
            let said = format!("{failure:?}");
            assert!(said.contains("nothing was done"), "{said}");
            assert!(!said.contains("ab") && !said.contains("12345"), "{said}");
        }
    }
}
