//! What `store/seal` writes is opened by a program that shares no line with it: `tests/openers/seal.py`,
//! written from `store/seal/FORMAT.md`, on other libraries.
//!
//! It needs Python with `cryptography` and PyNaCl (Debian: python3-cryptography, python3-nacl); where they are
//! absent the test is skipped and says so.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use holdfast_seal::{
    Context, Epoch, EpochKey, Keyring, Kind, Lineage, NodeKey, OsRandom, PassphraseCost,
    PayloadDigest, Protect, Recipient, RecoveryKey, SecretBytes, Share, Split, StreamSealer,
    SymmetricKey, envelope, stream::Reader,
};
use serde_json::{Value, json};

#[test]
fn another_program_opens_envelopes_epochs_shares_node_keys_and_streams() {
    let Some(python) = python() else { return };
    let exported = Exported::new();
    let output = run(python, &exported.request);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let opened: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(opened, exported.expected);
}

#[test]
fn the_other_program_refuses_what_was_changed() {
    let Some(python) = python() else { return };
    let exported = Exported::new();
    for place in [
        "/envelopes/0/payload",
        "/envelopes/0/wrap",
        "/epochs/1/sealed_previous",
        "/epochs/0/check",
        "/wrap",
        "/recovery_wrap",
        "/node_keys/1/file",
        "/stream",
    ] {
        let mut request = exported.request.clone();
        let value = request.pointer_mut(place).unwrap();
        let mut bytes = hex::decode(value.as_str().unwrap()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        *value = hex::encode(bytes).into();
        let output = run(python, &request);
        assert_eq!(output.status.code(), Some(1), "{place} was changed");
        assert!(output.stdout.is_empty(), "{place} was changed");
    }
}

#[test]
fn the_store_keeps_the_digest_that_a_wrap_is_bound_to() {
    // Or a wrap could not be replaced without reading its payload.
    let payload = vec![7; 105];
    let sealed = PayloadDigest::of(&payload);
    let stored = holdfast_core::Digest::of(&holdfast_proto::Value::Sealed(payload.into()));
    assert_eq!(sealed.as_bytes(), stored.as_bytes());
}

/// Sealed things with test keys, and what is in them.
struct Exported {
    request: Value,
    expected: Value,
}

impl Exported {
    fn new() -> Self {
        let random = &mut OsRandom;
        let lineage = Lineage::new("c-5f2e").unwrap();
        let member = 3;
        let node = NodeKey::generate(random);
        let (recovery, shares) = RecoveryKey::split_new(random, Split::new(5, 3).unwrap());

        let first = EpochKey::generate(random, &lineage, Epoch::FIRST);
        let mut epochs = vec![epoch(&first, Vec::new())];
        let mut keyring = Keyring::first(first).unwrap();
        for _ in 0..2 {
            let next = keyring.newest().successor(random);
            epochs.push(epoch(&next, next.seal_previous(random, keyring.newest())));
            keyring.advance(next).unwrap();
        }
        let newest = keyring.newest();
        let challenge = *SymmetricKey::generate(random).expose();

        // Of each class of padding some, at each epoch, rewrapped and not.
        let plaintexts: Vec<Vec<u8>> = [0, 1, 60, 61, 500, 5000]
            .map(|length| (0..length).map(|place| (place * 7) as u8).collect())
            .to_vec();
        let envelopes: Vec<_> = plaintexts
            .iter()
            .zip(1..)
            .map(|(plaintext, version)| {
                let context = Context {
                    key: "app/größe/password".as_bytes(),
                    version,
                    kind: match version % 2 {
                        0 => Kind::CertificateKey,
                        _ => Kind::Secret,
                    },
                };
                let key = keyring.key(Epoch::new(version % 3 + 1).unwrap()).unwrap();
                let mut sealed = envelope::seal(random, key, &context, plaintext).unwrap();
                if version > 3 {
                    let digest = PayloadDigest::of(&sealed.payload);
                    let (wrap, to) = (&sealed.wrap, newest.epoch());
                    sealed.wrap =
                        envelope::rewrap(random, &keyring, &context, &digest, wrap, to).unwrap();
                }
                json!({
                    "key": hex::encode(context.key),
                    "version": version,
                    "kind": match context.kind {
                        Kind::CertificateKey => "certificate key",
                        _ => "secret",
                    },
                    "payload": hex::encode(sealed.payload),
                    "wrap": hex::encode(sealed.wrap),
                })
            })
            .collect();

        let own = SymmetricKey::generate(random);
        let readers = [
            Reader::Key(&own),
            Reader::Epoch(newest),
            Reader::Holder(Recipient::Member(member), node.public()),
            Reader::Holder(Recipient::Recovery, recovery.public()),
        ];
        let text = vec![0xc5; 140_000];
        let mut sealer =
            StreamSealer::new(random, Vec::new(), Some(&lineage), b"backup", &readers).unwrap();
        sealer.write_all(&text).unwrap();
        let stream = sealer.finish().unwrap();

        let (public, text) = (hex::encode(node.public().as_bytes()), hex::encode(text));
        let member_wrap = newest.wrap_for(random, Recipient::Member(member), node.public());
        let recovery_wrap = newest.wrap_for(random, Recipient::Recovery, recovery.public());
        Self {
            request: json!({
                "lineage": lineage.as_str(),
                "member": member,
                "node_keys": node_keys(&node),
                "epochs": epochs,
                "wrap": hex::encode(member_wrap),
                "recovery_wrap": hex::encode(recovery_wrap),
                "shares": [typed(&shares[4]), typed(&shares[0]), typed(&shares[2])],
                "challenge": hex::encode(challenge),
                "envelopes": envelopes,
                "own_key": hex::encode(own.expose()),
                "purpose": hex::encode("backup"),
                "stream": hex::encode(stream),
            }),
            expected: json!({
                "envelopes": plaintexts.iter().map(hex::encode).collect::<Vec<_>>(),
                "public_keys": [public, public, public],
                "recovery_public_key": hex::encode(recovery.public().as_bytes()),
                "proof": hex::encode(newest.escrow_proof(&challenge).as_bytes()),
                "streams": [text, text, text, text],
            }),
        }
    }
}

fn epoch(key: &EpochKey, sealed_previous: Vec<u8>) -> Value {
    json!({
        "epoch": key.epoch().number(),
        "check": hex::encode(key.check().as_bytes()),
        "sealed_previous": hex::encode(sealed_previous),
    })
}

/// The same key under each protector.
fn node_keys(node: &NodeKey) -> Vec<Value> {
    let secret = SecretBytes::from(b"correct horse battery staple, and more".to_vec());
    [
        Protect::File,
        // The other program's argon2id has one lane.
        Protect::Passphrase(&secret, PassphraseCost::LEAST),
        Protect::SystemdCredential(&secret),
    ]
    .iter()
    .map(|protect| {
        let file = node.protect(&mut OsRandom, protect).unwrap();
        json!({"file": hex::encode(file.expose()), "secret": hex::encode(secret.expose())})
    })
    .collect()
}

fn typed(share: &Share) -> String {
    share.to_text().expose_text().unwrap().to_lowercase()
}

/// None if no Python here has what the opener needs.
fn python() -> Option<&'static str> {
    // The first is the user's, which may be one without the distribution's libraries.
    let found = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let command = Command::new(python)
            .args(["-c", "import cryptography, nacl"])
            .stderr(Stdio::null())
            .status();
        command.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        println!(
            "skipped: no python3 here has cryptography and PyNaCl (Debian: apt-get install \
             python3-cryptography python3-nacl)"
        );
    }
    found
}

fn run(python: &str, request: &Value) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("openers/seal.py");
    let mut opener = Command::new(python)
        // No compiled files beside the sources.
        .args(["-B".as_ref(), script.as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = opener.stdin.take().unwrap();
    // Both sides write less than a pipe holds only if nothing goes wrong: so in a thread.
    let request = request.to_string();
    let writer = std::thread::spawn(move || input.write_all(request.as_bytes()));
    let output = opener.wait_with_output().unwrap();
    // It may end before it has read all, if what it read first does not open.
    let _ = writer.join().unwrap();
    output
}
