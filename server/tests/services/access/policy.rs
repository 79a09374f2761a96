//! The policy itself: who may change it, what is explained, what is recorded.

use holdfast_client::{Capability, KeyRange, ReadError, Reason, RevealOptions, WriteError};
use holdfast_proto::v1::{self, audit_client::AuditClient};

use super::{Papers, allow};
use crate::{
    nodes::{Nodes, PATIENCE},
    secrets::with_keyring,
};

async fn records(nodes: &Nodes) -> Vec<v1::AuditRecord> {
    let mut audit = AuditClient::new(nodes.all[0].channel());
    let request = v1::AuditTailRequest::default();
    let mut stream = audit.tail(request).await.unwrap().into_inner();
    let mut records = Vec::new();
    while let Some(answer) = stream.message().await.unwrap() {
        records.extend(answer.records);
    }
    records
}

/// Waits for a record, since denials are recorded without making anybody wait.
async fn recorded(nodes: &Nodes, found: impl Fn(&v1::AuditRecord) -> bool) -> v1::AuditRecord {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let records = records(nodes).await;
        if let Some(record) = records.iter().find(|record| found(record)) {
            return record.clone();
        }
        assert!(std::time::Instant::now() < deadline, "{records:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_last_administrator_who_can_come_in_stays() {
    let nodes = Nodes::one().await;
    let access = nodes.all[0].client().access();
    let refused = access.revoke("client/admin").await.unwrap_err();
    let is_last = |error: &WriteError| matches!(error, WriteError::Refused { reason, .. } if *reason == Reason::LastAdmin);
    assert!(is_last(&refused), "{refused:?}");
    let refused = access.change_grant("client/admin", &[], &["admin"]).await;
    assert!(is_last(&refused.unwrap_err()));
    Papers::issue(&nodes, "second").await;
    let second = access.change_grant("client/second", &["admin"], &[]).await;
    second.unwrap();
    access.revoke("client/admin").await.unwrap();
    let refused = access.revoke("client/second").await.unwrap_err();
    assert!(is_last(&refused), "{refused:?}");
    nodes.shutdown().await;
}

#[tokio::test]
async fn can_tells_what_would_happen_and_by_which_rule() {
    let nodes = Nodes::one().await;
    let papers = Papers::issue(&nodes, "bob").await;
    let rules = ["allow read,reveal+reason:app/", "deny read:app/keys/"];
    allow(&nodes, "bob", &rules).await;
    let node = &nodes.all[0];
    let (admin, bob) = (node.client().access(), papers.client(node).access());
    let under = |prefix: &str| Some(KeyRange::prefix(prefix.as_bytes().to_vec()));
    let key = |key: &str| Some(KeyRange::single(&key.try_into().unwrap()));
    for access in [&admin, &bob] {
        let can = |what, range| access.can("client/bob", what, range);
        let read = can(Capability::Read, key("app/x")).await.unwrap();
        assert!(read.allowed);
        let by = read.by.unwrap().to_string();
        assert_eq!(by, "rule 1 of role of-bob (allow read,reveal+reason:app/)");
        let denied = can(Capability::Read, key("app/keys/x")).await.unwrap();
        assert!(!denied.allowed);
        let by = denied.by.unwrap().to_string();
        assert_eq!(by, "rule 2 of role of-bob (deny read:app/keys/)");
        assert!(!can(Capability::Read, under("app/")).await.unwrap().allowed);
        let nothing = can(Capability::Write, key("app/x")).await.unwrap();
        assert!(!nothing.allowed && nothing.by.is_none());
        let reveal = can(Capability::Reveal, key("app/x")).await.unwrap();
        assert!(reveal.allowed && reveal.reason_required);
        assert!(!can(Capability::AdminAudit, None).await.unwrap().allowed);
    }
    let of_others = bob.can("client/admin", Capability::Read, key("a")).await;
    assert!(
        matches!(of_others, Err(ReadError::Denied { .. })),
        "{of_others:?}"
    );
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_reveal_takes_its_right_and_its_reason_and_is_recorded_with_the_rule() {
    let nodes = Nodes::one().await;
    let admin = with_keyring(&nodes).await;
    admin
        .secrets()
        .put("app/s", "hidden".to_owned())
        .await
        .unwrap();
    let papers = Papers::issue(&nodes, "bob").await;
    let bob = papers.client(&nodes.all[0]).secrets();
    allow(&nodes, "bob", &["allow read:"]).await;
    let denied = bob.reveal("app/s").await.unwrap_err();
    assert!(matches!(denied, ReadError::Denied { .. }), "{denied:?}");
    let denial = recorded(&nodes, |record| {
        record.identity == "client/bob" && record.decision() == v1::AuditDecision::Denied
    });
    let denial = denial.await;
    assert_eq!(denial.act, "holdfast.v1.Secrets/Reveal");
    assert!(
        denial.rule.contains("client/bob may not reveal"),
        "{denial:?}"
    );
    allow(&nodes, "bob", &["allow reveal+reason:app/"]).await;
    let asked = bob.reveal("app/s").await.unwrap_err();
    let wants_reason = matches!(
        &asked,
        ReadError::Refused { reason, .. } if *reason == Reason::ReasonRequired
    );
    assert!(wants_reason, "{asked:?}");
    let options = RevealOptions {
        reason: "ticket 7".to_owned(),
        ..RevealOptions::default()
    };
    let revealed = bob.reveal_with("app/s", options).await.unwrap();
    assert_eq!(revealed.secret.text().unwrap(), "hidden");
    let allowed = recorded(&nodes, |record| record.reason == "ticket 7").await;
    assert_eq!(
        allowed.rule,
        "rule 1 of role of-bob (allow reveal+reason:app/)"
    );
    nodes.shutdown().await;
}

#[tokio::test]
async fn acts_on_the_policy_are_recorded_with_what_they_change_and_by_which_rule() {
    let nodes = Nodes::one().await;
    Papers::issue(&nodes, "bob").await;
    allow(&nodes, "bob", &["allow read:app/", "deny read:app/keys/"]).await;
    let access = nodes.all[0].client().access();
    access.revoke("client/bob").await.unwrap();
    for (act, target) in [
        ("IdentityIssue", "a certificate for client/bob"),
        (
            "RoleSet",
            "role of-bob: allow read:app/; deny read:app/keys/",
        ),
        ("GrantChange", "client/bob: +of-bob"),
        ("IdentityRevoke", "client/bob"),
    ] {
        let record = recorded(&nodes, |record| {
            record.act == format!("holdfast.v1.Access/{act}")
        })
        .await;
        assert_eq!(record.target, target.as_bytes(), "{record:?}");
        assert_eq!(record.rule, "rule 1 of role admin (allow admin:*)");
        assert_eq!(record.identity, "client/embedded");
    }
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_certificate_is_for_the_key_that_signed_the_request_and_for_a_name_that_can_be() {
    let nodes = Nodes::one().await;
    let access = nodes.all[0].client().access();
    let key = holdfast_server::identity::NodeKey::generate().unwrap();
    let request = key.certificate_request().unwrap();
    let mut tampered = request.clone();
    *tampered.last_mut().unwrap() ^= 1;
    assert!(access.issue("bob", tampered, None).await.is_err());
    for name in ["", "a/b", "embedded", "etcd-plaintext"] {
        let refused = access.issue(name, request.clone(), None).await;
        assert!(refused.is_err(), "{name:?} was issued");
    }
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    let issued = access
        .issue("bob", request.clone(), Some(day))
        .await
        .unwrap();
    let identity =
        holdfast_server::identity::Identity::from_certificate(&issued.certificate).unwrap();
    assert_eq!(identity.to_string(), "client/bob");
    let too_long = access.issue("eve", request, Some(4_000 * day)).await;
    assert!(too_long.is_err());
    let known = access.identities().await.unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].expires_at, Some(issued.expires_at));
    nodes.shutdown().await;
}
