//! Secrets and their keyring: sealed at the node, opened at any node that holds keys.

use std::time::Duration;

use holdfast_client::{
    Client, NewRecovery, PutOptions, RangeOptions, Reason, SecretWritten, WriteError,
};
use holdfast_proto::{
    KeyRange, Value,
    etcd::etcdserverpb::{
        DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, kv_client::KvClient,
        request_op,
    },
};
use holdfast_seal::{Check, Epoch, Lineage, OsRandom, Protector, RecoveryKey, SetId, Share, Split};
use holdfast_server::{
    dir::{KeyUnlock, NodeDir, NodeKeyFileError},
    node::{Node, StartError},
};

use crate::nodes::{Nodes, PATIENCE, eventually, restart};

/// Makes a recovery key, as its holders would. Not yet shown to work. Lets the tests' client reveal.
async fn begin_keyring(client: &Client) -> Vec<Share> {
    let access = client.access();
    let granted = access.change_grant("client/embedded", &["revealer"], &[]);
    granted.await.unwrap();
    let split = Split::new(3, 2).unwrap();
    let (key, shares) = RecoveryKey::split_new(&mut OsRandom, split);
    let new = NewRecovery {
        set: SetId::of(key.public()).as_bytes().to_vec().into(),
        public_key: key.public().as_bytes().to_vec().into(),
        shares: 3,
        threshold: 2,
        replaces: None,
    };
    client.keyring().init_recovery(new).await.unwrap();
    shares
}

/// Shows with two shares that they work.
async fn prove_shares(client: &Client, mut shares: Vec<Share>) {
    shares.remove(1);
    let key = RecoveryKey::combine(shares).unwrap();
    let asked = client.keyring().challenge_recovery().await.unwrap();
    let check = Check::from_bytes(asked.check[..].try_into().unwrap());
    let epoch = key
        .open_epoch(
            &Lineage::new(&asked.lineage).unwrap(),
            Epoch::new(asked.epoch).unwrap(),
            &asked.recovery_wrap,
            &check,
        )
        .unwrap();
    let proof = epoch.escrow_proof(asked.challenge[..].try_into().unwrap());
    let proof = proof.as_bytes().to_vec();
    let keyring = client.keyring();
    keyring
        .verify_recovery(asked.challenge, proof)
        .await
        .unwrap();
}

async fn put_secret(client: &Client, key: &str, secret: &str) -> SecretWritten {
    let secrets = client.secrets();
    secrets.put(key, secret.to_owned()).await.unwrap()
}

pub(crate) async fn with_keyring(nodes: &Nodes) -> Client {
    let client = nodes.all[0].client();
    let shares = begin_keyring(&client).await;
    prove_shares(&client, shares).await;
    client
}

async fn revealed(node: &Node, key: &str) -> Vec<u8> {
    let client = node.client();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match client.secrets().reveal(key).await {
            Ok(revealed) => return revealed.secret.expose().to_vec(),
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn no_secret_is_taken_before_its_recovery_was_shown_to_work() {
    let nodes = Nodes::one().await;
    let client = nodes.all[0].client();
    let refused = client
        .secrets()
        .put("db/password", b"hunter2".to_vec())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("init-recovery"), "{refused}");
    let shares = begin_keyring(&client).await;
    let refused = client
        .secrets()
        .put("db/password", b"hunter2".to_vec())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("verify-recovery"), "{refused}");
    prove_shares(&client, shares).await;
    client
        .secrets()
        .put("db/password", b"hunter2".to_vec())
        .await
        .unwrap();
    assert_eq!(revealed(&nodes.all[0], "db/password").await, b"hunter2");
    nodes.shutdown().await;
}

#[tokio::test]
async fn every_node_reveals_what_one_sealed_also_after_a_rotation_and_a_restart() {
    let mut nodes = Nodes::three().await;
    let client = with_keyring(&nodes).await;
    for number in 0..40 {
        let key = format!("s/{number}");
        client
            .secrets()
            .put(key.as_str(), number.to_string())
            .await
            .unwrap();
    }
    client.keyring().rotate("a test").await.unwrap();
    // A client in its process would keep the third one's log in use.
    for node in &nodes.all[..2] {
        assert_eq!(revealed(node, "s/7").await, b"7");
    }
    let sealed_by = |epoch: u64| {
        let store = nodes.all[0].replica().store();
        store.read(|state| {
            let mut counts = state.wraps_by_epoch();
            counts
                .find(|(of, _)| *of == epoch)
                .map_or(0, |(_, count)| count)
        })
    };
    eventually("all are sealed by the new epoch", || {
        sealed_by(2) == 40 && sealed_by(1) == 0
    })
    .await;
    let last = nodes.all.remove(2);
    let path = last.dir().path().to_owned();
    last.shutdown().await;
    nodes.all.push(restart(&path).await);
    assert_eq!(revealed(&nodes.all[2], "s/39").await, b"39");
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_secret_is_seen_but_not_read_by_any_other_request() {
    let nodes = Nodes::one().await;
    let client = with_keyring(&nodes).await;
    let put = client
        .secrets()
        .put("db/password", b"hunter2".to_vec())
        .await
        .unwrap();
    client
        .secrets()
        .put("db/password", b"hunter3".to_vec())
        .await
        .unwrap();
    let entry = client.get("db/password").await.unwrap().unwrap().entry;
    assert_eq!(entry.value, Some(Value::Sealed(bytes::Bytes::new())));
    let page = client
        .range(
            KeyRange::prefix("db/"),
            RangeOptions {
                revision: Some(put.revision),
                ..RangeOptions::default()
            },
        )
        .await
        .unwrap();
    assert_eq!(
        page.entries[0].value,
        Some(Value::Sealed(bytes::Bytes::new()))
    );
    assert_eq!(revealed(&nodes.all[0], "db/password").await, b"hunter3");
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_plain_value_replaces_a_secret_only_if_that_is_said() {
    let nodes = Nodes::one().await;
    let client = with_keyring(&nodes).await;
    put_secret(&client, "db/password", "hunter2").await;
    let refused = client.put("db/password", "plain").await.unwrap_err();
    assert!(
        matches!(
            &refused,
            WriteError::Refused {
                reason: Reason::IsSecret,
                ..
            }
        ),
        "{refused:?}"
    );
    assert_eq!(revealed(&nodes.all[0], "db/password").await, b"hunter2");
    let options = PutOptions {
        replace_secret: true,
        ..PutOptions::default()
    };
    let put = client.put_with("db/password", "plain", options);
    put.await.unwrap();
    let entry = client.get("db/password").await.unwrap().unwrap().entry;
    assert_eq!(entry.value, Some("plain".into()));
    nodes.shutdown().await;
}

/// Beside plain values, over several versions, a deletion and a rotation; and not where a version
/// that would come back was destroyed.
#[tokio::test]
async fn a_rollback_seals_secrets_again() {
    let nodes = Nodes::one().await;
    let client = with_keyring(&nodes).await;
    put_secret(&client, "db/password", "hunter1").await;
    put_secret(&client, "db/token", "t1").await;
    let then = client.put("db/host", "db-1").await.unwrap().revision;
    let second = put_secret(&client, "db/password", "hunter2").await;
    client.put("db/host", "db-2").await.unwrap();
    client.delete("db/token").await.unwrap();
    client.keyring().rotate("a test").await.unwrap();

    let range = KeyRange::prefix("db/");
    let back = client.rollback(range.clone(), then, "").await.unwrap();
    assert_eq!(back.changed, 3);
    assert_eq!(revealed(&nodes.all[0], "db/password").await, b"hunter1");
    assert_eq!(revealed(&nodes.all[0], "db/token").await, b"t1");
    let host = client.get("db/host").await.unwrap().unwrap().entry;
    assert_eq!(host.value, Some("db-1".into()));
    let page = client.get("db/password").await.unwrap().unwrap().entry;
    assert_eq!((page.version, page.is_secret()), (3, true));

    let options = holdfast_client::DestroyOptions {
        revision: Some(second.revision),
        ..Default::default()
    };
    let secrets = client.secrets();
    let destroyed = secrets.destroy("db/password", options);
    assert_eq!(destroyed.await.unwrap(), 1);
    let to = second.revision;
    let refused = client.rollback(range, to, "").await.unwrap_err();
    assert!(refused.to_string().contains("destroyed"), "{refused}");
    assert_eq!(revealed(&nodes.all[0], "db/password").await, b"hunter1");
    nodes.shutdown().await;
}

#[tokio::test]
async fn what_was_destroyed_is_gone_and_says_so() {
    let nodes = Nodes::one().await;
    let client = with_keyring(&nodes).await;
    let first = client
        .secrets()
        .put("db/password", b"hunter2".to_vec())
        .await
        .unwrap();
    client
        .secrets()
        .put("db/password", b"hunter3".to_vec())
        .await
        .unwrap();
    let options = holdfast_client::DestroyOptions {
        revision: Some(first.revision),
        ..Default::default()
    };
    assert_eq!(
        client
            .secrets()
            .destroy("db/password", options)
            .await
            .unwrap(),
        1
    );
    let at_first = holdfast_client::RevealOptions {
        revision: Some(first.revision),
        ..Default::default()
    };
    let refused = client
        .secrets()
        .reveal_with("db/password", at_first)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("destroyed"), "{refused}");
    assert_eq!(revealed(&nodes.all[0], "db/password").await, b"hunter3");
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_node_key_behind_a_passphrase_opens_with_it_and_with_nothing_else() {
    let unlock = |word: &str| {
        KeyUnlock::Passphrase(holdfast_seal::SecretBytes::new(word.as_bytes().to_vec()))
    };
    let (_home, mut dir) = Nodes::unborn();
    let path = dir.path().to_owned();
    dir.configure(|configuration| configuration.key_protector = Protector::Passphrase)
        .unwrap();
    dir.unlock_with(unlock("correct horse"));
    let node = Node::start(dir).await.unwrap();
    node.ready().await;
    node.shutdown().await;
    let start = |unlocked: Option<KeyUnlock>, protector: Protector| {
        let path = path.clone();
        async move {
            let mut dir = NodeDir::open(&path).unwrap();
            dir.configure(|configuration| configuration.key_protector = protector)
                .unwrap();
            if let Some(unlocked) = unlocked {
                dir.unlock_with(unlocked);
            }
            Node::start(dir).await
        }
    };
    let refused = start(None, Protector::Passphrase).await.err();
    assert!(matches!(
        refused,
        Some(StartError::NodeKey(NodeKeyFileError::Locked { .. }))
    ));
    let refused = start(Some(unlock("battery")), Protector::Passphrase)
        .await
        .err();
    assert!(matches!(
        refused,
        Some(StartError::NodeKey(NodeKeyFileError::Key { .. }))
    ));
    // Never a silent downgrade: what the folder's settings say is not what the file is.
    let refused = start(None, Protector::File).await.err();
    assert!(matches!(
        refused,
        Some(StartError::NodeKey(NodeKeyFileError::Key { .. }))
    ));
    let node = start(Some(unlock("correct horse")), Protector::Passphrase)
        .await
        .unwrap();
    node.ready().await;
    node.shutdown().await;
}

#[tokio::test]
async fn secrets_are_not_there_for_etcds_clients() {
    let nodes = Nodes::one_plain().await;
    let client = with_keyring(&nodes).await;
    client.put("db/host", "db-7").await.unwrap();
    client
        .secrets()
        .put("db/password", b"hunter2".to_vec())
        .await
        .unwrap();
    let address = nodes.all[0].etcd_address().unwrap();
    let mut etcd = KvClient::connect(format!("http://{address}"))
        .await
        .unwrap();
    let prefix = |count_only| RangeRequest {
        key: "db/".into(),
        range_end: "db0".into(),
        count_only,
        ..RangeRequest::default()
    };
    let seen = etcd.range(prefix(false)).await.unwrap().into_inner();
    assert_eq!(
        (seen.count, seen.kvs.len(), &seen.kvs[0].key[..]),
        (1, 1, &b"db/host"[..])
    );
    assert_eq!(
        etcd.range(prefix(true)).await.unwrap().into_inner().count,
        1
    );
    let one = RangeRequest {
        key: "db/password".into(),
        ..RangeRequest::default()
    };
    assert!(etcd.range(one).await.unwrap().into_inner().kvs.is_empty());
    let put = PutRequest {
        key: "db/password".into(),
        value: "x".into(),
        ..PutRequest::default()
    };
    let delete = DeleteRangeRequest {
        key: "db/".into(),
        range_end: "db0".into(),
        prev_kv: true,
    };
    let step = RequestOp {
        request: Some(request_op::Request::RequestPut(put.clone())),
    };
    let txn = TxnRequest {
        success: vec![step],
        ..TxnRequest::default()
    };
    for refused in [
        etcd.put(put).await.err(),
        etcd.delete_range(delete).await.err(),
        etcd.txn(txn).await.err(),
    ] {
        let refused = refused.expect("a secret is not touched");
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
    }
    assert_eq!(revealed(&nodes.all[0], "db/password").await, b"hunter2");
    nodes.shutdown().await;
}
