//! A node key's file opens with what it is protected by, and says so when it does not.

use std::sync::LazyLock;

use holdfast_seal::{
    NodeKey, NodeKeyError, PassphraseCost, Protect, Protector, SecretBytes, Unlock,
};
use proptest::prelude::*;

use crate::fixture::{Damage, Seeded, damage};

#[test]
fn each_protector_gives_the_key_back() {
    let key = key();
    for kind in Protector::ALL {
        let file = file(kind);
        assert_eq!(NodeKey::protector_of(file.expose()).unwrap(), kind);
        let opened = NodeKey::open(file.expose(), &unlock(kind, &secret(kind))).unwrap();
        assert_eq!(opened.public(), key.public());
    }
}

#[test]
fn the_wrong_passphrase_or_credential_opens_nothing() {
    let wrong = SecretBytes::from(b"tr0ubador & 3, thirty-two bytes or more".to_vec());
    for kind in [Protector::Passphrase, Protector::SystemdCredential] {
        let refused = NodeKey::open(file(kind).expose(), &unlock(kind, &wrong)).unwrap_err();
        assert_eq!(refused, NodeKeyError::NotOpened { protector: kind });
    }
}

#[test]
fn a_file_with_another_protector_than_was_told_is_refused_not_believed() {
    for found in Protector::ALL {
        for expected in Protector::ALL.into_iter().filter(|kind| *kind != found) {
            let refused = NodeKey::open(file(found).expose(), &unlock(expected, &secret(expected)));
            let refused = refused.unwrap_err();
            assert_eq!(refused, NodeKeyError::OtherProtector { found, expected });
        }
    }
}

#[test]
fn the_protector_cannot_be_relabelled() {
    // As long as a plain file, and with a checksum that is right.
    let sealed = file(Protector::SystemdCredential);
    let mut forged = sealed.expose()[..42].to_vec();
    forged[9] = 1;
    forged.extend_from_slice(&[0x11; 32]);
    let checksum = blake3::hash(&forged);
    forged.extend_from_slice(checksum.as_bytes());
    // A key came out, but not the one whose public half the header names.
    let refused = NodeKey::open(&forged, &Unlock::File).unwrap_err();
    assert_eq!(refused, NodeKeyError::Damaged);
}

#[test]
fn each_bit_of_a_plain_file_counts() {
    let file = file(Protector::File);
    for place in 0..file.len() {
        for bit in 0..8 {
            let damaged = Damage::Flip(place, bit).apply(file.expose());
            NodeKey::open(&damaged, &Unlock::File).unwrap_err();
        }
    }
    for length in 0..file.len() {
        NodeKey::open(&file.expose()[..length], &Unlock::File).unwrap_err();
    }
}

#[test]
fn newer_files_are_refused_by_name() {
    let mut file = file(Protector::File).expose().to_vec();
    file[8] = 2;
    let refused = NodeKey::open(&file, &Unlock::File).unwrap_err();
    assert_eq!(refused, NodeKeyError::NewerFormat { found: 2 });
    file[8] = 1;
    file[9] = 9;
    let refused = NodeKey::open(&file, &Unlock::File).unwrap_err();
    assert_eq!(refused, NodeKeyError::UnknownProtector { found: 9 });
    file[0] = b'h';
    let refused = NodeKey::open(&file, &Unlock::File).unwrap_err();
    assert_eq!(refused, NodeKeyError::NotANodeKey);
}

#[test]
fn what_can_be_guessed_protects_nothing_and_is_refused() {
    let (key, mut random) = (key(), Seeded::new(2));
    let empty = SecretBytes::from(Vec::new());
    let short = SecretBytes::from(vec![7; 31]);
    let cost = PassphraseCost::LEAST;
    assert_eq!(
        key.protect(&mut random, &Protect::Passphrase(&empty, cost))
            .unwrap_err(),
        NodeKeyError::EmptyPassphrase
    );
    assert_eq!(
        key.protect(&mut random, &Protect::SystemdCredential(&short))
            .unwrap_err(),
        NodeKeyError::ShortCredential { found: 31 }
    );
    for cheap in [
        PassphraseCost { passes: 1, ..cost },
        PassphraseCost {
            memory_kib: 8,
            ..cost
        },
        PassphraseCost { lanes: 0, ..cost },
        PassphraseCost {
            memory_kib: u32::MAX,
            ..cost
        },
    ] {
        let refused = key
            .protect(&mut random, &Protect::Passphrase(&short, cheap))
            .unwrap_err();
        assert_eq!(refused, NodeKeyError::Cost(cheap));
    }
}

#[test]
fn a_file_cannot_ask_for_all_the_memory_there_is() {
    let kind = Protector::Passphrase;
    let mut file = file(kind).expose().to_vec();
    file[42..46].copy_from_slice(&u32::MAX.to_be_bytes());
    let refused = NodeKey::open(&file, &unlock(kind, &secret(kind))).unwrap_err();
    assert!(matches!(refused, NodeKeyError::Cost(_)), "{refused}");
}

#[test]
fn protectors_are_named_and_told_what_they_are_worth() {
    for kind in Protector::ALL {
        assert_eq!(Protector::from_name(kind.name()), Some(kind));
        assert!(kind.protects().contains("not from root"));
    }
    assert_eq!(Protector::from_name("tpm"), None);
}

proptest! {
    #[test]
    fn a_damaged_file_does_not_open(damage in damage()) {
        for kind in [Protector::File, Protector::SystemdCredential] {
            let damaged = damage.apply(file(kind).expose());
            prop_assert!(NodeKey::open(&damaged, &unlock(kind, &secret(kind))).is_err());
        }
    }
}

proptest! {
    // Each case stretches a passphrase.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_damaged_file_does_not_open_with_its_passphrase(place in 54..142_usize, bit in 0..8_u8) {
        let kind = Protector::Passphrase;
        let damaged = Damage::Flip(place, bit).apply(file(kind).expose());
        let refused = NodeKey::open(&damaged, &unlock(kind, &secret(kind))).unwrap_err();
        prop_assert_eq!(refused, NodeKeyError::NotOpened { protector: kind });
    }
}

pub(crate) fn key() -> NodeKey {
    NodeKey::generate(&mut Seeded::new(1))
}

pub(crate) fn secret(kind: Protector) -> SecretBytes {
    SecretBytes::from(match kind {
        Protector::Passphrase => b"correct horse battery staple".to_vec(),
        _ => (0..32).collect(),
    })
}

/// Stretching a passphrase takes long, so each file is made once.
pub(crate) fn file(kind: Protector) -> &'static SecretBytes {
    static FILES: LazyLock<[SecretBytes; 3]> = LazyLock::new(|| Protector::ALL.map(new_file));
    let place = Protector::ALL.iter().position(|known| *known == kind);
    &FILES[place.unwrap()]
}

fn new_file(kind: Protector) -> SecretBytes {
    let secret = secret(kind);
    let protect = match kind {
        Protector::File => Protect::File,
        Protector::Passphrase => Protect::Passphrase(&secret, PassphraseCost::LEAST),
        Protector::SystemdCredential => Protect::SystemdCredential(&secret),
        other => unreachable!("{other} is new"),
    };
    key().protect(&mut Seeded::new(3), &protect).unwrap()
}

pub(crate) fn unlock(kind: Protector, secret: &SecretBytes) -> Unlock<'_> {
    match kind {
        Protector::File => Unlock::File,
        Protector::Passphrase => Unlock::Passphrase(secret),
        Protector::SystemdCredential => Unlock::SystemdCredential(secret),
        other => unreachable!("{other} is new"),
    }
}
