//! The bytes of a cache, as `client/sdk/FORMAT.md` has them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use holdfast_proto::{cache::v1 as wire, v1};
use holdfast_seal::{
    OsRandom, StreamOpener, StreamSealer, SymmetricKey,
    stream::{Reader, Unlock},
};
use prost::Message;
use zeroize::Zeroizing;

use super::{Cache, CacheError, Saved};
use crate::{
    Entry, MirrorView, Secret,
    mirror::{Kept, Secrets},
};

/// Longest record: an entry with the largest value, and more.
const RECORD_BYTES: usize = 4 << 20;

/// The file's name, off which nobody reads what it is for.
pub(super) fn name(cluster: &str, prefix: &str) -> String {
    let purpose = "holdfast-client 2026-11 names of caches";
    let digest = SymmetricKey::of_secret(purpose, &binding(cluster, prefix));
    let short = digest
        .expose()
        .first_chunk()
        .map(|bytes| u64::from_be_bytes(*bytes));
    format!("{:016x}.cache", short.unwrap_or_default())
}

pub(super) fn binding(cluster: &str, prefix: &str) -> Vec<u8> {
    let length = |text: &str| (text.len() as u64).to_be_bytes();
    [
        b"holdfast config cache 1\n".as_slice(),
        &length(cluster),
        cluster.as_bytes(),
        &length(prefix),
        prefix.as_bytes(),
    ]
    .concat()
}

pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

pub(super) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl Cache {
    /// What was kept, if it is whole, for this client, and the newest.
    pub(crate) fn load(&self) -> Result<Saved, CacheError> {
        let saved = self.load_newest();
        let serial = saved.as_ref().map_or(0, |saved| saved.serial);
        let marked = self.mark().map_or(0, |mark| mark.serial);
        self.newest.fetch_max(serial.max(marked), Ordering::Relaxed);
        saved
    }

    /// The serial of the newest file that is known of, once it was tried to load one; 0: there is none.
    pub(crate) fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    fn load_newest(&self) -> Result<Saved, CacheError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(CacheError::Missing);
            }
            Err(source) => return Err(self.io("read", source)),
        };
        let mut saved = self.read(file).map_err(|error| self.damaged(&error))?;
        let mark = self.mark()?;
        if saved.serial < mark.serial {
            return Err(CacheError::RolledBack {
                path: self.path.clone(),
                found: saved.serial,
                newest: mark.serial,
            });
        }
        if saved.serial == mark.serial {
            saved.confirmed_at = at(mark.confirmed_at_ms);
            saved.view = saved.view.still_at(mark.revision);
        }
        Ok(saved)
    }

    /// Puts a file in the place of the one before, then the mark.
    pub(crate) fn save(&self, saved: &Saved) -> Result<(), CacheError> {
        replace(&self.path, |file| self.write(file, saved))
            .map_err(|source| self.io("written", source))?;
        self.set_mark(saved.serial, saved.view.revision(), saved.confirmed_at)
    }

    /// Says that what is in the newest file was still so at a revision, and current at a time.
    pub(crate) fn set_mark(
        &self,
        serial: u64,
        revision: u64,
        at: SystemTime,
    ) -> Result<(), CacheError> {
        let mark = wire::Mark {
            serial,
            revision,
            confirmed_at_ms: millis(at),
        };
        replace(&self.mark_path(), |file| {
            let mut stream = self.sealer(file, b"mark")?;
            record(&mut stream, &mark)?;
            stream.finish().map(drop)
        })
        .map_err(|source| self.io("marked", source))
    }

    fn mark(&self) -> Result<wire::Mark, CacheError> {
        let path = self.mark_path();
        let read = || {
            let file = BufReader::new(File::open(&path)?);
            let mut stream = self.opener(file, b"mark")?;
            let mark = next(&mut stream)?;
            ended(&mut stream)?;
            Ok(mark)
        };
        read().map_err(|error: io::Error| CacheError::Damaged {
            path: path.clone(),
            why: error.to_string(),
        })
    }

    fn write(&self, file: &mut File, saved: &Saved) -> io::Result<()> {
        let mut stream = self.sealer(file, b"cache")?;
        let head = wire::Head {
            serial: saved.serial,
            revision: saved.view.revision(),
            confirmed_at_ms: millis(saved.confirmed_at),
            endpoints: saved.endpoints.clone(),
            administrators: saved.administrators.clone(),
            entries: saved.view.len() as u64,
            secrets: saved.secrets.len() as u64,
            changed: saved.view.changed(),
        };
        record(&mut stream, &head)?;
        for entry in saved.view.iter() {
            record(&mut stream, &entry.to_wire())?;
        }
        for kept in saved.secrets.values() {
            let plaintext = kept.secret.expose();
            let head = wire::SecretHead {
                key: kept.entry.key.to_bytes(),
                revision: kept.entry.modified.get(),
                length: u32::try_from(plaintext.len()).map_err(io::Error::other)?,
            };
            record(&mut stream, &head)?;
            stream.write_all(plaintext)?;
        }
        stream.finish().map(drop)
    }

    fn read(&self, file: File) -> io::Result<Saved> {
        let mut stream = self.opener(BufReader::new(file), b"cache")?;
        let head: wire::Head = next(&mut stream)?;
        let mut entries = Vec::new();
        for _ in 0..head.entries {
            let entry: v1::Entry = next(&mut stream)?;
            let entry = Entry::from_wire(entry).map_err(|_| odd("an entry cannot be read"))?;
            entries.push(Arc::new(entry));
        }
        let changed = match head.changed {
            0 => head.revision,
            changed if changed <= head.revision => changed,
            _ => return Err(odd("it changed after it was so")),
        };
        let view = MirrorView::of(entries, changed..=head.revision);
        let mut secrets = Secrets::default();
        for _ in 0..head.secrets {
            let head: wire::SecretHead = next(&mut stream)?;
            let mut plaintext = Zeroizing::new(vec![0; bounded(head.length)?]);
            stream.read_exact(&mut plaintext)?;
            let entry = view.get(&head.key).cloned();
            let entry = entry.filter(|entry| entry.modified.get() == head.revision);
            let entry = entry.ok_or_else(|| odd("a secret belongs to no entry"))?;
            let kept = Kept {
                secret: Secret::from(plaintext),
                entry: Arc::clone(&entry),
            };
            secrets.insert(entry.key.clone(), Arc::new(kept));
        }
        ended(&mut stream)?;
        Ok(Saved {
            serial: head.serial,
            view,
            secrets,
            confirmed_at: at(head.confirmed_at_ms),
            endpoints: head.endpoints,
            administrators: head.administrators,
        })
    }

    fn sealer<'a>(
        &self,
        file: &'a mut File,
        what: &[u8],
    ) -> io::Result<StreamSealer<&'a mut File>> {
        let bound_to = [&self.bound_to, what].concat();
        StreamSealer::new(
            &mut OsRandom,
            file,
            None,
            &bound_to,
            &[Reader::Key(&self.key)],
        )
    }

    fn opener<R: Read>(&self, from: R, what: &[u8]) -> io::Result<StreamOpener<R>> {
        let bound_to = [&self.bound_to, what].concat();
        StreamOpener::new(from, &bound_to, &Unlock::Key(&self.key))
    }

    fn mark_path(&self) -> PathBuf {
        self.path.with_extension("mark")
    }

    fn damaged(&self, error: &io::Error) -> CacheError {
        CacheError::Damaged {
            path: self.path.clone(),
            why: error.to_string(),
        }
    }

    fn io(&self, action: &'static str, source: io::Error) -> CacheError {
        CacheError::Io {
            path: self.path.clone(),
            action,
            source,
        }
    }
}

/// Writes a new file and puts it in the place of the one before. Synced before it has its name, so that
/// a loss of power leaves one of the two, whole.
fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push("-new");
    let mut file = create_private(Path::new(&new))?;
    file.set_len(0)?;
    write(&mut file)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Four bytes of length, then the message.
fn record(to: &mut impl Write, message: &impl Message) -> io::Result<()> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(&bytes)
}

fn next<M: Message + Default>(from: &mut impl Read) -> io::Result<M> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut bytes = vec![0; bounded(u32::from_be_bytes(length))?];
    from.read_exact(&mut bytes)?;
    M::decode(&bytes[..]).map_err(|_| odd("a record cannot be read"))
}

fn bounded(length: u32) -> io::Result<usize> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    match length <= RECORD_BYTES {
        true => Ok(length),
        false => Err(odd("a record is longer than any can be")),
    }
}

/// Only then is it known that nothing was cut off.
fn ended(from: &mut impl Read) -> io::Result<()> {
    match from.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(odd("there is more than there should be")),
    }
}

fn odd(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn at(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A head that says so, and these bytes after it, sealed as a cache is.
#[cfg(test)]
pub(super) fn sealed_for_tests(cache: &Cache, entries: u64, secrets: u64, rest: &[u8]) -> Vec<u8> {
    let path = cache.path.with_extension("nonsense");
    replace(&path, |file| {
        let mut stream = cache.sealer(file, b"cache")?;
        let head = wire::Head {
            serial: 2,
            entries,
            secrets,
            ..wire::Head::default()
        };
        record(&mut stream, &head)?;
        stream.write_all(rest)?;
        stream.finish().map(drop)
    })
    .expect("a folder of the test's");
    fs::read(path).expect("a file of the test's")
}
