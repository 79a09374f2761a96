//! What was changed in a backup, swapped or cut off is refused by name, and never used.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use holdfast_disk::{Store, StoreOptions};
use holdfast_proto::log::v1::BackupHeader;
use holdfast_seal::{
    OsRandom, RecoveryKey, Split,
    epoch::Recipient,
    stream::{Reader, Unlock},
};

use super::{
    BackupError, BackupReader, Lock, Trust, drill, folder::Folder, format, signature::Signer,
    verify,
};
use crate::identity::{CertificateAuthority, NodeKey};

const CLUSTER: &str = "00112233445566778899aabbccddeeff";
const AT_MS: u64 = 1_790_000_000_000;

fn signer(cluster: &str) -> Signer {
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(AT_MS);
    let authority = CertificateAuthority::create(cluster, now).unwrap();
    let key = NodeKey::generate().unwrap();
    let name = "n1".parse().unwrap();
    let certificate = authority
        .sign_node(&name, &key.public_key(), "127.0.0.1:7101", now)
        .unwrap();
    Signer {
        key,
        certificate,
        authority: authority.certificate().clone(),
    }
}

fn header() -> BackupHeader {
    BackupHeader {
        cluster_id: CLUSTER.to_owned(),
        cluster_name: "shop".to_owned(),
        lineage: CLUSTER.to_owned(),
        member: 1,
        member_name: "n1".to_owned(),
        index: 7,
        revision: 5,
        state_hash: Bytes::from_static(&[7; 32]),
        at_ms: AT_MS,
        scheduled: true,
        ..BackupHeader::default()
    }
}

fn body() -> Vec<u8> {
    (0..200_000_u32)
        .map(|number| (number % 251) as u8)
        .collect()
}

fn write(path: &Path, signer: &Signer, readers: &[Reader<'_>]) {
    let file = fs::File::create(path).unwrap();
    let body = body();
    format::write(path, file, header(), readers, signer, |to| {
        to.write_all(&body)
            .map_err(|error| BackupError::io(path, "written", error))
    })
    .unwrap();
}

/// Whether the file is taken, and what is read.
fn read(path: &Path, trust: &Trust, lock: &Lock<'_>) -> Result<Vec<u8>, BackupError> {
    let mut backup = BackupReader::open(path)?;
    backup.check(trust)?;
    let mut read = Vec::new();
    backup
        .archive(lock)?
        .read_to_end(&mut read)
        .map_err(|error| BackupError::io(path, "read", error))?;
    Ok(read)
}

struct Made {
    _temp: tempfile::TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
    trust: Trust,
}

fn made() -> Made {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a.backup");
    let signer = signer(CLUSTER);
    write(&path, &signer, &[]);
    Made {
        bytes: fs::read(&path).unwrap(),
        _temp: temp,
        path,
        trust: Trust::Authority(signer.authority),
    }
}

#[test]
fn what_was_written_is_read_and_its_head_needs_no_key() {
    let made = made();
    assert_eq!(read(&made.path, &made.trust, &Lock::None).unwrap(), body());
    let backup = BackupReader::open(&made.path).unwrap();
    assert_eq!((backup.header().revision, backup.header().index), (5, 7));
    assert_eq!(backup.bytes(), made.bytes.len() as u64);
}

#[test]
fn a_bit_that_was_flipped_anywhere_is_found() {
    let made = made();
    // Every byte of the head and the signature, and some of the body.
    let places = (0..400)
        .chain((400..made.bytes.len() - 1_500).step_by(4_099))
        .chain(made.bytes.len() - 1_500..made.bytes.len());
    for place in places {
        let mut bytes = made.bytes.clone();
        bytes[place] ^= 1 << (place % 8);
        fs::write(&made.path, &bytes).unwrap();
        assert!(
            read(&made.path, &made.trust, &Lock::None).is_err(),
            "a flipped bit of byte {place} was not noticed"
        );
    }
}

#[test]
fn a_file_that_was_cut_off_or_made_longer_is_refused() {
    let made = made();
    for length in (0..300).chain((300..made.bytes.len()).step_by(3_001)) {
        fs::write(&made.path, &made.bytes[..length]).unwrap();
        let error = read(&made.path, &made.trust, &Lock::None).unwrap_err();
        assert!(
            matches!(
                error,
                BackupError::CutOff { .. } | BackupError::NotABackup { .. }
            ),
            "{length}: {error}"
        );
    }
    let longer = [&made.bytes[..], b"more"].concat();
    fs::write(&made.path, longer).unwrap();
    assert!(read(&made.path, &made.trust, &Lock::None).is_err());
}

#[test]
fn the_head_of_another_backup_and_chunks_in_another_order_are_refused() {
    let made = made();
    let mut swapped = made.bytes.clone();
    let (at, length) = (1_000, 65_536);
    let first = swapped[at..at + length].to_vec();
    swapped.copy_within(at + length..at + 2 * length, at);
    swapped[at + length..at + 2 * length].copy_from_slice(&first);
    fs::write(&made.path, &swapped).unwrap();
    let error = read(&made.path, &made.trust, &Lock::None).unwrap_err();
    assert!(
        error.to_string().contains("something was changed"),
        "{error}"
    );
    // Signed again by who made it, a sealed body still does not go with another head.
    let (key, _) = RecoveryKey::split_new(&mut OsRandom, Split::new(3, 2).unwrap());
    let reader = Reader::Holder(Recipient::Recovery, key.public());
    let signer = signer(CLUSTER);
    write(&made.path, &signer, &[reader]);
    let bytes = fs::read(&made.path).unwrap();
    let place = bytes.windows(4).position(|word| word == b"shop").unwrap();
    let mut other = bytes;
    other[place] = b'S';
    fs::write(&made.path, &other).unwrap();
    let backup = BackupReader::open(&made.path).unwrap();
    let opened = backup.archive(&Lock::Key(Unlock::Recovery(&key)));
    assert!(opened.is_err(), "a body opened under another head");
}

#[test]
fn a_backup_of_another_cluster_is_refused_where_the_cluster_is_known() {
    let made = made();
    let other = Trust::Authority(signer(CLUSTER).authority);
    let error = read(&made.path, &other, &Lock::None).unwrap_err();
    assert!(matches!(error, BackupError::Signature { .. }), "{error}");
    assert!(read(&made.path, &Trust::AsItSays, &Lock::None).is_ok());
    // A node of another cluster cannot sign for this one.
    write(&made.path, &signer("ffffffffffffffffffffffffffffffff"), &[]);
    let error = read(&made.path, &Trust::AsItSays, &Lock::None).unwrap_err();
    assert!(
        error.to_string().contains("not the node that it names"),
        "{error}"
    );
}

#[test]
fn a_sealed_backup_opens_with_enough_shares_and_says_how_many_are_missing() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a.backup");
    let signer = signer(CLUSTER);
    let trust = Trust::Authority(signer.authority.clone());
    let (key, shares) = RecoveryKey::split_new(&mut OsRandom, Split::new(5, 3).unwrap());
    write(
        &path,
        &signer,
        &[Reader::Holder(Recipient::Recovery, key.public())],
    );
    let bytes = fs::read(&path).unwrap();
    let plain = &body()[..64];
    assert!(!bytes.windows(64).any(|window| window == plain));
    assert!(matches!(
        read(&path, &trust, &Lock::None),
        Err(BackupError::Sealed { .. })
    ));
    let mut shares = shares.into_iter();
    let too_few = RecoveryKey::combine(shares.by_ref().take(2)).unwrap_err();
    assert!(too_few.to_string().contains("1 more"), "{too_few}");
    let combined = RecoveryKey::combine(shares).unwrap();
    let lock = Lock::Key(Unlock::Recovery(&combined));
    assert_eq!(read(&path, &trust, &lock).unwrap(), body());
    let (other, _) = RecoveryKey::split_new(&mut OsRandom, Split::new(3, 2).unwrap());
    let error = read(&path, &trust, &Lock::Key(Unlock::Recovery(&other))).unwrap_err();
    assert!(matches!(error, BackupError::OtherKey { .. }), "{error}");
}

#[test]
fn a_newer_format_and_a_file_of_something_else_are_refused_by_name() {
    let made = made();
    let mut newer = made.bytes.clone();
    newer[11] = 2;
    fs::write(&made.path, &newer).unwrap();
    assert!(matches!(
        BackupReader::open(&made.path),
        Err(BackupError::Newer { found: 2, .. })
    ));
    fs::write(&made.path, b"PK\x03\x04 something else").unwrap();
    assert!(matches!(
        BackupReader::open(&made.path),
        Err(BackupError::NotABackup { .. })
    ));
}

#[test]
fn no_head_however_made_takes_the_reader_down() {
    let made = made();
    // The head of a real one, with each length and each byte of its frame set to its extremes.
    for place in 0..200 {
        for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut bytes = made.bytes.clone();
            bytes[place] = byte;
            if bytes == made.bytes {
                continue;
            }
            fs::write(&made.path, &bytes).unwrap();
            assert!(read(&made.path, &made.trust, &Lock::None).is_err());
        }
    }
}

/// The folder of a node of a cluster.
fn folder(at: &Path, node: &str, cluster: &str) -> Folder {
    let folder = Folder::new(at.join("backups"), node.parse().unwrap(), cluster.into());
    folder.prepare().unwrap();
    folder
}

/// Makes one backup of no rows in it.
fn fill(folder: &Folder, at_ms: u64, index: u64, header: BackupHeader) {
    let (unpublished, file) = folder.begin(at_ms, index).unwrap();
    let head = BackupHeader { at_ms, ..header };
    format::write(&unpublished.path, file, head, &[], &signer(CLUSTER), |_| {
        Ok(())
    })
    .unwrap();
    unpublished.publish().unwrap();
}

fn names(at: &Path) -> Vec<String> {
    let entries = fs::read_dir(at.join("backups")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn so_many_are_kept_as_told_and_one_that_failed_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let folder = folder(temp.path(), "n1", CLUSTER);
    for at in 1..=5 {
        fill(&folder, AT_MS + at, at, header());
    }
    assert_eq!(folder.prune(2).unwrap(), 3);
    let (unpublished, file) = folder.begin(AT_MS + 9, 9).unwrap();
    let full = |_: &mut dyn std::io::Write| {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        Err(BackupError::io(Path::new("/a/b.new"), "written", full))
    };
    let error = format::write(
        &unpublished.path,
        file,
        header(),
        &[],
        &signer(CLUSTER),
        full,
    );
    let error = error.unwrap_err();
    let told = error.told();
    assert!(told.contains("b.new") && !told.contains("/a"), "{told}");
    drop(unpublished);
    assert_eq!(names(temp.path()).len(), 2);
    let newest = folder.list().unwrap().remove(0).path;
    assert!(newest.to_str().unwrap().ends_with("-5.backup"));
}

#[test]
fn what_was_asked_for_or_is_of_others_is_neither_counted_nor_deleted() {
    let temp = tempfile::tempdir().unwrap();
    let n1 = folder(temp.path(), "n1", CLUSTER);
    let asked_for = BackupHeader {
        scheduled: false,
        ..header()
    };
    let of_another_node = BackupHeader {
        member_name: "n2".to_owned(),
        ..header()
    };
    let of_the_cluster_before = BackupHeader {
        cluster_id: "before".to_owned(),
        ..header()
    };
    fill(&n1, AT_MS, 1, asked_for);
    fill(&n1, AT_MS, 2, of_another_node);
    fill(&n1, AT_MS, 3, of_the_cluster_before);
    for at in 4..=6 {
        fill(&n1, AT_MS + at, at, header());
    }
    assert_eq!(n1.own().unwrap().len(), 4);
    assert_eq!(n1.prune(1).unwrap(), 2);
    let kept = names(temp.path());
    let ends: Vec<_> = kept
        .iter()
        .map(|name| name.rsplit_once('-').unwrap().1)
        .collect();
    assert_eq!(ends, ["1.backup", "2.backup", "3.backup", "6.backup"]);
    assert_eq!(n1.own().unwrap()[0].header().at_ms, AT_MS + 6);
}

#[test]
fn a_node_takes_away_what_it_left_half_made_and_nothing_else() {
    let temp = tempfile::tempdir().unwrap();
    let n1 = folder(temp.path(), "n1", CLUSTER);
    let folder = temp.path().join("backups");
    for file in ["1-n1-5.new", "1-n2-5.new", "1-x-n1-y-5.new", "n1.new"] {
        fs::write(folder.join(file), "half").unwrap();
    }
    fs::create_dir(folder.join("1-n1-drillxyz.new")).unwrap();
    n1.prepare().unwrap();
    assert_eq!(
        names(temp.path()),
        ["1-n2-5.new", "1-x-n1-y-5.new", "n1.new"]
    );
    let scratch = n1.scratch(7).unwrap();
    assert!(n1.list().unwrap().is_empty());
    drop(scratch);
    assert_eq!(names(temp.path()).len(), 3);
}

#[test]
fn a_name_is_no_way_out_of_the_folder() {
    let temp = tempfile::tempdir().unwrap();
    let n1 = folder(temp.path(), "n1", CLUSTER);
    fill(&n1, AT_MS, 1, header());
    fs::write(temp.path().join("x.backup"), "").unwrap();
    fs::write(temp.path().join("backups/notes"), "").unwrap();
    let own = names(temp.path()).remove(0);
    assert!(n1.find(&own).unwrap().ends_with(&own));
    for name in ["../x.backup", "/etc/passwd", "notes", "", ".", "x.backup"] {
        let error = n1.find(name).unwrap_err();
        assert!(matches!(error, BackupError::Missing { .. }), "{name}");
    }
}

#[test]
fn rows_that_do_not_make_the_promised_state_are_refused_by_whoever_looks() {
    let temp = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(&temp.path().join("data"), StoreOptions::default()).unwrap();
    let signer = signer(CLUSTER);
    let trust = Trust::Authority(signer.authority.clone());
    let path = temp.path().join("a.backup");
    let promising = |state_hash: &[u8]| {
        let job = store.prepare_archive(Bytes::from_static(b"meta"));
        let header = BackupHeader {
            state_hash: Bytes::copy_from_slice(state_hash),
            ..header()
        };
        let file = fs::File::create(&path).unwrap();
        format::write(&path, file, header, &[], &signer, |to| {
            job.write_to(to).map_err(BackupError::from)
        })
        .unwrap();
        BackupReader::open(&path).unwrap()
    };
    let hash = store.read(|state| *state.hash().as_bytes());
    let contents = verify(promising(&hash), &trust, &Lock::None).unwrap();
    assert_eq!(contents.state.hash().as_bytes(), &hash);
    let scratch = temp.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let drilled = drill(promising(&hash), &trust, &Lock::None, &scratch).unwrap();
    assert_eq!(drilled.state_hash, hash);
    let other = [7; 32];
    let refusals = [
        verify(promising(&other), &trust, &Lock::None).map(drop),
        drill(
            promising(&other),
            &trust,
            &Lock::None,
            &temp.path().join("another"),
        )
        .map(drop),
    ];
    for refused in refusals {
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("do not make the state"), "{why}");
    }
    store.close();
}
