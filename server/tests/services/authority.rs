//! The rotation of the authority, where only the inside of a node can arrange what goes wrong.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use holdfast_core::Authority;
use holdfast_proto::{
    NodeId,
    log::v1::{self as log, command::Body},
    v1,
};
use holdfast_server::{identity::CertificateAuthority, node::Node};
use prost::Message as _;

use crate::nodes::{Clients as _, Nodes, PATIENCE, eventually};

const REMOVED: u64 = 3;

/// Whether it was done; else it was refused.
async fn propose(node: &Node, body: Body) -> bool {
    let command = log::Command {
        author: "client/admin".to_owned(),
        body: Some(body),
        ..log::Command::default()
    };
    let deadline = (Instant::now() + PATIENCE).into();
    let bytes = Bytes::from(command.encode_to_vec());
    let applied = node.replica().propose(bytes, deadline).await.unwrap();
    applied.reply.refusal().is_none()
}

fn next(node: &Node) -> Authority {
    let store = node.replica().store();
    let next = store.read(|state| state.authority_after(NodeId(REMOVED)).cloned());
    Authority::clone(&next.unwrap())
}

/// As after a leader that died with the key of the authority that it had made.
#[tokio::test]
async fn an_authority_whose_key_nobody_has_is_made_anew_and_taken() {
    let nodes = Nodes::three().await;
    let remove = v1::RemoveRequest {
        id: REMOVED,
        ..v1::RemoveRequest::default()
    };
    nodes.all[0].cluster().remove(remove).await.unwrap();
    let first = &nodes.all[0];
    let old = first.dir().authority().unwrap();
    let lost = CertificateAuthority::create_next(old.cluster_id(), 2, SystemTime::now()).unwrap();
    let der = |authority: &CertificateAuthority| Bytes::copy_from_slice(authority.certificate());
    let wanted = Body::AuthorityWanted(log::AuthorityWanted {
        member: REMOVED,
        replaces: der(&old),
        public_key: Bytes::from_static(b"of an operator"),
    });
    assert!(propose(first, wanted).await);
    // The leader makes one, too; ours takes its place.
    let ours = |replaces| {
        Body::AuthorityBegin(log::AuthorityBegin {
            generation: 2,
            certificate: der(&lost),
            replaces,
        })
    };
    while !propose(first, ours(next(first).certificate)).await {
        assert!(next(first).taken.is_empty(), "the leader was faster");
    }
    eventually("another to be made and taken by both", || {
        let now = next(first);
        now.certificate != der(&lost) && now.taken.len() == 2
    })
    .await;
    nodes.shutdown().await;
}
