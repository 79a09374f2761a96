//! Searching for what must be nowhere.
//!
//! [`Marks`] are random and known to nobody but the test, so that wherever one is found it was
//! leaked. A [`Scanner`] searches files, folders, the argument lists and environments of processes,
//! and captured packets, for every form that a program is likely to give a secret by accident:
//! see [`forms`].

mod forms;
mod scanner;
mod witness;

pub use forms::forms;
pub use scanner::{Leak, Scanner, Searched};
pub use witness::{Capture, Processes};

use rand::RngExt as _;

/// What to search for, each by a name.
#[derive(Clone, Default)]
pub struct Marks(Vec<Mark>);

/// One of them.
#[derive(Clone)]
pub struct Mark {
    /// How it is told of: never by itself.
    pub name: String,
    /// What is searched for.
    pub bytes: Vec<u8>,
}

impl Marks {
    /// Letters and digits.
    pub fn text(&mut self, name: impl Into<String>) -> String {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut random = rand::rng();
        let bytes: Vec<u8> = (0..LENGTH)
            .map(|_| letters[random.random_range(0..letters.len())])
            .collect();
        self.known(name, &bytes);
        bytes.into_iter().map(char::from).collect()
    }

    /// Any bytes.
    pub fn bytes(&mut self, name: impl Into<String>) -> Vec<u8> {
        let bytes: [u8; LENGTH] = rand::random();
        self.known(name, &bytes);
        bytes.to_vec()
    }

    /// Random bytes of this length, with the same mark in every stretch of 4 KiB, wherever it lies
    /// between blocks.
    pub fn large(&mut self, name: impl Into<String>, length: usize) -> Vec<u8> {
        let mark = self.bytes(name);
        let mut bytes = vec![0; length];
        let mut random = rand::rng();
        random.fill(bytes.as_mut_slice());
        for stretch in bytes.chunks_exact_mut(4096) {
            let place = random.random_range(0..stretch.len() - mark.len());
            stretch[place..place + mark.len()].copy_from_slice(&mark);
        }
        bytes
    }

    /// Something that is secret already.
    pub fn known(&mut self, name: impl Into<String>, bytes: &[u8]) {
        self.0.push(Mark {
            name: name.into(),
            bytes: bytes.to_vec(),
        });
    }

    /// All of them.
    pub fn all(&self) -> &[Mark] {
        &self.0
    }
}

/// Long enough that none is there by chance, short enough to stay whole where lines are cut.
const LENGTH: usize = 24;
