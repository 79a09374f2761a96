//! What the server reads from outside, fed with the seeds in `corpus/`, with damaged seeds and with
//! junk: no panic, and nothing is taken for good but what was made.
//!
//! A seed's name says whether it is to be taken: `good-…` or `bad-…`. Each target takes any bytes, so
//! it can be handed to a fuzzer as it is.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use holdfast_proto::{access::Rule, v1};
use holdfast_server::{backup::BackupReader, identity::JoinToken};
use proptest::prelude::*;
use prost::Message as _;

/// A parser; says whether the bytes were taken for good.
struct Target {
    name: &'static str,
    run: fn(&[u8]) -> bool,
}

const TARGETS: [Target; 5] = [
    Target {
        name: "token",
        run: token,
    },
    Target {
        name: "token-content",
        run: token_content,
    },
    Target {
        name: "rule",
        run: rule,
    },
    Target {
        name: "rule-message",
        run: rule_message,
    },
    Target {
        name: "backup-head",
        run: backup_head,
    },
];

#[test]
fn seeds_that_are_good_are_taken_and_the_others_are_refused() {
    for target in TARGETS {
        let seeds = seeds(target.name);
        assert!(seeds.len() >= 4, "{}", target.name);
        for (name, bytes) in seeds {
            let taken = (target.run)(&bytes);
            assert_eq!(taken, name.starts_with("good-"), "{}: {name}", target.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Half a paste, a slip of the hand: told by its checksum.
    #[test]
    fn a_token_with_one_byte_changed_is_refused(at: prop::sample::Index, to: u8) {
        for (name, bytes) in seeds("token") {
            let mut changed = bytes.clone();
            let place = at.index(bytes.len().max(1));
            if name.starts_with("good-") {
                changed[place] = to;
                let same = String::from_utf8_lossy(&changed).trim() == String::from_utf8_lossy(&bytes).trim();
                prop_assert!(same || !token(&changed), "{name}");
            }
        }
    }

    /// What has the right checksum was made, by whomever: it is read as text of its own, or refused.
    #[test]
    fn damaged_seeds_and_junk_take_nobody_down(
        which: prop::sample::Index,
        at: prop::sample::Index,
        length in 0..40_usize,
        junk in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        for target in TARGETS {
            (target.run)(&junk);
            let seeds = seeds(target.name);
            let (_, seed) = &seeds[which.index(seeds.len())];
            let place = at.index(seed.len() + 1);
            let end = (place + length).min(seed.len());
            let spliced = [&seed[..place], &junk, &seed[end..]].concat();
            (target.run)(&spliced);
        }
    }
}

/// A join token, as somebody pasted it.
fn token(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let Ok(token) = text.parse::<JoinToken>() else {
        return false;
    };
    // What was taken is written in one way only.
    assert_eq!(token.reveal().as_str(), text.trim());
    true
}

/// What a token says, under the checksum that belongs to it.
fn token_content(data: &[u8]) -> bool {
    let checked = [data, &crc32fast::hash(data).to_be_bytes()].concat();
    token(format!("hf1-{}", URL_SAFE_NO_PAD.encode(checked)).as_bytes())
}

/// A rule of the policy, as somebody typed it.
fn rule(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let Ok(rule) = text.parse::<Rule>() else {
        return false;
    };
    // What was taken is written in one way, and means the same in it.
    assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule));
    true
}

/// A rule of the policy, as it comes over the wire and out of archives.
fn rule_message(data: &[u8]) -> bool {
    let Ok(wire) = v1::AccessRule::decode(data) else {
        return false;
    };
    let Ok(rule) = Rule::try_from(wire) else {
        return false;
    };
    assert_eq!(Rule::try_from(rule.to_wire()), Ok(rule));
    true
}

/// The beginning of a backup: all that is believed of one before its signature is checked.
fn backup_head(data: &[u8]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("any.backup");
    fs::write(&path, data).unwrap();
    BackupReader::open(&path).is_ok()
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let mut seeds: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            (name, fs::read(file.path()).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}
