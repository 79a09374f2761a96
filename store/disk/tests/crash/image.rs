//! What a power cut may leave of a recorded run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use rand::{RngExt as _, rngs::StdRng};

use crate::writer::acknowledged;

/// What becomes of writes that were not synced yet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// None of them is there.
    All,
    /// All of them are there.
    Nothing,
    /// The first few are there, and the next one is cut off at a sector.
    Tail,
    /// Any sectors are there, and the file is as long as the last of them.
    Sectors(usize),
    /// Any sectors are there, and zeros where others are not.
    Zeroed(usize),
}

impl Loss {
    pub(crate) const ALL: [Self; 7] = [
        Self::All,
        Self::Nothing,
        Self::Tail,
        Self::Sectors(512),
        Self::Sectors(4096),
        Self::Zeroed(512),
        Self::Zeroed(4096),
    ];
}

/// What a process did to its files, and what it said, in order.
pub(crate) struct Recording {
    events: Vec<Event>,
}

enum Event {
    Create(PathBuf),
    Write {
        path: PathBuf,
        offset: usize,
        data: Vec<u8>,
    },
    Truncate {
        path: PathBuf,
        length: usize,
    },
    Sync(PathBuf),
    Remove(PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Say(String),
}

impl Recording {
    /// Reads a trace; paths become relative to `dir`.
    pub(crate) fn read(dir: &Path, trace: &Path) -> Self {
        let bytes = fs::read(trace).unwrap();
        let mut rest = &bytes[..];
        let mut events = Vec::new();
        while !rest.is_empty() {
            let kind = take(&mut rest, 1)[0];
            let offset = u64::from_le_bytes(take(&mut rest, 8).try_into().unwrap()) as usize;
            let length = u32::from_le_bytes(take(&mut rest, 4).try_into().unwrap()) as usize;
            let name = u16::from_le_bytes(take(&mut rest, 2).try_into().unwrap()) as usize;
            let path = relative(dir, take(&mut rest, name));
            let data = take(&mut rest, length).to_vec();
            events.push(match kind {
                b'C' => Event::Create(path),
                b'W' => Event::Write { path, offset, data },
                b'T' => Event::Truncate {
                    path,
                    length: offset,
                },
                b'S' => Event::Sync(path),
                b'U' => Event::Remove(path),
                b'R' => Event::Rename {
                    from: path,
                    to: relative(dir, &data),
                },
                b'A' => Event::Say(String::from_utf8(data).unwrap()),
                other => panic!("{other} is no event"),
            });
        }
        Self { events }
    }

    pub(crate) fn events(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn syncs(&self) -> usize {
        self.events
            .iter()
            .filter(|event| matches!(event, Event::Sync(_)))
            .count()
    }

    /// Writes into `to` what a cut before event `moment` may leave, and gives the newest entry that
    /// was acknowledged by then.
    pub(crate) fn image(
        &self,
        moment: usize,
        loss: Loss,
        chance: &mut StdRng,
        to: &Path,
    ) -> Option<u64> {
        let mut disk = Disk::default();
        let mut newest = None;
        for event in &self.events[..moment] {
            if let Event::Say(text) = event {
                newest = newest.max(text.lines().filter_map(acknowledged).max());
            }
            disk.see(event);
        }
        disk.cut(loss, chance, to);
        newest
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(length);
    *rest = left;
    taken
}

fn relative(dir: &Path, path: &[u8]) -> PathBuf {
    let path = Path::new(std::str::from_utf8(path).unwrap());
    path.strip_prefix(dir).unwrap_or(path).to_owned()
}

/// Names and files, each as it is and as it is certain to be after a cut.
#[derive(Default)]
struct Disk {
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
}

#[derive(Default)]
struct File {
    synced: Vec<u8>,
    since: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Truncate(usize),
}

impl Disk {
    fn see(&mut self, event: &Event) {
        match event {
            Event::Create(path) => {
                self.files.push(File::default());
                self.names.insert(path.clone(), self.files.len() - 1);
            }
            Event::Write { path, offset, data } => {
                let change = Change::Write {
                    offset: *offset,
                    data: data.clone(),
                };
                self.file(path).since.push(change);
            }
            Event::Truncate { path, length } => {
                self.file(path).since.push(Change::Truncate(*length));
            }
            Event::Sync(path) => match self.names.get(path) {
                Some(&file) => self.files[file].sync(),
                None => self.sync_folder(path),
            },
            Event::Remove(path) => {
                self.names.remove(path);
            }
            Event::Rename { from, to } => {
                let file = self.names.remove(from).unwrap();
                self.names.insert(to.clone(), file);
            }
            Event::Say(_) => {}
        }
    }

    fn file(&mut self, path: &Path) -> &mut File {
        let file = self
            .names
            .get(path)
            .unwrap_or_else(|| panic!("{} was not made", path.display()));
        &mut self.files[*file]
    }

    fn sync_folder(&mut self, folder: &Path) {
        let inside = |path: &PathBuf| path.parent() == Some(folder);
        self.synced_names.retain(|path, _| !inside(path));
        let now = self.names.iter().filter(|(path, _)| inside(path));
        self.synced_names
            .extend(now.map(|(path, file)| (path.clone(), *file)));
    }

    fn cut(&self, loss: Loss, chance: &mut StdRng, to: &Path) {
        let paths: BTreeSet<_> = self.names.keys().chain(self.synced_names.keys()).collect();
        for path in paths {
            let names = if chance.random() {
                &self.names
            } else {
                &self.synced_names
            };
            let Some(&file) = names.get(path) else {
                continue;
            };
            let target = to.join(path);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::write(target, self.files[file].after(loss, chance)).unwrap();
        }
    }
}

impl File {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.since) {
            change.apply(&mut self.synced);
        }
    }

    fn after(&self, loss: Loss, chance: &mut StdRng) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        match loss {
            Loss::All => {}
            Loss::Nothing => self
                .since
                .iter()
                .cloned()
                .for_each(|change| change.apply(&mut bytes)),
            Loss::Tail => {
                let whole = chance.random_range(0..=self.since.len());
                for change in self.since.iter().take(whole).cloned() {
                    change.apply(&mut bytes);
                }
                if let Some(Change::Write { offset, data }) = self.since.get(whole) {
                    let cut = (offset + chance.random_range(0..=data.len())) / 512 * 512;
                    let data = data[..cut.saturating_sub(*offset)].to_vec();
                    Change::Write {
                        offset: *offset,
                        data,
                    }
                    .apply(&mut bytes);
                }
            }
            Loss::Sectors(size) => self.scatter(size, &mut bytes, chance),
            Loss::Zeroed(size) => {
                self.scatter(size, &mut bytes, chance);
                let mut whole = self.synced.clone();
                self.since
                    .iter()
                    .cloned()
                    .for_each(|change| change.apply(&mut whole));
                bytes.resize(whole.len(), 0);
            }
        }
        bytes
    }

    /// Each sector that was written since the sync is there or not, whichever came first.
    fn scatter(&self, size: usize, bytes: &mut Vec<u8>, chance: &mut StdRng) {
        for change in &self.since {
            match change {
                Change::Truncate(length) if chance.random() => bytes.truncate(*length),
                Change::Truncate(_) => {}
                Change::Write { offset, data } => {
                    let mut at = *offset;
                    while at < offset + data.len() {
                        let end = (at / size * size + size).min(offset + data.len());
                        if chance.random() {
                            let data = data[at - offset..end - offset].to_vec();
                            Change::Write { offset: at, data }.apply(bytes);
                        }
                        at = end;
                    }
                }
            }
        }
    }
}

impl Change {
    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Truncate(length) => bytes.resize(length, 0),
            Self::Write { offset, data } if !data.is_empty() => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[offset..end].copy_from_slice(&data);
            }
            Self::Write { .. } => {}
        }
    }
}
