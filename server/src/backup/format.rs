//! The bytes of a backup, as `server/FORMAT.md` has them: magic, version, head, archive, signature, end.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use holdfast_proto::log::v1::{BackupBody, BackupHeader, BackupSignature};
use holdfast_seal::{
    Lineage, OsRandom, StreamOpener, StreamSealer,
    stream::{Reader, StreamError, Unlock},
};
use prost::Message as _;

use super::{
    BackupError,
    signature::{self, Signer, Trust},
};

const MAGIC: &[u8; 8] = b"HOLDBKUP";
const END: &[u8; 8] = b"BKUPDONE";
const VERSION: u32 = 1;
/// Longest head and longest signature.
const MOST_BYTES: u32 = 64 * 1024;
/// Magic, version, length of the head.
const START_BYTES: u64 = 16;
/// Length of the signature, end mark.
const END_BYTES: u64 = 12;

/// With what a backup's body is opened.
#[derive(Debug)]
pub enum Lock<'a> {
    /// With nothing: only one that is not sealed can be read.
    None,
    /// With a key.
    Key(Unlock<'a>),
}

/// Writes a backup into `file`: the head, what `archive` writes, the signature. The file is synced.
pub(crate) fn write(
    path: &Path,
    file: File,
    mut header: BackupHeader,
    readers: &[Reader<'_>],
    signer: &Signer,
    archive: impl FnOnce(&mut dyn Write) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let failed = |error| BackupError::io(path, "written", error);
    header.set_body(match readers {
        [] => BackupBody::Plain,
        _ => BackupBody::Sealed,
    });
    let head = header.encode_to_vec();
    let mut to = Hashed::new(BufWriter::with_capacity(256 * 1024, file));
    let mut start = || -> io::Result<()> {
        to.write_all(MAGIC)?;
        to.write_all(&VERSION.to_be_bytes())?;
        to.write_all(
            &u32::try_from(head.len())
                .map_err(io::Error::other)?
                .to_be_bytes(),
        )?;
        to.write_all(&head)
    };
    start().map_err(failed)?;
    if readers.is_empty() {
        archive(&mut to)?;
    } else {
        let lineage = Lineage::new(&header.lineage);
        let bound = bound_to(&head);
        let mut stream =
            StreamSealer::new(&mut OsRandom, &mut to, lineage.as_ref(), &bound, readers)
                .map_err(failed)?;
        archive(&mut stream)?;
        stream.finish().map_err(failed)?;
    }
    let signature = signer
        .sign(to.hasher.finalize().as_bytes())
        .map_err(|why| failed(io::Error::other(why)))?
        .encode_to_vec();
    let mut to = to.to;
    let finish = || -> io::Result<()> {
        to.write_all(&signature)?;
        let length = u32::try_from(signature.len()).map_err(io::Error::other)?;
        to.write_all(&length.to_be_bytes())?;
        to.write_all(END)?;
        to.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()
    };
    finish().map_err(failed)
}

/// A backup that is being read. Nothing in it is to be believed before [`BackupReader::check`].
pub struct BackupReader {
    path: PathBuf,
    file: File,
    bytes: u64,
    header: BackupHeader,
    /// The head as it stands in the file: what the body is bound to.
    head: Vec<u8>,
}

impl BackupReader {
    /// Opens a file and reads its head.
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let failed = |error| BackupError::io(path, "read", error);
        let mut file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let mut start = [0; START_BYTES as usize];
        let not_ours = || BackupError::NotABackup {
            path: path.to_owned(),
        };
        let cut_off = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::CutOff {
                path: path.to_owned(),
            },
            _ => failed(error),
        };
        let begun = bytes.min(MAGIC.len() as u64) as usize;
        file.read_exact(&mut start[..begun]).map_err(cut_off)?;
        if start[..begun] != MAGIC[..begun] || begun == 0 {
            return Err(not_ours());
        }
        file.read_exact(&mut start[begun..]).map_err(cut_off)?;
        let number = |at: usize| {
            start[at..at + 4]
                .iter()
                .fold(0, |number, byte| number << 8 | u32::from(*byte))
        };
        let (found, length) = (number(8), number(12));
        if found > VERSION {
            return Err(BackupError::Newer {
                path: path.to_owned(),
                found,
                supported: VERSION,
            });
        }
        if found == 0 || length > MOST_BYTES {
            return Err(BackupError::damaged(path, "its head makes no sense"));
        }
        let mut head = vec![0; length as usize];
        file.read_exact(&mut head).map_err(cut_off)?;
        let header = BackupHeader::decode(&head[..])
            .map_err(|_| BackupError::damaged(path, "its head cannot be read"))?;
        if header.state_hash.len() != 32 || header.body() == BackupBody::Unspecified {
            return Err(BackupError::damaged(path, "its head is not complete"));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
            header,
            head,
        })
    }

    /// What it says of itself.
    pub fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// Whether it takes a key to read its body.
    pub fn is_sealed(&self) -> bool {
        self.header.body() == BackupBody::Sealed
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long the file is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads every byte and checks the signature over them.
    pub fn check(&mut self, trust: &Trust) -> Result<(), BackupError> {
        let (signature, end) = self.signature()?;
        let failed = |error| BackupError::io(&self.path, "read", error);
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        let mut whole = BufReader::with_capacity(256 * 1024, &self.file).take(end);
        let read = io::copy(&mut whole, &mut hasher).map_err(failed)?;
        if read != end {
            return Err(self.cut_off());
        }
        let digest = *hasher.finalize().as_bytes();
        signature::verify(&signature, &digest, &self.header, trust).map_err(|why| {
            BackupError::Signature {
                path: self.path.clone(),
                why: why.to_owned(),
            }
        })
    }

    /// The archive in it, opened.
    pub fn archive(self, lock: &Lock<'_>) -> Result<Box<dyn Read + Send>, BackupError> {
        let (_, end) = self.signature()?;
        let failed = |error| BackupError::io(&self.path, "opened", error);
        let start = START_BYTES + self.head.len() as u64;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(start)).map_err(failed)?;
        let length = end.checked_sub(start).ok_or_else(|| self.cut_off())?;
        let sealed = self.header.body() == BackupBody::Sealed;
        let (path, head) = (self.path, self.head);
        let body = BufReader::with_capacity(256 * 1024, self.file).take(length);
        match lock {
            _ if !sealed => Ok(Box::new(body)),
            Lock::None => Err(BackupError::Sealed { path }),
            Lock::Key(unlock) => {
                let opened = StreamOpener::new(body, &bound_to(&head), unlock);
                let opened = opened.map_err(|error| not_opened(path, error))?;
                Ok(Box::new(opened))
            }
        }
    }

    /// The signature, and where it begins.
    fn signature(&self) -> Result<(BackupSignature, u64), BackupError> {
        let failed = |error| BackupError::io(&self.path, "read", error);
        let mut file = &self.file;
        let last = self
            .bytes
            .checked_sub(END_BYTES)
            .ok_or_else(|| self.cut_off())?;
        file.seek(SeekFrom::Start(last)).map_err(failed)?;
        let mut end = [0; END_BYTES as usize];
        file.read_exact(&mut end).map_err(failed)?;
        let (length, mark) = end.split_at(4);
        if mark != END {
            return Err(self.cut_off());
        }
        let length = length
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte));
        let start = START_BYTES + self.head.len() as u64;
        let begins = last
            .checked_sub(u64::from(length))
            .filter(|begins| length <= MOST_BYTES && *begins >= start)
            .ok_or_else(|| BackupError::damaged(&self.path, "its signature makes no sense"))?;
        file.seek(SeekFrom::Start(begins)).map_err(failed)?;
        let mut signature = vec![0; length as usize];
        file.read_exact(&mut signature).map_err(failed)?;
        let signature = BackupSignature::decode(&signature[..])
            .map_err(|_| BackupError::damaged(&self.path, "its signature cannot be read"))?;
        Ok((signature, begins))
    }

    fn cut_off(&self) -> BackupError {
        BackupError::CutOff {
            path: self.path.clone(),
        }
    }
}

/// Its signature was checked, so that what does not open was not changed: it is for others.
fn not_opened(path: PathBuf, error: io::Error) -> BackupError {
    let why = error.get_ref().and_then(|why| why.downcast_ref());
    match why {
        Some(StreamError::FileKey | StreamError::NotForThisKey { .. }) => {
            BackupError::OtherKey { path }
        }
        _ => BackupError::io(&path, "opened", error),
    }
}

fn bound_to(head: &[u8]) -> Vec<u8> {
    [b"holdfast backup 1\n".as_slice(), head].concat()
}

/// Writes on, and hashes what it writes.
struct Hashed<W> {
    to: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Hashed<W> {
    fn new(to: W) -> Self {
        Self {
            to,
            hasher: blake3::Hasher::new(),
        }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
