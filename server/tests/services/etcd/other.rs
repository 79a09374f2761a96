//! Members, maintenance, users, and what is not served.

use holdfast_proto::etcd::etcdserverpb::{
    AlarmRequest, AuthStatusRequest, AuthUserListRequest, AuthenticateRequest, DefragmentRequest,
    HashKvRequest, MemberListRequest, MemberRemoveRequest, SnapshotRequest, StatusRequest,
    auth_client::AuthClient, cluster_client::ClusterClient, maintenance_client::MaintenanceClient,
};
use sha2::{Digest as _, Sha256};
use tonic::Code;

use super::{access, kv, plain, put};
use crate::nodes::Nodes;

#[tokio::test]
async fn members_are_listed_with_where_their_fronts_are_even_when_one_is_down() {
    let mut nodes = Nodes::three().await;
    let addresses: Vec<_> = nodes.all.iter().map(|node| node.etcd_address()).collect();
    let channel = access::channel(&nodes.all[0], &access::admin(&nodes));
    let mut members = ClusterClient::new(channel);
    let list = MemberListRequest { linearizable: true };
    let fronts = async |members: &mut ClusterClient<_>| {
        let listed = members
            .member_list(list)
            .await
            .unwrap()
            .into_inner()
            .members;
        let urls = listed.into_iter().map(|member| member.client_ur_ls);
        urls.collect::<Vec<_>>()
    };
    let expected: Vec<_> = addresses
        .iter()
        .map(|address| vec![format!("https://{}", address.unwrap())])
        .collect();
    assert_eq!(fronts(&mut members).await, expected);
    let last = nodes.all.pop().unwrap();
    last.shutdown().await;
    assert_eq!(fronts(&mut members).await, expected);
    let refused = members
        .member_remove(MemberRemoveRequest { id: 3 })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("kvctl member remove"));
    nodes.shutdown().await;
}

#[tokio::test]
async fn maintenance_tells_how_the_node_is_and_gives_out_its_archive() {
    let nodes = Nodes::one_plain().await;
    let node = &nodes.all[0];
    kv(node).put(put("a", "1")).await.unwrap();
    let mut maintenance = MaintenanceClient::new(plain(node));
    let status = maintenance
        .status(StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!((&*status.version, status.leader), ("3.6.0", 1));
    assert!(status.db_size > 0 && status.raft_applied_index > 0 && status.errors.is_empty());
    let alarms = maintenance.alarm(AlarmRequest::default()).await.unwrap();
    assert!(alarms.get_ref().alarms.is_empty());
    maintenance.defragment(DefragmentRequest {}).await.unwrap();
    let mut hash = async |revision| {
        let answer = maintenance.hash_kv(HashKvRequest { revision }).await;
        answer.unwrap().into_inner().hash
    };
    let first = hash(1).await;
    kv(node).put(put("a", "2")).await.unwrap();
    assert_eq!(hash(1).await, first);
    assert_ne!(hash(0).await, first);

    let mut pieces = maintenance
        .snapshot(SnapshotRequest {})
        .await
        .unwrap()
        .into_inner();
    let mut archive = Vec::new();
    let mut left = u64::MAX;
    while let Some(piece) = pieces.message().await.unwrap() {
        assert!(piece.remaining_bytes < left);
        left = piece.remaining_bytes;
        archive.extend_from_slice(&piece.blob);
    }
    assert_eq!(left, 0);
    let newest = node.replica().store().newest_archive().unwrap();
    let newest = std::fs::read(newest.path).unwrap();
    let (whole, checksum) = archive.split_at(archive.len() - 32);
    assert_eq!(whole.len(), newest.len().next_multiple_of(512));
    let (ours, padding) = whole.split_at(newest.len());
    assert!(ours == newest && padding.iter().all(|byte| *byte == 0));
    assert_eq!(checksum, &Sha256::digest(whole)[..]);
    nodes.shutdown().await;
}

#[tokio::test]
async fn what_is_not_served_says_what_to_use_instead() {
    let nodes = Nodes::one_plain().await;
    let node = &nodes.all[0];
    let mut users = AuthClient::new(plain(node));
    let status = users.auth_status(AuthStatusRequest {}).await.unwrap();
    assert!(!status.get_ref().enabled);
    let refused = users
        .authenticate(AuthenticateRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (
            Code::FailedPrecondition,
            "etcdserver: authentication is not enabled"
        )
    );
    let refused = users.user_list(AuthUserListRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("certificate"));
    // Our own services are on the other port.
    let mut ours = holdfast_proto::v1::kv_client::KvClient::new(plain(node));
    let refused = ours
        .range(holdfast_proto::v1::RangeRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("not served here"), "{refused}");
    nodes.shutdown().await;
}
