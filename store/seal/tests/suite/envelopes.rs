//! Envelopes open at their place, whole, and nowhere else.

use holdfast_seal::envelope::{self, MAX_PLAINTEXT, Part};
use holdfast_seal::{
    Context, EpochKey, Keyring, Kind, OpenError, PayloadDigest, SealError, Sealed,
};
use proptest::prelude::*;

use crate::fixture::{Cluster, Seeded, at, damage, epoch, lineage};

proptest! {
    #[test]
    fn what_was_sealed_comes_back_and_nothing_of_it_shows(
        seed: u64,
        key in prop::collection::vec(any::<u8>(), 1..80),
        version in 1..u64::MAX,
        plaintext in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let cluster = Cluster::new(1, 1);
        let sealed = seal(seed, &cluster.keyring, &at(&key, version), &plaintext);
        let opened = open(&cluster.keyring, &at(&key, version), &sealed).unwrap();
        prop_assert_eq!(opened.expose(), &plaintext[..]);
        prop_assert_eq!(sealed.payload.len(), envelope::payload_length(plaintext.len()));
        if plaintext.len() >= 8 {
            let shows = sealed.payload.windows(8).any(|window| window == &plaintext[..8]);
            prop_assert!(!shows);
        }
    }

    #[test]
    fn a_damaged_payload_or_wrap_does_not_open(
        seed: u64,
        plaintext in prop::collection::vec(any::<u8>(), 0..300),
        damage in damage(),
    ) {
        let cluster = Cluster::new(2, 2);
        let sealed = seal(seed, &cluster.keyring, &at(b"k", 1), &plaintext);
        let payload = Sealed { payload: damage.apply(&sealed.payload), wrap: sealed.wrap.clone() };
        prop_assert!(open(&cluster.keyring, &at(b"k", 1), &payload).is_err());
        let wrap = Sealed { payload: sealed.payload.clone(), wrap: damage.apply(&sealed.wrap) };
        prop_assert!(open(&cluster.keyring, &at(b"k", 1), &wrap).is_err());
        let digest = PayloadDigest::of(&sealed.payload);
        let rewrapped = rewrap(&cluster.keyring, &at(b"k", 1), &digest, &wrap.wrap, 2);
        prop_assert!(rewrapped.is_err());
    }

    #[test]
    fn junk_is_refused(payload: Vec<u8>, wrap: Vec<u8>) {
        let cluster = Cluster::new(3, 1);
        let junk = Sealed { payload, wrap };
        prop_assert!(open(&cluster.keyring, &at(b"k", 1), &junk).is_err());
    }

    #[test]
    fn an_envelope_opens_after_any_number_of_rotations(seed: u64, plaintext: Vec<u8>) {
        let cluster = Cluster::new(4, 5);
        let first = cluster.keyring.key(epoch(1)).unwrap();
        let place = at(b"app/db/password", 12);
        let mut sealed = envelope::seal(&mut Seeded::new(seed), first, &place, &plaintext).unwrap();
        let payload = sealed.payload.clone();
        for target in [2, 3, 5] {
            let digest = PayloadDigest::of(&payload);
            sealed.wrap = rewrap(&cluster.keyring, &place, &digest, &sealed.wrap, target).unwrap();
            prop_assert_eq!(envelope::epoch_of_wrap(&sealed.wrap).unwrap(), epoch(target));
            let opened = open(&cluster.keyring, &place, &sealed).unwrap();
            prop_assert_eq!(opened.expose(), &plaintext[..]);
        }
    }
}

#[test]
fn an_envelope_opens_at_no_other_place() {
    let cluster = Cluster::new(5, 2);
    let place = at(b"app/password", 3);
    let sealed = seal(1, &cluster.keyring, &place, b"correct horse");
    let elsewhere = [
        at(b"app/passwork", 3),
        at(b"app/password ", 3),
        at(b"", 3),
        at(b"app/password", 2),
        at(b"app/password", 4),
        Context {
            kind: Kind::CertificateKey,
            ..place
        },
    ];
    for other in elsewhere {
        let refused = open(&cluster.keyring, &other, &sealed).unwrap_err();
        assert_eq!(refused, OpenError::Wrap { epoch: epoch(2) }, "{other:?}");
        let digest = PayloadDigest::of(&sealed.payload);
        rewrap(&cluster.keyring, &other, &digest, &sealed.wrap, 2).unwrap_err();
    }
    open(&cluster.keyring, &place, &sealed).unwrap();
}

#[test]
fn a_wrap_opens_no_payload_but_its_own() {
    let cluster = Cluster::new(6, 1);
    let place = at(b"k", 1);
    let old = seal(1, &cluster.keyring, &place, b"old");
    let new = seal(2, &cluster.keyring, &place, b"new");
    for (payload, wrap) in [(&old.payload, &new.wrap), (&new.payload, &old.wrap)] {
        let refused = envelope::open(&cluster.keyring, &place, payload, wrap).unwrap_err();
        assert_eq!(refused, OpenError::Wrap { epoch: epoch(1) });
        let digest = PayloadDigest::of(payload);
        rewrap(&cluster.keyring, &place, &digest, wrap, 1).unwrap_err();
    }
}

#[test]
fn another_cluster_opens_nothing_even_with_the_same_numbers() {
    let ours = Cluster::new(7, 1);
    let theirs = EpochKey::generate(&mut Seeded::new(8), &lineage("c-other"), epoch(1));
    let theirs = Keyring::first(theirs).unwrap();
    let sealed = seal(1, &ours.keyring, &at(b"k", 1), b"s");
    let refused = open(&theirs, &at(b"k", 1), &sealed).unwrap_err();
    assert_eq!(refused, OpenError::Wrap { epoch: epoch(1) });
}

#[test]
fn the_lineage_counts_besides_the_key() {
    // The same random bytes, so the same key, for two lineages.
    let [one, other] = ["c-1", "c-2"].map(|text| {
        let key = EpochKey::generate(&mut Seeded::new(9), &lineage(text), epoch(1));
        Keyring::first(key).unwrap()
    });
    let sealed = seal(1, &one, &at(b"k", 1), b"s");
    open(&one, &at(b"k", 1), &sealed).unwrap();
    let refused = open(&other, &at(b"k", 1), &sealed).unwrap_err();
    assert_eq!(refused, OpenError::Wrap { epoch: epoch(1) });
}

#[test]
fn a_wrap_that_names_another_epoch_is_refused_by_the_layer_that_fails() {
    let cluster = Cluster::new(10, 2);
    let mut sealed = seal(1, &cluster.keyring, &at(b"k", 1), b"s");
    sealed.wrap[1..9].copy_from_slice(&1_u64.to_be_bytes());
    assert_eq!(
        open(&cluster.keyring, &at(b"k", 1), &sealed).unwrap_err(),
        OpenError::Wrap { epoch: epoch(1) }
    );
    sealed.wrap[1..9].copy_from_slice(&3_u64.to_be_bytes());
    let (unknown, newest) = (epoch(3), epoch(2));
    assert_eq!(
        open(&cluster.keyring, &at(b"k", 1), &sealed).unwrap_err(),
        OpenError::EpochUnknown {
            epoch: unknown,
            newest
        }
    );
    sealed.wrap[1..9].copy_from_slice(&0_u64.to_be_bytes());
    let (part, length) = (Part::Wrap, sealed.wrap.len());
    assert_eq!(
        open(&cluster.keyring, &at(b"k", 1), &sealed).unwrap_err(),
        OpenError::Malformed { part, length }
    );
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let cluster = Cluster::new(11, 1);
    for part in [Part::Payload, Part::Wrap] {
        let mut sealed = seal(1, &cluster.keyring, &at(b"k", 1), b"s");
        match part {
            Part::Payload => sealed.payload[0] = 2,
            Part::Wrap => sealed.wrap[0] = 2,
        }
        let refused = open(&cluster.keyring, &at(b"k", 1), &sealed).unwrap_err();
        assert_eq!(refused, OpenError::NewerFormat { part, found: 2 });
        assert!(refused.to_string().contains("newer"), "{refused}");
    }
}

#[test]
fn rewrapping_to_an_epoch_that_is_not_there_keeps_the_old_wrap_good() {
    let cluster = Cluster::new(12, 1);
    let place = at(b"k", 1);
    let sealed = seal(1, &cluster.keyring, &place, b"s");
    let digest = PayloadDigest::of(&sealed.payload);
    let refused = rewrap(&cluster.keyring, &place, &digest, &sealed.wrap, 2).unwrap_err();
    let (unknown, newest) = (epoch(2), epoch(1));
    assert_eq!(
        refused,
        OpenError::EpochUnknown {
            epoch: unknown,
            newest
        }
    );
    open(&cluster.keyring, &place, &sealed).unwrap();
}

#[test]
fn the_same_plaintext_never_looks_the_same() {
    let cluster = Cluster::new(13, 1);
    let mut random = holdfast_seal::OsRandom;
    let mut once =
        || envelope::seal(&mut random, cluster.keyring.newest(), &at(b"k", 1), b"same").unwrap();
    let (one, other) = (once(), once());
    // Nonces, too: those of wraps are all used with one key.
    assert_ne!(one.payload[1..25], other.payload[1..25]);
    assert_ne!(one.payload[25..], other.payload[25..]);
    assert_ne!(one.wrap[9..33], other.wrap[9..33]);
    assert_ne!(one.wrap[33..], other.wrap[33..]);
}

#[test]
fn short_secrets_are_all_of_one_length() {
    let lengths: Vec<_> = (0..=60).map(envelope::payload_length).collect();
    assert!(lengths.iter().all(|length| *length == lengths[0]));
    assert!(envelope::payload_length(61) > lengths[0]);
}

#[test]
fn the_largest_secret_fits_and_the_next_is_refused() {
    let cluster = Cluster::new(14, 1);
    let plaintext = vec![0x5a; MAX_PLAINTEXT + 1];
    let key = cluster.keyring.newest();
    let refused = envelope::seal(&mut Seeded::new(1), key, &at(b"k", 1), &plaintext);
    let length = MAX_PLAINTEXT + 1;
    assert_eq!(refused.unwrap_err(), SealError::TooLarge { length });
    let sealed = seal(1, &cluster.keyring, &at(b"k", 1), &plaintext[1..]);
    let opened = open(&cluster.keyring, &at(b"k", 1), &sealed).unwrap();
    assert_eq!(opened.expose(), &plaintext[1..]);
}

fn seal(seed: u64, keyring: &Keyring, place: &Context<'_>, plaintext: &[u8]) -> Sealed {
    envelope::seal(&mut Seeded::new(seed), keyring.newest(), place, plaintext).unwrap()
}

fn open(
    keyring: &Keyring,
    place: &Context<'_>,
    sealed: &Sealed,
) -> Result<holdfast_seal::SecretBytes, OpenError> {
    envelope::open(keyring, place, &sealed.payload, &sealed.wrap)
}

fn rewrap(
    keyring: &Keyring,
    place: &Context<'_>,
    digest: &PayloadDigest,
    wrap: &[u8],
    to: u64,
) -> Result<Vec<u8>, OpenError> {
    envelope::rewrap(
        &mut Seeded::new(99),
        keyring,
        place,
        digest,
        wrap,
        epoch(to),
    )
}
