//! Each holder opens its own wrap, and from it the keys of all epochs; nobody else opens anything.

use holdfast_seal::epoch::Part;
use holdfast_seal::{
    Epoch, EpochError, EpochKey, EscrowProof, Keyring, KeyringError, NodeKey, PublicKey, Recipient,
    RecoveryKey, Split,
};
use proptest::prelude::*;

use crate::fixture::{Cluster, MEMBER, Record, Seeded, damage, epoch, lineage};

#[test]
fn one_wrap_opens_all_epochs() {
    let cluster = Cluster::new(1, 6);
    let newest = open_newest(&cluster).unwrap();
    let records = cluster.records.iter().rev().map(Record::as_record);
    let keyring = Keyring::open(newest, records).unwrap();
    let epochs: Vec<_> = keyring.epochs().map(Epoch::number).collect();
    assert_eq!(epochs, [1, 2, 3, 4, 5, 6]);
    for record in &cluster.records {
        assert!(keyring.key(record.epoch).unwrap().matches(&record.check));
    }
    assert!(keyring.key(epoch(7)).is_none());
}

#[test]
fn an_older_wrap_opens_what_came_before_it_and_nothing_after() {
    let cluster = Cluster::new(2, 5);
    let record = &cluster.records[2];
    let third = open_wrap(&cluster, record).unwrap();
    let records = cluster.records.iter().map(Record::as_record);
    let keyring = Keyring::open(third, records).unwrap();
    assert_eq!(keyring.newest().epoch(), epoch(3));
    assert_eq!(keyring.epochs().count(), 3);
}

#[test]
fn a_wrap_opens_for_its_holder_its_epoch_and_its_cluster_only() {
    let cluster = Cluster::new(3, 2);
    let record = &cluster.records[1];
    let check = &record.check;
    let stranger = NodeKey::generate(&mut Seeded::new(50));
    let not_opened = |epoch| EpochError::NotOpened {
        part: Part::Wrap,
        epoch,
    };
    let (second, third) = (epoch(2), epoch(3));
    let node = &cluster.node;
    let wrap = &record.wrap;
    let ours = &cluster.lineage;
    for (refused, epoch) in [
        (
            stranger.open_epoch(ours, second, MEMBER, wrap, check),
            second,
        ),
        (
            node.open_epoch(ours, second, MEMBER + 1, wrap, check),
            second,
        ),
        (node.open_epoch(ours, third, MEMBER, wrap, check), third),
        (
            node.open_epoch(&lineage("c-1f3b"), second, MEMBER, wrap, check),
            second,
        ),
        (
            node.open_epoch(ours, second, MEMBER, &cluster.records[0].wrap, check),
            second,
        ),
    ] {
        assert_eq!(refused.unwrap_err(), not_opened(epoch));
    }
    open_wrap(&cluster, record).unwrap();
}

#[test]
fn a_key_that_is_not_the_epochs_is_refused_though_its_wrap_opens() {
    // A member could wrap any key it likes for another one.
    let cluster = Cluster::new(4, 1);
    let mut random = Seeded::new(51);
    let forged = EpochKey::generate(&mut random, &cluster.lineage, Epoch::FIRST);
    let wrap = forged.wrap_for(
        &mut random,
        Recipient::Member(MEMBER),
        cluster.node.public(),
    );
    let check = &cluster.records[0].check;
    let refused = cluster
        .node
        .open_epoch(&cluster.lineage, Epoch::FIRST, MEMBER, &wrap, check);
    let (part, epoch) = (Part::Wrap, Epoch::FIRST);
    assert_eq!(refused.unwrap_err(), EpochError::WrongKey { part, epoch });
}

#[test]
fn the_recovery_key_opens_its_wrap_and_no_members() {
    let cluster = Cluster::new(5, 2);
    let mut random = Seeded::new(52);
    let (recovery, _) = RecoveryKey::split_new(&mut random, Split::new(3, 2).unwrap());
    let newest = cluster.keyring.newest();
    let wrap = newest.wrap_for(&mut random, Recipient::Recovery, recovery.public());
    let (ours, second, check) = (&cluster.lineage, epoch(2), newest.check());
    let opened = recovery.open_epoch(ours, second, &wrap, &check).unwrap();
    let records = cluster.records.iter().map(Record::as_record);
    assert_eq!(Keyring::open(opened, records).unwrap().epochs().count(), 2);
    let as_member = newest.wrap_for(&mut random, Recipient::Member(0), recovery.public());
    recovery
        .open_epoch(ours, second, &as_member, &check)
        .unwrap_err();
}

#[test]
fn records_that_were_swapped_or_are_missing_are_named() {
    let cluster = Cluster::new(6, 4);
    let open = |records: &[Record]| {
        let newest = open_newest(&cluster).unwrap();
        Keyring::open(newest, records.iter().map(Record::as_record)).unwrap_err()
    };
    let copy = |record: &Record| Record {
        epoch: record.epoch,
        check: record.check,
        sealed_previous: record.sealed_previous.clone(),
        wrap: Vec::new(),
    };
    let mut records: Vec<_> = cluster.records.iter().map(copy).collect();
    records.remove(1);
    let (missing, newest) = (epoch(2), epoch(4));
    assert_eq!(open(&records), KeyringError::Gap { missing, newest });

    let mut records: Vec<_> = cluster.records.iter().map(copy).collect();
    records[2].sealed_previous = cluster.records[3].sealed_previous.clone();
    let part = Part::SealedPrevious;
    let not_opened = EpochError::NotOpened {
        part,
        epoch: epoch(2),
    };
    assert_eq!(open(&records), KeyringError::Epoch(not_opened));

    let mut records: Vec<_> = cluster.records.iter().map(copy).collect();
    records[1].check = cluster.records[0].check;
    let wrong = EpochError::WrongKey {
        part,
        epoch: epoch(2),
    };
    assert_eq!(open(&records), KeyringError::Epoch(wrong));
}

#[test]
fn a_keyring_goes_on_with_the_next_epoch_of_its_own_cluster_only() {
    let mut random = Seeded::new(53);
    let mut cluster = Cluster::new(7, 2);
    let skipped = EpochKey::generate(&mut random, &cluster.lineage, epoch(4));
    let foreign = EpochKey::generate(&mut random, &lineage("c-x"), epoch(3));
    let (newest, found) = (epoch(2), epoch(4));
    assert_eq!(
        cluster.keyring.advance(skipped).unwrap_err(),
        KeyringError::OutOfOrder { newest, found }
    );
    assert_eq!(
        cluster.keyring.advance(foreign).unwrap_err(),
        KeyringError::OtherLineage { epoch: epoch(3) }
    );
    let next = cluster.keyring.newest().successor(&mut random);
    cluster.keyring.advance(next).unwrap();
    assert_eq!(cluster.keyring.newest().epoch(), epoch(3));
}

#[test]
fn a_proof_of_escrow_holds_for_its_key_and_challenge_only() {
    let cluster = Cluster::new(8, 2);
    let (first, second) = (
        cluster.keyring.key(epoch(1)).unwrap(),
        cluster.keyring.key(epoch(2)).unwrap(),
    );
    let challenge = [9; 32];
    let proof = second.escrow_proof(&challenge);
    assert!(second.verify_escrow(&challenge, &proof));
    assert!(!first.verify_escrow(&challenge, &proof));
    assert!(!second.verify_escrow(&[8; 32], &proof));
    // What stands in the cluster's records, or on the wire before, is no proof.
    let check = EscrowProof::from_bytes(*second.check().as_bytes());
    assert!(!second.verify_escrow(&challenge, &check));
    for bit in 0..256 {
        let mut bytes = *proof.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!second.verify_escrow(&challenge, &EscrowProof::from_bytes(bytes)));
    }
}

#[test]
fn a_public_key_is_checked_before_anything_is_wrapped_for_it() {
    let node = NodeKey::generate(&mut Seeded::new(54));
    let bytes = node.public().as_bytes();
    assert_eq!(&PublicKey::from_bytes(bytes).unwrap(), node.public());
    PublicKey::from_bytes(&bytes[1..]).unwrap_err();
    PublicKey::from_bytes(&[]).unwrap_err();
    // Coefficients of ML-KEM are below 3329.
    PublicKey::from_bytes(&[0xff; 1216]).unwrap_err();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_wrap_or_sealed_key_does_not_open(damage in damage()) {
        let cluster = Cluster::new(9, 2);
        let [first, second] = &cluster.records[..] else { unreachable!() };
        let damaged = Record {
            wrap: damage.apply(&second.wrap),
            epoch: second.epoch,
            check: second.check,
            sealed_previous: damage.apply(&second.sealed_previous),
        };
        prop_assert!(open_wrap(&cluster, &damaged).is_err());
        let newest = open_newest(&cluster).unwrap();
        let records = [first.as_record(), damaged.as_record()];
        prop_assert!(Keyring::open(newest, records).is_err());
    }
}

fn open_newest(cluster: &Cluster) -> Result<EpochKey, EpochError> {
    open_wrap(cluster, cluster.records.last().unwrap())
}

fn open_wrap(cluster: &Cluster, record: &Record) -> Result<EpochKey, EpochError> {
    let (lineage, check) = (&cluster.lineage, &record.check);
    cluster
        .node
        .open_epoch(lineage, record.epoch, MEMBER, &record.wrap, check)
}
