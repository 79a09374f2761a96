//! The log under power cuts, kills, failing and full disks: what was acknowledged is there.
//!
//! The writer is a process of its own (this test program, run again). A small C library stands
//! between it and its disk: it records what is written and synced in which order, or makes one
//! call fail. From a recording, [`image`] builds what a power cut at any moment may leave behind:
//! writes since the last sync are kept, dropped, torn or reordered by the sector; files that were
//! made, renamed or removed without a sync of their folder are there or not.
//!
//! Not modelled: a disk that loses what it said was synced, or that damages what nobody wrote to.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

#[path = "crash/image.rs"]
mod image;
#[path = "crash/shim.rs"]
mod shim;
#[path = "crash/writer.rs"]
mod writer;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Stdio},
};

use holdfast_disk::{Log, LogError, LogOptions, LogPosition, LogRow};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use self::{
    image::{Loss, Recording},
    shim::Shim,
    writer::{acknowledged, append, payload, verify},
};

/// `HOLDFAST_CRASH_ROUNDS=n` multiplies the number of kills and images.
fn rounds() -> u64 {
    std::env::var("HOLDFAST_CRASH_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1)
}

fn seed() -> u64 {
    let seed = std::env::var("HOLDFAST_CRASH_SEED")
        .ok()
        .and_then(|n| n.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("HOLDFAST_CRASH_SEED={seed}");
    seed
}

#[test]
#[ignore = "a process that the other tests start"]
fn writer() {
    if let Some(dir) = std::env::var_os("HOLDFAST_WRITER_DIR") {
        let entries = std::env::var("HOLDFAST_WRITER_ENTRIES")
            .unwrap()
            .parse()
            .unwrap();
        writer::run(Path::new(&dir), entries);
    }
}

/// The writer, told to append so many entries.
fn writer_process(dir: &Path, entries: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "writer",
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("HOLDFAST_WRITER_DIR", dir)
        .env("HOLDFAST_WRITER_ENTRIES", entries.to_string())
        .stdout(Stdio::piped());
    command
}

#[test]
fn every_acknowledged_entry_survives_the_kill_of_its_writer() {
    let mut chance = StdRng::seed_from_u64(seed());
    let dir = tempfile::tempdir().unwrap();
    let mut newest = None;
    for _ in 0..32 * rounds() {
        let mut child = writer_process(dir.path(), u64::MAX).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..chance.random_range(1..60) {
            let line = lines.next().unwrap().unwrap();
            newest = newest.max(acknowledged(&line));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it died counts as well.
        for line in lines {
            newest = newest.max(acknowledged(&line.unwrap()));
        }
        verify(dir.path(), newest);
    }
    assert!(newest.is_some());
}

#[test]
fn every_acknowledged_entry_survives_whatever_a_power_cut_leaves_behind() {
    let Some(shim) = Shim::build() else { return };
    let mut chance = StdRng::seed_from_u64(seed());
    let mut images = 0;
    for _ in 0..2 * rounds() {
        let dir = tempfile::tempdir().unwrap();
        let trace = tempfile::NamedTempFile::new().unwrap();
        let mut command = writer_process(dir.path(), 400);
        let output = shim
            .record(&mut command, dir.path(), trace.path())
            .output()
            .unwrap();
        assert!(output.status.success());
        let recording = Recording::read(dir.path(), trace.path());
        assert!(recording.syncs() >= 40, "{} syncs", recording.syncs());
        for _ in 0..30 {
            let moment = chance.random_range(0..recording.events());
            for loss in Loss::ALL {
                let cut = tempfile::tempdir().unwrap();
                let newest = recording.image(moment, loss, &mut chance, cut.path());
                println!("cut at event {moment}, {loss:?}: acknowledged {newest:?}");
                verify(cut.path(), newest);
                images += 1;
            }
        }
    }
    assert!(images >= 300, "{images} images");
}

#[test]
fn an_error_of_a_write_or_a_sync_ends_the_log_and_is_never_acknowledged() {
    let Some(shim) = Shim::build() else { return };
    for (kind, nth) in [
        ("write", 2),
        ("write", 9),
        ("write", 25),
        ("sync", 1),
        ("sync", 8),
        ("sync", 25),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = writer_process(dir.path(), 400);
        let output = shim
            .fail(&mut command, dir.path(), kind, nth)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let output = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = output.lines().collect();
        let first = lines.iter().position(|line| line.starts_with("failed"));
        let first = first.unwrap_or_else(|| panic!("{kind} {nth}: nobody was told: {output}"));
        assert!(lines[first].contains("must stop"), "{}", lines[first]);
        let after = lines[first..]
            .iter()
            .filter_map(|line| acknowledged(line))
            .count();
        assert_eq!(after, 0, "acknowledged after {kind} {nth} failed");
        assert!(lines.contains(&"everybody was told once"), "{output}");
        verify(
            dir.path(),
            lines.iter().filter_map(|line| acknowledged(line)).max(),
        );
    }
}

/// A small file system of its own, or `None` where this user may not mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "holdfast-test"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(dir));
        }
        println!("skipped: this user may not mount a small disk");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a child that another test is just starting may still share a file of it.
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        drop(unmounted);
    }
}

fn large(index: u64) -> Vec<LogRow> {
    let position = LogPosition {
        term: 1,
        node: 1,
        index,
    };
    vec![LogRow {
        position,
        payload: vec![1; 30_000].into(),
    }]
}

fn options(reserve_bytes: u64) -> LogOptions {
    LogOptions {
        file_bytes: 64 * 1024,
        reserve_bytes,
        ..LogOptions::default()
    }
}

#[test]
fn a_full_disk_refuses_appends_serves_reads_and_recovers() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let dir = disk.0.path();
    let filler = dir.join("filler");
    fs::write(&filler, vec![0; 700_000]).unwrap();
    let log = Log::open(dir, options(400_000)).unwrap();
    let mut next = 0;
    let full = loop {
        match append(&log, large(next)) {
            Ok(()) => next += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, LogError::Full { .. }), "{full}");
    assert!(full.to_string().contains("make room"), "{full}");
    assert!(next > 5);
    assert_eq!(log.read(0..next, usize::MAX).unwrap().len() as u64, next);
    assert_eq!(log.failed(), None);
    fs::remove_file(&filler).unwrap();
    append(&log, large(next)).unwrap();
    drop(log);
    let log = Log::open(dir, options(400_000)).unwrap();
    assert_eq!(log.state().last.unwrap().index, next);
}

#[test]
fn a_log_that_runs_into_a_full_disk_stops_and_keeps_what_it_acknowledged() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let dir = disk.0.path();
    let filler = dir.join("filler");
    fs::write(&filler, vec![0; 700_000]).unwrap();
    let log = Log::open(dir, options(0)).unwrap();
    let mut next = 0;
    while append(&log, large(next)).is_ok() {
        next += 1;
    }
    assert!(log.failed().is_some());
    fs::remove_file(&filler).unwrap();
    assert!(append(&log, large(next)).is_err(), "it must not go on");
    drop(log);
    let log = Log::open(dir, options(0)).unwrap();
    assert!(log.state().last.unwrap().index + 1 >= next);
    let read = log.read(0..next, usize::MAX).unwrap();
    assert_eq!(read.len() as u64, next);
}

#[test]
fn the_payload_of_an_entry_tells_which_one_it_is() {
    assert_ne!(payload(1), payload(2));
    let mut bytes = Vec::new();
    payload(7).as_ref().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes[..8], 7_u64.to_le_bytes());
}
