//! What was changed in a backup, swapped or cut off is refused by name, and never used.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use holdfast_proto::log::v1::BackupHeader;
use holdfast_seal::{
    OsRandom, RecoveryKey, Split,
    epoch::Recipient,
    stream::{Reader, Unlock},
};

use super::{BackupError, BackupReader, Lock, Trust, folder::Folder, format, signature::Signer};
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
    assert!(read(&path, &trust, &Lock::Key(Unlock::Recovery(&other))).is_err());
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

#[test]
fn so_many_are_kept_as_told_and_one_that_failed_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let folder = Folder::new(temp.path().join("backups"));
    folder.prepare().unwrap();
    let signer = signer(CLUSTER);
    for at in 1..=5 {
        let (unpublished, file) = folder.begin(AT_MS + at, at).unwrap();
        format::write(&unpublished.path, file, header(), &[], &signer, |_| Ok(())).unwrap();
        unpublished.publish().unwrap();
    }
    assert_eq!(folder.prune(2).unwrap(), 3);
    let (unpublished, file) = folder.begin(AT_MS + 9, 9).unwrap();
    let full = |_: &mut dyn std::io::Write| {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        Err(BackupError::io(Path::new("a"), "written", full))
    };
    let error = format::write(&unpublished.path, file, header(), &[], &signer, full).unwrap_err();
    assert!(error.to_string().contains("nothing half-made"), "{error}");
    drop(unpublished);
    let names: Vec<_> = fs::read_dir(temp.path().join("backups"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let newest = folder.list().unwrap().remove(0).path;
    assert!(newest.to_str().unwrap().ends_with("-5.backup"));
}
