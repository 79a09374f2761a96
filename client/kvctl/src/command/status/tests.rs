use std::time::Duration;

use holdfast_client::{Member, NodeId, Role, Timestamp};

use super::*;

fn member(id: u64, reachable: bool, problem: &str) -> MemberStatus {
    MemberStatus {
        member: Member {
            id: NodeId(id),
            name: format!("n{id}"),
            address: format!("127.0.0.1:710{id}"),
            role: Role::Voter,
            joined_at: Timestamp::from_millis(0),
        },
        leader: id == 1,
        reachable,
        applied: 9,
        lag: 0,
        revision: 5,
        state_hash: vec![0xab; 32],
        version: "0.1.0".to_owned(),
        problem: problem.to_owned(),
        backup_at: None,
    }
}

fn status(leader: Option<u64>, members: Vec<MemberStatus>) -> sdk::Status {
    sdk::Status {
        cluster: "home".to_owned(),
        node: NodeId(1),
        term: 3,
        revision: 5,
        leader: leader.map(NodeId),
        members,
        limits: Vec::new(),
        keys: 1,
        compacted: 0,
        leases: 0,
        state_bytes: 100,
        past_rows: 0,
        past: "ready".to_owned(),
        log_first: 1,
        log_last: 9,
        snapshot: 0,
        problems: Vec::new(),
        cluster_time: Timestamp::from_millis(0),
    }
}

fn silent(endpoint: &str) -> (String, ReadError) {
    let error = ReadError::Unreachable {
        waited: Duration::from_secs(1),
        last: "refused".to_owned(),
    };
    (endpoint.to_owned(), error)
}

#[test]
fn each_problem_is_told_once_and_in_words() {
    let down = status(
        Some(1),
        vec![member(1, true, ""), member(2, false, "does not answer")],
    );
    assert_eq!(
        problems(&down, &[silent("127.0.0.1:7102")]),
        ["n2: does not answer"]
    );
    let apart = status(Some(1), vec![member(1, true, ""), member(2, true, "")]);
    let told = problems(&apart, &[silent("127.0.0.1:7102")]);
    assert!(
        told[0].starts_with("127.0.0.1:7102 does not answer here"),
        "{told:?}"
    );
    let headless = problems(&status(None, vec![member(1, true, "")]), &[]);
    assert!(headless[0].contains("no leader"), "{headless:?}");
    assert!(problems(&status(Some(1), vec![member(1, true, "")]), &[]).is_empty());
}

#[test]
fn a_cluster_serves_with_a_leader_and_most_voters() {
    let (up, down) = (|id| member(id, true, ""), |id| member(id, false, ""));
    assert!(serves(&status(Some(1), vec![up(1), up(2), down(3)])));
    assert!(!serves(&status(Some(1), vec![up(1), down(2), down(3)])));
    assert!(!serves(&status(Some(1), vec![down(1), up(2), up(3)])));
    assert!(!serves(&status(None, vec![up(2), up(3)])));
}

#[test]
fn when_nobody_answers_every_endpoint_is_named() {
    let failure = nobody_answers(&[silent("127.0.0.1:7101"), silent("127.0.0.1:7102")]);
    let shown = format!("{failure:?}");
    assert!(shown.contains("7101") && shown.contains("7102") && shown.contains("Unreachable"));
}

#[test]
fn a_member_that_is_down_shows_no_stale_numbers() {
    let row = member_row(&member(2, false, "down"));
    assert_eq!(row[2], "down");
    assert_eq!(row[4..7], ["-", "-", "-"]);
    assert_eq!(member_row(&member(1, true, ""))[7], "abababababab");
}

#[test]
fn sizes_are_shown_in_units_that_fit() {
    assert_eq!(amount(512, "operations"), "512 operations");
    assert_eq!(amount(1, "leases"), "1 lease");
    assert_eq!(amount(1024, "bytes"), "1.0 KiB");
    assert_eq!(amount(1_073_741_824, "bytes"), "1.0 GiB");
}

#[test]
fn the_json_names_what_the_documentation_names() {
    let json = status_json("home", &status(Some(1), vec![member(1, true, "")]), &[]);
    for field in [
        "cluster", "leader", "revision", "members", "limits", "problems", "log",
    ] {
        assert!(!json[field].is_null(), "{field}");
    }
    assert_eq!(json["members"][0]["role"], "voter");
    assert_eq!(json["members"][0]["state_hash"], "ab".repeat(32));
}
