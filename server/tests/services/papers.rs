//! Papers: who is handed the authority's key, and who renews whose certificate.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use holdfast_proto::{
    peer::v1::{AuthorityKeyRequest, node_client::NodeClient},
    v1,
};
use holdfast_raft::{Dial as _, PeerNode, Purpose};
use holdfast_server::{
    identity::{NodeKey, authority::to_pem},
    join::{JoinOptions, join},
    node::Node,
    tls::{NodeTls, PeerDialer},
};
use tonic::transport::Channel;

use crate::nodes::{Clients as _, Nodes, PATIENCE, eventually, free_address, reason, restart};

/// What one node calls another through.
fn peer(from: &Node, to: &Node) -> NodeClient<Channel> {
    let peer = PeerNode {
        id: to.replica().id(),
        name: to.name().to_string(),
        address: to.address().to_string(),
    };
    let dialer = PeerDialer::new(tls(from));
    NodeClient::new(dialer.channel(&peer, Purpose::Heartbeat).unwrap())
}

fn tls(node: &Node) -> NodeTls {
    node.dir().tls(SystemTime::now()).unwrap()
}

#[tokio::test]
async fn a_learner_is_not_trusted_with_the_authoritys_key_until_it_is_promoted() {
    let mut nodes = Nodes::one().await;
    nodes.join("n2", v1::Role::Learner).await;
    let [voter, learner] = &nodes.all[..] else {
        panic!("two nodes");
    };
    let mut asked = peer(learner, voter);
    let refused = asked
        .authority_key(AuthorityKeyRequest { generation: 0 })
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(reason(&refused), "not_allowed", "{refused}");
    assert!(refused.message().contains("promoted"), "{refused}");
    let question = v1::CreateTokenRequest::default();
    let at_learner = learner.cluster().create_token(question).await;
    assert_eq!(reason(&at_learner.unwrap_err()), "no_authority");
    assert!(!learner.dir().holds_authority());

    let promotion = v1::PromoteRequest {
        request: None,
        id: learner.replica().id().0,
    };
    voter.cluster().promote(promotion).await.unwrap();
    let key = |node: &Node| node.dir().authority().map(|found| found.key().to_der());
    eventually("the key to come", || learner.dir().holds_authority()).await;
    assert_eq!(key(learner).unwrap(), key(voter).unwrap());
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_learners_certificate_is_renewed_by_a_voter_and_stays_its_own() {
    let mut nodes = Nodes::one().await;
    let path = nodes.path("n2");
    let options = JoinOptions {
        dir: path.clone(),
        name: "n2".parse().unwrap(),
        listen: free_address(),
        advertise: None,
        http: None,
        etcd: None,
        key_protector: holdfast_seal::Protector::File,
        token: nodes.token(v1::Role::Learner).await.parse().unwrap(),
        patience: PATIENCE,
    };
    drop(join(&options, SystemTime::now()).await.unwrap());

    // As if it had joined ten months ago.
    let file = path.join("tls/node.crt");
    let key = NodeKey::from_pem(&fs::read_to_string(path.join("tls/node.key")).unwrap()).unwrap();
    let authority = nodes.all[0].dir().authority().unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(300 * 24 * 60 * 60);
    let old = authority.sign_node(&options.name, &key.public_key(), &options.listen, long_ago);
    let old = to_pem(&old.unwrap());
    fs::write(&file, &old).unwrap();
    let learner = restart(&path).await;
    let identity = tls(&learner).identity().clone();
    eventually("a certificate for another year", || {
        let now = fs::read_to_string(&file).unwrap();
        now != old && !tls(&learner).is_due(SystemTime::now())
    })
    .await;
    assert_eq!(tls(&learner).identity(), &identity);
    assert!(!learner.dir().holds_authority());
    nodes.all.push(learner);
    nodes.shutdown().await;
}
