//! Which node is asked, and which nodes there are.

use tonic::transport::Endpoint;

use super::*;
use crate::{ClientOptions, Context, credentials::Credentials};

fn three() -> Nodes {
    let channel = || Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    let nodes = Nodes::given(vec![channel(), channel(), channel()]).unwrap();
    for (place, node) in nodes.all().iter().enumerate() {
        node.member.store(place as u64 + 1, Relaxed);
    }
    nodes
}

fn header(member: u64, term: u64) -> v1::Header {
    v1::Header {
        member,
        term,
        ..Default::default()
    }
}

#[tokio::test]
async fn writes_follow_the_leader_and_reads_go_round() {
    let nodes = three();
    let all = nodes.all();
    assert!(!nodes.learn(&all[0], &header(1, 5), Some(3)));
    for _ in 0..4 {
        let node = nodes.pick(Route::Leader, Needs::Majority, None).unwrap();
        assert!(Arc::ptr_eq(&node, &all[2]));
    }
    let mut seen: Vec<_> = (0..3)
        .map(|_| {
            nodes
                .pick(Route::Spread, Needs::Majority, None)
                .unwrap()
                .address
                .clone()
        })
        .collect();
    seen.sort();
    assert_eq!(seen, ["channel-0", "channel-1", "channel-2"]);
}

#[tokio::test]
async fn a_node_that_failed_is_avoided_until_it_answers() {
    let nodes = three();
    let all = nodes.all();
    nodes.unreachable(&all[1], Instant::now());
    for _ in 0..6 {
        let node = nodes.pick(Route::Spread, Needs::Majority, None).unwrap();
        assert!(!Arc::ptr_eq(&node, &all[1]));
    }
    nodes.unreachable(&all[0], Instant::now());
    let last = nodes.pick(Route::Spread, Needs::Majority, Some(&all[2]));
    assert!(last.is_some(), "better a failed node than none");
    nodes.answered(&all[1], Needs::Node);
    assert_eq!(all[1].passable_at_ms(Needs::Majority), 0);
}

#[tokio::test]
async fn a_node_without_a_majority_is_avoided_for_what_needs_one_only() {
    let nodes = three();
    let all = nodes.all();
    nodes.silent(&all[1], Needs::Majority, Instant::now());
    // What it answers alone says nothing about the majority.
    nodes.answered(&all[1], Needs::Node);
    let picked = |needs| {
        (0..6).any(|_| {
            let node = nodes.pick(Route::Spread, needs, None).unwrap();
            Arc::ptr_eq(&node, &all[1])
        })
    };
    assert!(!picked(Needs::Majority));
    assert!(picked(Needs::Node));
    nodes.answered(&all[1], Needs::Majority);
    assert!(picked(Needs::Majority));
}

#[tokio::test]
async fn a_witness_is_asked_nothing_even_while_it_leads() {
    let nodes = three();
    let all = nodes.all();
    all[1].note_witness(true);
    nodes.learn(&all[0], &header(1, 7), Some(2));
    nodes.unreachable(&all[0], Instant::now());
    nodes.unreachable(&all[2], Instant::now());
    for route in [Route::Leader, Route::Spread] {
        for _ in 0..6 {
            let node = nodes.pick(route, Needs::Majority, None).unwrap();
            assert!(!Arc::ptr_eq(&node, &all[1]));
        }
    }
    all[0].note_witness(true);
    assert!(
        nodes
            .pick(Route::Spread, Needs::Majority, Some(&all[2]))
            .is_none()
    );
}

#[tokio::test]
async fn an_older_term_never_moves_the_leader() {
    let nodes = three();
    let all = nodes.all();
    nodes.learn(&all[0], &header(1, 7), Some(1));
    assert!(!nodes.learn(&all[1], &header(2, 6), Some(2)));
    let node = nodes.pick(Route::Leader, Needs::Majority, None).unwrap();
    assert!(Arc::ptr_eq(&node, &all[0]));
    assert!(
        nodes.learn(&all[1], &header(2, 8), None),
        "a new term is looked up"
    );
}

macro_rules! pem {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/suite/trust/", $name)).to_vec()
    };
}

fn list(term: u64, as_of_ms: u64, addresses: &[&str]) -> v1::MemberListResponse {
    let member = |(place, address): (usize, &&str)| v1::Member {
        id: place as u64 + 1,
        address: (*address).to_owned(),
        ..v1::Member::default()
    };
    v1::MemberListResponse {
        header: Some(header(1, term)),
        members: addresses.iter().enumerate().map(member).collect(),
        as_of_ms,
        ..v1::MemberListResponse::default()
    }
}

/// Those of a context that names one.
fn dialed() -> Nodes {
    let context = Context {
        cluster: "home".to_owned(),
        endpoints: vec!["a:1".to_owned()],
        ca: pem!("ca.crt"),
        cert: pem!("client.crt"),
        key: pem!("client.key"),
        ..Context::default()
    };
    let credentials = Credentials::new(&context).unwrap();
    let dialer = Dialer::new(credentials, &ClientOptions::default());
    Nodes::dialed(&context.endpoints, dialer).unwrap()
}

/// Two lists are asked for in turn, and the older one arrives last, as one did while a member was being
/// removed: a client then went on asking the node that was removed.
#[tokio::test]
async fn a_member_list_that_was_overtaken_replaces_nothing() {
    let nodes = dialed();
    let known = || -> Vec<String> {
        let all = nodes.all();
        all.iter().map(|node| node.address().to_owned()).collect()
    };
    nodes.learn_members(&list(3, 2_000, &["a:1", "b:1"]));
    nodes.learn_members(&list(3, 1_000, &["a:1", "b:1", "removed:1"]));
    assert_eq!(known(), ["a:1", "b:1"], "an older list counted");
    nodes.learn_members(&list(2, 1_500, &["a:1"]));
    assert_eq!(known(), ["a:1", "b:1"], "one of an older term counted");
    nodes.learn_members(&list(3, 3_000, &["a:1", "b:1", "c:1"]));
    assert_eq!(known(), ["a:1", "b:1", "c:1"]);
    // A clock that was ahead does not shut the client off from the next term's lists.
    nodes.learn_members(&list(4, 1_000, &["a:1", "c:1"]));
    assert_eq!(known(), ["a:1", "c:1"]);
}

/// Whatever the first call was: who began with one address may lose just that node.
#[tokio::test]
async fn the_members_are_looked_up_with_the_first_answer_and_when_they_chose_another_leader() {
    let nodes = dialed();
    let node = Arc::clone(&nodes.all()[0]);
    assert!(
        nodes.learn(&node, &header(1, 5), Some(1)),
        "nobody knows the others"
    );
    nodes.learn_members(&v1::MemberListResponse {
        header: Some(header(1, 5)),
        leader: 1,
        ..v1::MemberListResponse::default()
    });
    assert!(!nodes.learn(&node, &header(1, 5), Some(1)));
    assert!(nodes.learn(&node, &header(1, 6), Some(2)), "another leads");
}
