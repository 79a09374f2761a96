//! The recovery key: made in shares, kept by people, shown to work; and rotations.

use std::{fs, os::unix::fs::PermissionsExt as _};

use holdfast_proto::v1;
use holdfast_seal::{Epoch, EpochKey, Lineage, OsRandom, PublicKey, Recipient};

use crate::{home::Home, person::Person};

impl Home {
    /// Makes the recovery key known to the cluster wrap a new epoch, and asks for a proof of it.
    fn wrap_epoch(&self) {
        let mut world = self.cluster.shared.world();
        let public = &world.recovery.as_ref().unwrap().public_key;
        let public = PublicKey::from_bytes(public).unwrap();
        let lineage = Lineage::new("home").unwrap();
        let epoch = EpochKey::generate(&mut OsRandom, &lineage, Epoch::FIRST);
        let challenge = [7; 32];
        world.proof = epoch.escrow_proof(&challenge).as_bytes().to_vec().into();
        world.challenge = Some(v1::ChallengeRecoveryResponse {
            challenge: challenge.to_vec().into(),
            lineage: "home".to_owned(),
            epoch: 1,
            recovery_wrap: epoch
                .wrap_for(&mut OsRandom, Recipient::Recovery, &public)
                .into(),
            check: epoch.check().as_bytes().to_vec().into(),
            ..v1::ChallengeRecoveryResponse::default()
        });
    }

    fn accepts_secrets(&self) -> bool {
        self.json(&["keyring", "status"])["accepts_secrets"] == true
    }
}

#[test]
fn shares_in_files_are_shown_to_work_and_fewer_are_not_enough() {
    let home = Home::new();
    let out = home.folder.path().join("shares");
    let init = [
        "keyring",
        "init-recovery",
        "--shares",
        "3",
        "--threshold",
        "2",
    ];
    let made = home.json(&[&init[..], &["--out", out.to_str().unwrap()]].concat());
    let files: Vec<&str> = made["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file.as_str().unwrap())
        .collect();
    assert_eq!((files.len(), &made["threshold"]), (3, &2.into()));
    for file in &files {
        assert_eq!(
            fs::metadata(file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    // What the cluster knows is no share of it.
    let world = format!("{:?}", home.cluster.shared.world().recovery);
    let text = fs::read_to_string(files[0]).unwrap();
    assert!(text.starts_with("HFS1-") && !world.contains(&text[11..40]));

    assert!(!home.accepts_secrets());
    home.wrap_epoch();
    let verify =
        |files: &[&str]| home.kvctl(&[&["keyring", "verify-recovery", "--share"], files].concat());
    verify(&files[..1]).fails(1, &["nothing was proven"]);
    verify(&[files[0], files[0]]).fails(2, &["nothing was proven"]);
    assert!(!home.accepts_secrets());
    verify(&files[1..]).succeeds();
    assert!(home.accepts_secrets());
    let shown = String::from_utf8(home.kvctl(&["keyring", "status"]).succeeds()).unwrap();
    assert!(shown.contains("any 2 of 3 shares of set"), "{shown}");
    assert!(shown.contains(made["set"].as_str().unwrap()), "{shown}");

    // A second key is made only when that is said, and an attempt leaves no shares of nothing.
    let other = home.folder.path().join("other");
    let anew = [&init[..], &["--out", other.to_str().unwrap()]].concat();
    home.kvctl(&anew).fails(1, &["--replace"]);
    assert!(!other.exists());
    let replace = [&anew[..], &["--replace"]].concat();
    home.kvctl(&replace).succeeds();
    assert!(!home.accepts_secrets());
    verify(&files[1..]).fails(1, &["take the shares of that one"]);
}

#[test]
fn shares_are_shown_one_by_one_and_typed_again_with_a_typo() {
    let home = Home::new();
    let init = [
        "keyring",
        "init-recovery",
        "--shares",
        "3",
        "--threshold",
        "2",
    ];
    let mut person = Person::runs(home.command(&init));
    let mut shares = Vec::new();
    for share in 1..=3 {
        let heading = format!("recovery share {share} of 3");
        person.sees(&heading);
        person.sees_times("Press enter", share);
        shares.push(share_after(person.seen(), &heading));
        person.types(b"\n");
    }
    let (code, seen, _) = person.leaves();
    assert_eq!(code, 0, "{seen}");
    // Each on the terminal's second screen, which is cleared and left.
    assert_eq!(seen.matches("\x1b[?1049h").count(), 3);
    assert_eq!(seen.matches("\x1b[2J\x1b[H\x1b[?1049l").count(), 3);

    home.wrap_epoch();
    let mut person = Person::runs(home.command(&["keyring", "verify-recovery"]));
    person.sees("a share, 2 are needed (not shown): ");
    assert!(!person.echoes());
    let mut typo = shares[0].clone().into_bytes();
    typo[12] = if typo[12] == b'7' { b'8' } else { b'7' };
    person.types(&typo);
    person.types(b"\n");
    person.sees("group 2");
    person.sees_times("a share, 2 are needed", 2);
    // As people type: small letters and no dashes.
    person.types(shares[0].to_lowercase().replace('-', " ").as_bytes());
    person.types(b"\n");
    person.sees("the last share (not shown): ");
    person.types(shares[2].as_bytes());
    person.types(b"\n");
    let (code, seen, echoes) = person.leaves();
    assert_eq!(code, 0, "{seen}");
    assert!(echoes && seen.contains("secrets are accepted"), "{seen}");
    for share in &shares {
        assert!(!seen.contains(&share[11..22]), "{seen}");
    }
    assert!(home.accepts_secrets());
}

#[test]
fn shares_go_to_a_pipe_at_once_and_wrong_usages_make_none() {
    let home = Home::new();
    for (arguments, code, words) in [
        (&["--shares", "3", "--threshold", "1"][..], 2, "3"),
        (&["--shares", "2", "--threshold", "3"], 2, "2"),
        (&["--shares", "17", "--threshold", "3"], 2, "16"),
        (
            &["--shares", "3", "--threshold", "2", "-o", "json"],
            2,
            "--out",
        ),
        (
            &["--shares", "3", "--threshold", "2", "--out", "/proc/none"],
            1,
            "no recovery key was made",
        ),
    ] {
        let arguments = [&["keyring", "init-recovery"], arguments].concat();
        home.kvctl(&arguments).fails(code, &[words]);
    }
    assert!(home.cluster.shared.world().recovery.is_none());
    home.kvctl(&["keyring", "verify-recovery"])
        .fails(2, &["--share FILE"]);
    let printed = home.kvctl(&[
        "keyring",
        "init-recovery",
        "--shares",
        "2",
        "--threshold",
        "2",
    ]);
    let printed = String::from_utf8(printed.succeeds()).unwrap();
    assert_eq!(printed.matches("HFS1-").count(), 2);
    assert!(printed.contains("share 2 of 2"), "{printed}");
    assert!(!printed.contains('\x1b'));
    let file = home.folder.path().join("no-share");
    fs::write(&file, "hunter2").unwrap();
    home.kvctl(&[
        "keyring",
        "verify-recovery",
        "--share",
        file.to_str().unwrap(),
    ])
    .fails(2, &["no recovery share"]);
}

#[test]
fn a_rotation_is_begun_and_followed() {
    let home = Home::new();
    let rotated = home.json(&["keyring", "rotate", "--reason", "yearly"]);
    assert_eq!(
        (&rotated["epoch"], &rotated["complete"]),
        (&1.into(), &false.into())
    );
    let rotated = home.json(&["keyring", "rotate", "--reason", "again", "--wait"]);
    assert_eq!(
        (&rotated["epoch"], &rotated["complete"]),
        (&2.into(), &true.into())
    );
    // Without a reason none is begun.
    assert_eq!(home.json(&["keyring", "rotate", "--wait"])["epoch"], 2);
    let status = home.json(&["keyring", "status", "--watch"]);
    assert_eq!(status["epochs"][1]["reason"], "again");
}

#[test]
fn a_rotation_is_seen_from_anywhere_left_and_looked_at_again() {
    let home = Home::new();
    for key in ["a", "b", "c", "d"] {
        home.kvctl_with(&["secret", "put", key, "-"], b"hunter2")
            .succeeds();
    }
    let rotate = ["keyring", "rotate", "--reason", "yearly", "--wait"];
    let rotated = home.json(&rotate);
    assert_eq!(
        (&rotated["epoch"], &rotated["secrets"]),
        (&1.into(), &4.into())
    );
    {
        let mut world = home.cluster.shared.world();
        (world.unwrapped, world.stalled) = (3, true);
    }
    let mut person = Person::runs(home.command(&["keyring", "rotate", "--wait"]));
    person.sees("1/4 versions");
    person.interrupts();
    let (code, seen, _) = person.leaves();
    assert_eq!(code, 1, "{seen}");
    assert!(seen.contains("the rotation goes on"), "{seen}");
    home.cluster.shared.world().stalled = false;
    let mut person = Person::runs(home.command(&["keyring", "status", "--watch"]));
    person.sees("1/4 versions");
    let (code, seen, _) = person.leaves();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("4 versions under epoch 1"), "{seen}");
    assert_eq!(home.json(&["keyring", "status"])["rewrapped"], 4);
}

/// The text of the share under a heading, as it is on the screen.
fn share_after(seen: &str, heading: &str) -> String {
    let behind = &seen[seen.rfind(heading).unwrap()..];
    let share = &behind[behind.find("HFS1-").unwrap()..];
    let end = share.find("\r\n\r\n").unwrap();
    share[..end].replace("\r\n", "")
}
