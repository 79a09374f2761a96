//! Anchors of audit logs: they go forward, are bounded, and come through an archive.

use holdfast_core::{AnchorHash, Body, Command, Reason, State};
use holdfast_proto::{NodeId, limits};

use crate::{
    members::founding,
    store::{Store, assert_reason},
};

fn anchor(member: u64, sequence: u64, byte: u8) -> Body {
    Body::AuditAnchor {
        member: NodeId(member),
        sequence,
        hash: AnchorHash::from_bytes([byte; 32]),
    }
}

fn founded() -> Store {
    let mut store = Store::new();
    store.done(founding());
    store
}

#[test]
fn a_members_anchors_only_go_forward() {
    let mut store = founded();
    store.done(anchor(1, 5, 1));
    for sequence in [5, 4] {
        let refusal = store.refused(anchor(1, sequence, 2));
        assert_reason(&refusal, Reason::Invalid, "up to record 5 already");
    }
    store.done(anchor(1, 6, 2));
    let kept: Vec<u64> = store
        .state
        .anchors(NodeId(1))
        .map(|anchor| anchor.sequence)
        .collect();
    assert_eq!(kept, [5, 6]);
    let refusal = store.refused(anchor(9, 1, 1));
    assert_reason(&refusal, Reason::MemberMissing, "no member 9");
}

#[test]
fn the_oldest_anchors_go_first() {
    let mut store = founded();
    let most = limits::AUDIT_ANCHORS as u64;
    for sequence in 1..=most + 3 {
        store.done(anchor(1, sequence, 1));
    }
    let mut kept = store.state.anchors(NodeId(1));
    assert_eq!(kept.next().unwrap().sequence, 4);
    assert_eq!(kept.next_back().unwrap().sequence, most + 3);
    assert_eq!(kept.count() as u64, most - 2);
}

#[test]
fn anchors_come_through_an_archive_and_count_in_the_hash() {
    let mut store = founded();
    let before = store.state.hash();
    store.done(anchor(1, 5, 1));
    let mut other = founded();
    other.done(anchor(1, 5, 2));
    assert_ne!(store.state.hash(), before);
    assert_ne!(store.state.hash(), other.state.hash());
    let back = State::from_rows(store.state.rows()).unwrap();
    assert_eq!(back.hash(), store.state.hash());
    let kept: Vec<_> = back.anchors(NodeId(1)).copied().collect();
    assert_eq!(
        kept,
        store.state.anchors(NodeId(1)).copied().collect::<Vec<_>>()
    );
}

#[test]
fn an_anchor_comes_back_from_its_bytes() {
    let command = Command::internal("node/n1", anchor(1, 5, 7));
    assert_eq!(Command::decode(command.encode()).unwrap(), command);
}
