//! Nothing that holds a secret shows it, neither in `{:?}` nor in an error.

use std::fmt::Debug;

use holdfast_seal::{
    EpochKey, Gathered, Keyring, NodeKey, Protect, Protector, RecoveryKey, SecretBytes, Share,
    Split, SymmetricKey, Unlock, envelope,
};

use crate::fixture::{Cluster, Seeded, at};

#[test]
fn what_holds_a_secret_has_a_debug_that_is_silent() {
    let cluster = Cluster::new(1, 2);
    let mut random = Seeded::new(2);
    let (recovery, shares) = RecoveryKey::split_new(&mut random, Split::new(3, 2).unwrap());
    let plaintext = SecretBytes::from(b"correct horse".to_vec());
    let key = SymmetricKey::generate(&mut random);
    let shown = [
        show(&plaintext),
        show(&key),
        show(&cluster.keyring),
        show(cluster.keyring.newest()),
        show(&cluster.node),
        show(&recovery),
        show(&shares),
        show(&Protect::SystemdCredential(&plaintext)),
        show(&Unlock::Passphrase(&plaintext)),
    ];
    for text in &shown {
        assert!(!text.contains("correct horse"), "{text}");
        assert!(text.contains(".."), "{text}");
        assert!(text.len() < 200, "{text}");
        // No run of numbers or digits that could be a key's bytes.
        assert!(
            !text.contains(", 0x") && text.matches(',').count() < 12,
            "{text}"
        );
    }
    let secret = &shares[0].to_text();
    let secret = secret.expose_text().unwrap();
    // The value begins in the fourth group after the prefix; the set before it is no secret.
    for group in secret.split('-').skip(5) {
        assert!(!shown[6].contains(group), "{}", shown[6]);
    }
}

#[test]
fn no_error_shows_what_was_sealed_or_typed() {
    let cluster = Cluster::new(3, 1);
    let mut random = Seeded::new(4);
    let sealed = envelope::seal(
        &mut random,
        cluster.keyring.newest(),
        &at(b"k", 1),
        b"hunter2",
    )
    .unwrap();
    let error = envelope::open(
        &cluster.keyring,
        &at(b"k", 2),
        &sealed.payload,
        &sealed.wrap,
    );
    let error = error.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let passphrase = SecretBytes::from(b"hunter2, again and again and again".to_vec());
    let file = crate::node_keys::file(Protector::Passphrase);
    let error = NodeKey::open(file.expose(), &Unlock::Passphrase(&passphrase)).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let error = holdfast_seal::Share::parse("HFS1-HUNTER2-U").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("HUNTER2"));
}

#[test]
fn what_holds_a_secret_cannot_be_copied_or_printed_and_is_wiped() {
    // Or the probe would be no use.
    const { assert!(Probe::<String>::IS_CLONE && Probe::<String>::IS_DISPLAY) };
    macro_rules! probe {
        ($($secret:ty),+) => {$(
            const { assert!(!Probe::<$secret>::IS_CLONE && !Probe::<$secret>::IS_DISPLAY) };
        )+};
    }
    probe!(
        SecretBytes,
        SymmetricKey,
        EpochKey,
        Keyring,
        NodeKey,
        RecoveryKey,
        Share,
        Gathered
    );
    // Of the types above, these two hold the bytes; all others hold these two.
    fn is_wiped<Secret: zeroize::ZeroizeOnDrop>() {}
    is_wiped::<SecretBytes>();
    is_wiped::<SymmetricKey>();
}

/// Tells at compile time what a type can do: an inherent constant comes before a trait's.
struct Probe<Subject>(std::marker::PhantomData<Subject>);

trait Otherwise {
    const IS_CLONE: bool = false;
    const IS_DISPLAY: bool = false;
}

impl<Subject> Otherwise for Probe<Subject> {}

impl<Subject: Clone> Probe<Subject> {
    const IS_CLONE: bool = true;
}

impl<Subject: std::fmt::Display> Probe<Subject> {
    const IS_DISPLAY: bool = true;
}

fn show(value: &impl Debug) -> String {
    format!("{value:?}")
}
