//! Everything that reads bytes from outside, fed with the seeds in `corpus/`, with damaged seeds and
//! with junk: no panic, and nothing opens but what was sealed.
//!
//! Each target takes any bytes, so it can be handed to a fuzzer as it is. `HOLDFAST_WRITE_CORPUS=1`
//! writes the good seeds anew.

#![allow(clippy::disallowed_methods, reason = "seeds are files")]

use std::path::PathBuf;
use std::sync::LazyLock;

use holdfast_seal::stream::Unlock as StreamUnlock;
use holdfast_seal::{
    Keyring, NodeKey, PassphraseCost, Protector, PublicKey, RecoveryKey, Share, Split,
    StreamOpener, envelope,
};
use proptest::prelude::*;

use crate::fixture::{Cluster, MEMBER, Record, Seeded, at, damage, epoch};
use crate::{node_keys, streams};

/// A seed and its name.
type Named = (&'static str, Vec<u8>);

/// A parser, and the seeds that are known to be good.
struct Target {
    name: &'static str,
    /// Whether the bytes were taken for good.
    run: fn(&[u8]) -> bool,
    good: fn() -> Vec<Named>,
}

const TARGETS: [Target; 6] = [
    Target {
        name: "share",
        run: share,
        good: shares,
    },
    Target {
        name: "payload",
        run: payload,
        good: payloads,
    },
    Target {
        name: "wrap",
        run: wrap,
        good: wraps,
    },
    Target {
        name: "epoch",
        run: epoch_record,
        good: epoch_records,
    },
    Target {
        name: "node-key",
        run: node_key,
        good: node_key_files,
    },
    Target {
        name: "stream",
        run: stream,
        good: sealed_streams,
    },
];

/// The good seeds of each target. They take a while to make.
static GOOD: LazyLock<Vec<Vec<Named>>> =
    LazyLock::new(|| TARGETS.iter().map(|target| (target.good)()).collect());

/// A cluster of two epochs, whose keys are the seeds'.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::new(1, 2));

const PLAINTEXT: &[u8] = b"correct horse battery staple";

#[test]
fn seeds_that_are_good_open_and_the_others_are_refused() {
    let all: Vec<_> = TARGETS
        .iter()
        .map(|target| (target, seeds(target)))
        .collect();
    for (target, seeds) in all {
        let good = seeds
            .iter()
            .filter(|seed| (target.run)(&seed.bytes))
            .count();
        for seed in &seeds {
            let taken = (target.run)(&seed.bytes);
            assert_eq!(taken, seed.is_good, "{}: {}", target.name, seed.file);
        }
        assert!(good >= 1 && good < seeds.len(), "{}: {good}", target.name);
    }
}

#[test]
fn the_formats_of_today_are_those_of_the_seeds() {
    // What this program seals with the seeds' chance is what is on disk, to the byte.
    for (target, good) in TARGETS.iter().zip(&*GOOD) {
        for (name, bytes) in good {
            let path = folder(target.name).join(format!("good-{name}"));
            let stored = std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            assert!(stored == *bytes, "{path:?} was written in another format");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_seeds_are_refused(
        target in 0..TARGETS.len(),
        which: prop::sample::Index,
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let (target, seeds) = (&TARGETS[target], &GOOD[target]);
        let (name, original) = &seeds[which.index(seeds.len())];
        let mut bytes = original.clone();
        for damage in damages {
            if !bytes.is_empty() {
                bytes = damage.apply(&bytes);
            }
        }
        // Text may be typed in more ways than one.
        if target.name == "share" {
            (target.run)(&bytes);
        } else if bytes != *original {
            prop_assert!(!(target.run)(&bytes), "{}: {}", target.name, name);
        }
    }

    #[test]
    fn junk_is_refused_by_all(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        for target in TARGETS {
            prop_assert!(!(target.run)(&bytes), "{}", target.name);
        }
    }
}

/// Any text, as somebody may type it.
fn share(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let Ok(share) = Share::parse(text) else {
        return false;
    };
    // What was taken is written in one way only, and read back the same.
    let written = share.to_text();
    let again = Share::parse(written.expose_text().unwrap()).unwrap();
    assert_eq!(again.to_text().expose(), written.expose());
    true
}

/// The payload of an envelope whose wrap is good.
fn payload(data: &[u8]) -> bool {
    let cluster = &*CLUSTER;
    let good = sealed(cluster);
    opens(envelope::open(
        &cluster.keyring,
        &at(b"app/k", 1),
        data,
        &good.wrap,
    ))
}

/// The wrap of an envelope whose payload is good.
fn wrap(data: &[u8]) -> bool {
    let cluster = &*CLUSTER;
    let good = sealed(cluster);
    let _ = envelope::epoch_of_wrap(data);
    opens(envelope::open(
        &cluster.keyring,
        &at(b"app/k", 1),
        &good.payload,
        data,
    ))
}

/// A wrap of an epoch's key, a sealed previous key, or a public key.
fn epoch_record(data: &[u8]) -> bool {
    let cluster = &*CLUSTER;
    let [first, second] = &cluster.records[..] else {
        unreachable!()
    };
    let opened = cluster
        .node
        .open_epoch(&cluster.lineage, epoch(2), MEMBER, data, &second.check);
    let newest = cluster
        .node
        .open_epoch(
            &cluster.lineage,
            epoch(2),
            MEMBER,
            &second.wrap,
            &second.check,
        )
        .unwrap();
    let chained = Record {
        epoch: second.epoch,
        check: second.check,
        sealed_previous: data.to_vec(),
        wrap: Vec::new(),
    };
    let chained = Keyring::open(newest, [first.as_record(), chained.as_record()]);
    let public = PublicKey::from_bytes(data).is_ok_and(|key| key == *cluster.node.public());
    opened.is_ok() || chained.is_ok() || public
}

/// The file of a node key.
fn node_key(data: &[u8]) -> bool {
    let Ok(kind) = NodeKey::protector_of(data) else {
        return false;
    };
    // A header may ask for a gigabyte and a minute, which is for its owner to say.
    let cost = PassphraseCost::LEAST;
    let cost: Vec<u8> = [cost.memory_kib, cost.passes, cost.lanes]
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect();
    if kind == Protector::Passphrase && data.get(42..54).is_some_and(|told| told != cost) {
        return false;
    }
    let secret = node_keys::secret(kind);
    match NodeKey::open(data, &node_keys::unlock(kind, &secret)) {
        Ok(key) => {
            assert_eq!(key.public(), node_keys::key().public());
            true
        }
        Err(_) => false,
    }
}

/// A sealed stream, for a key of its own and for a keyring.
fn stream(data: &[u8]) -> bool {
    let cluster = &*CLUSTER;
    let unlock = StreamUnlock::Keyring(&cluster.keyring);
    let _ = StreamOpener::new(data, b"test", &unlock).map(|_| ());
    match streams::open(data) {
        Ok(text) => {
            assert!(text == PLAINTEXT || text.is_empty() || text == vec![7; 70_000]);
            true
        }
        Err(_) => false,
    }
}

fn opens(opened: Result<holdfast_seal::SecretBytes, holdfast_seal::OpenError>) -> bool {
    match opened {
        Ok(plaintext) => {
            assert_eq!(plaintext.expose(), PLAINTEXT);
            true
        }
        Err(_) => false,
    }
}

fn sealed(cluster: &Cluster) -> envelope::Sealed {
    let (mut random, key) = (Seeded::new(2), cluster.keyring.key(epoch(1)).unwrap());
    envelope::seal(&mut random, key, &at(b"app/k", 1), PLAINTEXT).unwrap()
}

fn shares() -> Vec<Named> {
    let (_, shares) = RecoveryKey::split_new(&mut Seeded::new(3), Split::new(3, 2).unwrap());
    let (_, alone) = RecoveryKey::split_new(&mut Seeded::new(4), Split::new(1, 1).unwrap());
    vec![
        ("first", shares[0].to_text().into_exposed()),
        ("last", shares[2].to_text().into_exposed()),
        ("alone", alone[0].to_text().into_exposed()),
    ]
}

fn payloads() -> Vec<Named> {
    vec![("payload", sealed(&CLUSTER).payload)]
}

fn wraps() -> Vec<Named> {
    vec![("wrap", sealed(&CLUSTER).wrap)]
}

fn epoch_records() -> Vec<Named> {
    let cluster = &*CLUSTER;
    vec![
        ("wrap", cluster.records[1].wrap.clone()),
        ("previous", cluster.records[1].sealed_previous.clone()),
        ("public", cluster.node.public().as_bytes().to_vec()),
    ]
}

fn node_key_files() -> Vec<Named> {
    Protector::ALL
        .map(|kind| (kind.name(), node_keys::file(kind).expose().to_vec()))
        .to_vec()
}

fn sealed_streams() -> Vec<Named> {
    vec![
        ("short", streams::seal(PLAINTEXT)),
        ("empty", streams::seal(b"")),
        ("two-chunks", streams::seal(&[7; 70_000])),
    ]
}

struct Seed {
    file: String,
    bytes: Vec<u8>,
    is_good: bool,
}

/// What is in the corpus: `good-…` opens, `bad-…` does not.
fn seeds(target: &Target) -> Vec<Seed> {
    let folder = folder(target.name);
    if std::env::var_os("HOLDFAST_WRITE_CORPUS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in (target.good)() {
            std::fs::write(folder.join(format!("good-{name}")), bytes).unwrap();
        }
    }
    let mut seeds: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{folder:?}: {error}"))
        .map(|entry| entry.unwrap().path())
        .map(|path| Seed {
            file: path.file_name().unwrap().to_string_lossy().into_owned(),
            bytes: std::fs::read(&path).unwrap(),
            is_good: path
                .file_name()
                .unwrap()
                .as_encoded_bytes()
                .starts_with(b"good-"),
        })
        .collect();
    seeds.sort_by(|one, other| one.file.cmp(&other.file));
    seeds
}

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target)
}
