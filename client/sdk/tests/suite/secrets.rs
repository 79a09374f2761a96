//! Secrets and the keyring: written once, opened on demand, kept by a mirror only when it is told to.

use std::time::Duration;

use holdfast_client::{
    Alphabet, DestroyOptions, Expected, MirrorOptions, MirrorReveal, NewRecovery, ReadError,
    Reason, Recipe, RevealOptions, Secret, SecretPutOptions, Value, WriteError,
};

use holdfast_proto::v1;

use crate::{
    fake::{Cluster, Manner},
    until,
};

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

fn revealing() -> MirrorOptions {
    MirrorOptions {
        check: Duration::from_millis(100),
        reveal: Some(MirrorReveal {
            reason: "the service starts".to_owned(),
        }),
    }
}

#[tokio::test]
async fn a_secret_is_put_once_although_its_answer_was_lost_and_opens_at_each_version() {
    let cluster = Cluster::start(3);
    cluster.nodes[0].behave(Manner::Forgetful);
    cluster.nodes[1].behave(Manner::Forgetful);
    let client = cluster.client(|_| {});
    let secrets = client.secrets();
    for version in 1..=6 {
        let text = format!("hunter{version}");
        let written = secrets.put("s/a", text).await.unwrap();
        assert_eq!(
            (written.revision.get(), written.version),
            (version, version)
        );
    }
    assert!(
        cluster.shared.world().arrivals.len() > 6,
        "no repeat at all"
    );
    let newest = secrets.reveal("s/a").await.unwrap();
    assert_eq!(newest.secret.text(), Ok("hunter6"));
    assert_eq!(
        (newest.entry.version, newest.entry.value.clone()),
        (6, Some(Value::Sealed(Default::default())))
    );
    let older = RevealOptions {
        revision: holdfast_client::Revision::new(2),
        reason: "a look back".to_owned(),
        ..RevealOptions::default()
    };
    let older = secrets.reveal_with("s/a", older).await.unwrap();
    assert_eq!(older.secret.text(), Ok("hunter2"));
    let (_, revision, reason) = cluster.shared.world().reveals.last().unwrap().clone();
    assert_eq!((revision, reason.as_str()), (2, "a look back"));
    assert!(!format!("{newest:?}{older:?}").contains("hunter"));
}

#[tokio::test]
async fn a_secret_is_only_put_over_what_was_expected() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let secrets = client.secrets();
    let absent = || SecretPutOptions {
        expected: Some(Expected::Absent),
        ..SecretPutOptions::default()
    };
    let first = secrets
        .put_with("s/a", secret("one"), absent())
        .await
        .unwrap();
    let error = secrets
        .put_with("s/a", secret("two"), absent())
        .await
        .unwrap_err();
    let WriteError::Conflict { found, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(found, Some(first.revision));
    let large = vec![0; holdfast_client::limits::VALUE_BYTES + 1];
    let error = secrets.put("s/a", large).await.unwrap_err();
    assert!(matches!(error, WriteError::Invalid { .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_to_open_says_why_as_a_word() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let secrets = client.secrets();
    secrets.put("s/a", secret("one")).await.unwrap();
    let refused = async |key: &str| match secrets.reveal(key).await.unwrap_err() {
        ReadError::Refused { reason, .. } => reason,
        other => panic!("{other}"),
    };
    assert_eq!(refused("s/b").await, Reason::KeyMissing);
    cluster.shared.world().wants_reason = true;
    assert_eq!(refused("s/a").await, Reason::ReasonRequired);
}

#[tokio::test]
async fn a_generated_secret_is_what_was_put_and_a_destroyed_one_opens_no_more() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let secrets = client.secrets();
    let recipe = Recipe {
        length: 32,
        alphabet: Alphabet::Hex,
    };
    let (made, _) = secrets
        .generate("s/a", &recipe, SecretPutOptions::default())
        .await
        .unwrap();
    let opened = secrets.reveal("s/a").await.unwrap();
    assert_eq!(opened.secret.expose(), made.expose());
    secrets.put("s/a", secret("two")).await.unwrap();
    let destroyed = secrets.destroy("s/a", DestroyOptions::default()).await;
    assert_eq!(destroyed.unwrap(), 2);
    assert!(secrets.reveal("s/a").await.is_err());
    assert!(client.get("s/a").await.unwrap().is_none());
}

#[tokio::test]
async fn whoever_reads_learns_that_there_is_a_secret_and_nothing_of_it() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    client.secrets().put("s/a", secret("one")).await.unwrap();
    let found = client.get("s/a").await.unwrap().unwrap();
    assert!(found.entry.is_secret());
    assert_eq!(found.value().size(), 0, "a payload was let through");
    // What a read gives for one cannot be put back as if it were the secret.
    let copied = client.put("s/copy", found.value().clone()).await;
    assert!(matches!(copied, Err(WriteError::Invalid { .. })));
    let mirror = client.mirror("s/").await.unwrap();
    let mirrored = mirror.get("s/a").unwrap();
    assert!(mirrored.entry.is_secret());
    assert_eq!(mirrored.entry.value.as_ref().unwrap().size(), 0);
    assert!(mirror.secret("s/a").is_none());
    let revision = client.secrets().put("s/a", secret("two")).await.unwrap();
    let limit = Duration::from_secs(5);
    assert!(mirror.wait_for(revision.revision.get(), limit).await);
    assert_eq!(mirror.get("s/a").unwrap().entry.version, 2);
    assert!(cluster.shared.world().reveals.is_empty(), "opened unasked");
}

#[tokio::test]
async fn a_mirror_that_is_told_to_keeps_secrets_and_has_them_without_any_server() {
    let mut cluster = Cluster::start(2);
    let client = cluster.client(|_| {});
    let secrets = client.secrets();
    cluster.shared.world().wants_reason = true;
    cluster.shared.write("s/plain", "1");
    secrets.put("s/a", secret("one")).await.unwrap();
    secrets.put("s/b", secret("two")).await.unwrap();
    let mirror = client.mirror_with("s/", revealing()).await.unwrap();
    let text = |key: &str| {
        let kept = mirror.secret(key)?;
        Some((kept.secret().text().unwrap().to_owned(), kept.is_newest))
    };
    assert_eq!(text("s/a"), Some(("one".to_owned(), true)));
    assert_eq!(text("s/b"), Some(("two".to_owned(), true)));
    assert_eq!(text("s/plain"), None);

    secrets.put("s/a", secret("three")).await.unwrap();
    until("the new version is open", async || {
        text("s/a") == Some(("three".to_owned(), true))
    })
    .await;
    secrets
        .destroy("s/b", DestroyOptions::default())
        .await
        .unwrap();
    until("the destroyed one is gone", async || text("s/b").is_none()).await;
    // What becomes plain is read as what it is.
    cluster.shared.write("s/a", "plain");
    until("the plain value is there", async || {
        mirror.get("s/a").unwrap().entry.value == Some("plain".into())
    })
    .await;
    assert_eq!(text("s/a"), None);

    secrets.put("s/a", secret("four")).await.unwrap();
    until("it is a secret again", async || {
        text("s/a") == Some(("four".to_owned(), true))
    })
    .await;
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    assert_eq!(text("s/a"), Some(("four".to_owned(), true)));
    assert!(!format!("{mirror:?}{:?}", mirror.secret("s/a")).contains("four"));
    let reveals = cluster.shared.world().reveals.len();
    assert_eq!(reveals, 4, "each version is opened once");
}

#[tokio::test]
async fn a_mirror_that_may_not_open_a_secret_is_an_error_and_later_a_problem() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let silent = || MirrorOptions {
        reveal: Some(MirrorReveal::default()),
        ..revealing()
    };
    cluster.shared.world().wants_reason = true;
    // With nothing to open there is nothing to refuse.
    let mirror = client.mirror_with("s/", silent()).await.unwrap();
    client.secrets().put("s/a", secret("one")).await.unwrap();
    until("the mirror says so", async || {
        mirror
            .problem()
            .is_some_and(|problem| problem.contains("wants a reason"))
    })
    .await;
    assert!(mirror.get("s/a").unwrap().entry.is_secret());
    assert!(mirror.secret("s/a").is_none());
    let error = client.mirror_with("s/", silent()).await.unwrap_err();
    assert!(matches!(error, ReadError::Refused { .. }), "{error}");
    cluster.shared.world().wants_reason = false;
    until("it is tried again", async || mirror.secret("s/a").is_some()).await;
    assert_eq!(mirror.problem(), None);
}

#[tokio::test]
async fn a_recovery_key_is_made_known_shown_to_work_and_an_epoch_begun_once() {
    let cluster = Cluster::start(3);
    let client = cluster.client(|_| {});
    let keyring = client.keyring();
    let status = keyring.status().await.unwrap();
    assert!(!status.accepts_secrets() && status.recovery.is_none());
    let new = |replaces: Option<&'static [u8]>| NewRecovery {
        set: b"set".as_slice().into(),
        public_key: b"public".as_slice().into(),
        shares: 5,
        threshold: 3,
        replaces: replaces.map(Into::into),
    };
    assert_eq!(keyring.init_recovery(new(None)).await.unwrap(), 1);
    let error = keyring.init_recovery(new(None)).await.unwrap_err();
    assert!(matches!(
        error,
        WriteError::Refused {
            reason: Reason::Conflict,
            ..
        }
    ));
    assert!(!keyring.status().await.unwrap().accepts_secrets());
    {
        let mut world = cluster.shared.world();
        world.proof = "proof".into();
        world.challenge = Some(v1::ChallengeRecoveryResponse {
            challenge: "challenge".into(),
            lineage: "home".to_owned(),
            epoch: 1,
            check: "check".into(),
            ..v1::ChallengeRecoveryResponse::default()
        });
    }
    let asked = keyring.challenge_recovery().await.unwrap();
    assert_eq!(
        (asked.epoch, &asked.check[..], asked.recovery.threshold),
        (1, &b"check"[..], 3)
    );
    let answer = async |proof: &'static str| {
        keyring
            .verify_recovery(asked.challenge.clone(), proof)
            .await
    };
    assert!(answer("guess").await.is_err());
    assert!(!keyring.status().await.unwrap().accepts_secrets());
    answer("proof").await.unwrap();
    let status = keyring.status().await.unwrap();
    assert!(status.accepts_secrets());
    let recovery = status.recovery.unwrap();
    assert_eq!((recovery.shares, recovery.threshold), (5, 3));

    cluster.nodes[0].behave(Manner::Forgetful);
    cluster.nodes[1].behave(Manner::Forgetful);
    assert_eq!(keyring.rotate("yearly").await.unwrap(), 2);
    let status = keyring.status().await.unwrap();
    assert_eq!(
        (status.epoch, status.epochs[1].reason.as_str()),
        (2, "yearly")
    );
}
