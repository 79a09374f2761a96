//! Cluster: joining, status, members, leadership, and stopping in order.

use holdfast_proto::{DESCRIPTORS, v1};
use holdfast_server::{identity::JoinToken, node::Node};
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::nodes::{Clients as _, Nodes, PATIENCE, eventually, put, reason, restart};

async fn status(node: &Node) -> v1::StatusResponse {
    let request = v1::StatusRequest { local: false };
    node.cluster().status(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn three_nodes_agree_and_say_so() {
    let nodes = Nodes::three().await;
    nodes.all[1].kv().put(put("a", "1")).await.unwrap();
    let applied = |node: &Node| node.replica().store().applied();
    eventually("all have applied everything", || {
        nodes
            .all
            .iter()
            .all(|node| applied(node) == applied(&nodes.all[0]))
    })
    .await;
    let status = status(&nodes.all[2]).await;
    assert_eq!(status.members.len(), 3);
    assert!(
        status
            .members
            .iter()
            .all(|member| member.reachable && member.problem.is_empty())
    );
    assert_eq!(
        status.members.iter().filter(|member| member.leader).count(),
        1
    );
    let hash = &status.members[0].state_hash;
    assert!(
        !hash.is_empty()
            && status
                .members
                .iter()
                .all(|member| member.state_hash == *hash)
    );
    assert_eq!(status.problems, Vec::<String>::new());
    assert!(
        status
            .limits
            .iter()
            .any(|limit| limit.name == "state" && limit.used > 0)
    );
    nodes.shutdown().await;
}

/// A leader is there some milliseconds before the cluster is. A token made in between named no
/// endpoint, and whoever was given it could not join: seen as a rare failure of a test at first.
#[tokio::test]
async fn nothing_is_answered_before_the_cluster_is_formed() {
    let (_home, dir) = Nodes::unborn();
    let node = Node::start(dir).await.unwrap();
    let mut cluster = node.cluster();
    let token = tokio::time::timeout(PATIENCE, async {
        loop {
            match cluster
                .create_token(v1::CreateTokenRequest::default())
                .await
            {
                Ok(answer) => break answer.into_inner().token,
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
            }
        }
    });
    let token: JoinToken = token.await.unwrap().parse().unwrap();
    assert_eq!(token.endpoints(), [node.address().to_string()]);
    node.shutdown().await;
}

#[tokio::test]
async fn leadership_moves_on_request_and_when_its_holder_stops() {
    let mut nodes = Nodes::three().await;
    let (leader, follower) = nodes.leader_and_follower();
    let to = follower.replica().id().0;
    let moved = leader
        .cluster()
        .transfer_leader(v1::TransferLeaderRequest { to })
        .await
        .unwrap();
    assert_eq!(moved.into_inner().leader, to);
    let nobody = v1::TransferLeaderRequest { to: 99 };
    let refused = follower
        .cluster()
        .transfer_leader(nobody)
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "member_missing");

    let leading = nodes
        .all
        .iter()
        .position(|node| node.replica().id().0 == to)
        .unwrap();
    let stopped = nodes.all.remove(leading);
    let path = stopped.dir().path().to_owned();
    stopped.shutdown().await;
    let written = nodes.all[0].client().put("while/one/is/away", "x").await;
    written.expect("the SDK repeats what was cut off");
    nodes.all.push(restart(&path).await);
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_member_is_promoted_and_removed_for_good() {
    let mut nodes = Nodes::one().await;
    nodes.join("n2", v1::Role::Learner).await;
    let (first, second) = (&nodes.all[0], &nodes.all[1]);
    assert!(
        !first
            .replica()
            .status()
            .voters
            .contains(&second.replica().id())
    );
    let id = second.replica().id().0;
    let promote = v1::PromoteRequest { id, request: None };
    first.cluster().promote(promote).await.unwrap();
    assert_eq!(first.replica().status().voters.len(), 2);
    let remove = v1::RemoveRequest {
        id,
        ..v1::RemoveRequest::default()
    };
    second.cluster().remove(remove.clone()).await.unwrap();
    eventually("one voter is left", || {
        first.replica().status().voters.len() == 1
    })
    .await;
    // Asked again, it is not removed again: the answer tells of the removal that there was.
    let again = first.cluster().remove(remove).await.unwrap().into_inner();
    assert_eq!(again.removal.unwrap().member.unwrap().id, id);
    let last = v1::RemoveRequest {
        id: 1,
        ..v1::RemoveRequest::default()
    };
    assert_eq!(
        reason(&first.cluster().remove(last).await.unwrap_err()),
        "not_possible"
    );
    nodes.shutdown().await;
}

#[tokio::test]
async fn joining_is_refused_in_words_for_each_thing_that_can_be_wrong() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let token = nodes.token(v1::Role::Voter).await;
    let key = holdfast_server::identity::NodeKey::generate().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64;
    let good = v1::JoinRequest {
        token,
        name: "n2".to_owned(),
        address: "127.0.0.1:7102".to_owned(),
        certificate_request: key.certificate_request().unwrap().into(),
        node_time_ms: now,
        request: None,
    };
    let with = |change: fn(&mut v1::JoinRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    for (request, expected) in [
        (
            with(|request| request.token = "hf1-x".to_owned()),
            "token_invalid",
        ),
        (with(|request| request.name = "N 2".to_owned()), "invalid"),
        (with(|request| request.name = "n1".to_owned()), "name_taken"),
        (
            with(|request| request.address = "nowhere".to_owned()),
            "invalid",
        ),
        (
            with(|request| request.node_time_ms -= 6 * 60 * 1_000),
            "clock_off",
        ),
        (
            with(|request| request.certificate_request.clear()),
            "invalid",
        ),
    ] {
        let refused = node.cluster().join(request).await.unwrap_err();
        assert_eq!(reason(&refused), expected, "{}", refused.message());
    }
    node.cluster().join(good.clone()).await.unwrap();
    let used = v1::JoinRequest {
        name: "n3".to_owned(),
        ..good
    };
    let refused = node.cluster().join(used).await.unwrap_err();
    assert_eq!(reason(&refused), "token_invalid");
}

#[tokio::test]
async fn health_and_reflection_are_served_and_peers_methods_are_not_for_clients() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let mut health = HealthClient::new(node.channel());
    let check = HealthCheckRequest {
        service: "holdfast.v1.Kv".to_owned(),
    };
    let status = health.check(check).await.unwrap().into_inner().status();
    assert_eq!(
        status,
        tonic_health::pb::health_check_response::ServingStatus::Serving
    );
    assert!(!DESCRIPTORS.is_empty());
    let mut peer = holdfast_proto::peer::v1::node_client::NodeClient::new(node.channel());
    let refused = peer
        .state_hash(Request::new(holdfast_proto::peer::v1::StateHashRequest {
            index: 0,
        }))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::PermissionDenied, "not_allowed")
    );
    nodes.shutdown().await;
}
