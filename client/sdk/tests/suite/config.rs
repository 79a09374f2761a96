//! Typed configuration: taken whole or not at all, and never empty by accident.

use std::{collections::BTreeMap, time::Duration};

use holdfast_client::{
    Client, Config, ConfigBuilder, ConfigError, ConfigRead, Layer, Secret, Value,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    fake::{Cluster, Manner},
    until,
};

const SOON: Duration = Duration::from_secs(5);

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Fast,
    Safe,
    Limited { rate: u32 },
}

#[derive(Debug, PartialEq, Deserialize)]
struct Database {
    host: String,
    port: u16,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Billing {
    timeout: u64,
    ratio: f32,
    on: bool,
    mode: Mode,
    hosts: Vec<String>,
    limits: BTreeMap<String, i32>,
    database: Database,
    note: Option<String>,
    #[serde(default = "three")]
    retries: u8,
}

fn three() -> u8 {
    3
}

fn quick<T: DeserializeOwned + Send + Sync + 'static>(client: &Client) -> ConfigBuilder<T> {
    let config = client.config("billing/");
    config.check_every(Duration::from_millis(100))
}

async fn put(client: &Client, key: &str, value: impl Into<Value>) -> u64 {
    let written = client.put(key, value).await.unwrap();
    written.revision.get()
}

fn delete(cluster: &Cluster, key: &str) -> u64 {
    let revision = {
        let mut world = cluster.shared.world();
        world.delete(&key.as_bytes().to_vec().into());
        world.revision
    };
    cluster.shared.changed.send_replace(revision);
    revision
}

async fn furnish(client: &Client) {
    put(client, "billing/timeout", Value::Integer(30)).await;
    put(client, "billing/ratio", Value::Float(0.5)).await;
    put(client, "billing/on", Value::Boolean(true)).await;
    put(client, "billing/mode", "fast").await;
    put(
        client,
        "billing/hosts",
        Value::List(vec!["a".into(), "b".into()]),
    )
    .await;
    put(
        client,
        "billing/limits",
        Value::Json(r#"{"x": -1, "y": 2}"#.into()),
    )
    .await;
    put(client, "billing/database/host", "db-1").await;
    put(client, "billing/database/port", Value::Integer(5432)).await;
    put(client, "other", "not ours").await;
}

#[tokio::test]
async fn every_type_of_value_is_read_into_the_services_own_and_changes_are_seen() {
    let cluster = Cluster::start(2);
    let client = cluster.client(|_| {});
    furnish(&client).await;
    let config = quick::<Billing>(&client).open().await.unwrap();
    let expected = || Billing {
        timeout: 30,
        ratio: 0.5,
        on: true,
        mode: Mode::Fast,
        hosts: vec!["a".to_owned(), "b".to_owned()],
        limits: [("x".to_owned(), -1), ("y".to_owned(), 2)].into(),
        database: Database {
            host: "db-1".to_owned(),
            port: 5432,
        },
        note: None,
        retries: 3,
    };
    assert_eq!(*config.load(), expected());
    let mut changes = config.subscribe();
    let kept = config.load_full();

    // As foreign tools and people put them: text and bytes that say a number, a flag, a word.
    put(&client, "billing/timeout", "31").await;
    put(&client, "billing/on", Value::Bytes("false".into())).await;
    put(&client, "billing/retries", Value::Bytes("7".into())).await;
    put(
        &client,
        "billing/mode",
        Value::Json(r#"{"limited": {"rate": 9}}"#.into()),
    )
    .await;
    let last = put(&client, "billing/note", Value::Bytes("why".into())).await;
    assert!(config.wait_for(last, SOON).await);
    let now = Billing {
        timeout: 31,
        on: false,
        retries: 7,
        mode: Mode::Limited { rate: 9 },
        note: Some("why".to_owned()),
        ..expected()
    };
    assert_eq!(*config.load(), now);
    assert_eq!(ConfigRead::revision(&config.load()), last);
    assert!(changes.has_changed().unwrap());
    assert_eq!(**changes.borrow_and_update(), now);
    assert_eq!(*kept, expected(), "what is kept never changes");
    let status = config.status();
    assert_eq!((status.revision, status.rejected), (last, None));
}

#[tokio::test]
async fn what_does_not_fit_or_is_not_accepted_changes_nothing_and_is_told() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    furnish(&client).await;
    let validated = quick::<Billing>(&client).validate(|billing| match billing.timeout {
        0 => Err("a timeout of nothing"),
        _ => Ok(()),
    });
    let config = validated.open().await.unwrap();
    let before = config.status().revision;
    let cases: [(&str, Value, &[&str]); 9] = [
        (
            "billing/timeout",
            "hunter2".into(),
            &["timeout:", "expected u64", "found text"],
        ),
        (
            "billing/timeout",
            Value::Integer(-7171),
            &["timeout:", "expected u64"],
        ),
        (
            "billing/retries",
            Value::Integer(7171),
            &["retries:", "expected u8"],
        ),
        (
            "billing/mode",
            "hunter2".into(),
            &["mode:", "fast, safe, limited"],
        ),
        (
            "billing/limits",
            Value::Json(r#"{"x": "hunter2"}"#.into()),
            &["limits.x:", "expected i32", "found text"],
        ),
        (
            "billing/limits",
            Value::Json("{hunter2".into()),
            &["limits:", "no JSON"],
        ),
        (
            "billing/database/port",
            "hunter2".into(),
            &["database.port:", "expected u16"],
        ),
        (
            "billing/hosts",
            "hunter2".into(),
            &["hosts:", "expected a sequence", "found text"],
        ),
        (
            "billing/timeout",
            Value::Integer(0),
            &["not accepted", "a timeout of nothing"],
        ),
    ];
    for (key, bad, words) in cases {
        let good = client
            .get(key)
            .await
            .unwrap()
            .map(|found| found.value().clone());
        let revision = put(&client, key, bad).await;
        assert!(config.wait_for(revision, SOON).await);
        let status = config.status();
        assert!(status.revision < revision, "{key}");
        assert_eq!(config.load().timeout, 30);
        let rejected = status.rejected.unwrap();
        assert_eq!(rejected.revision, revision);
        let said = format!("{} {:?} {:?}", rejected.error, rejected.error, config);
        for word in words {
            assert!(said.contains(word), "{said}");
        }
        for value in ["hunter2", "7171"] {
            assert!(!said.contains(value), "{said}");
        }
        let revision = match good {
            Some(good) => put(&client, key, good).await,
            None => delete(&cluster, key),
        };
        assert!(config.wait_for(revision, SOON).await);
        assert_eq!(config.status().rejected, None);
    }
    assert!(config.status().revision > before);
}

/// The mirror is as young as ever; what the service uses is not.
#[tokio::test]
async fn the_age_is_that_of_what_is_in_use_and_not_of_what_was_rejected() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    put(&client, "billing/user", "shop").await;
    let config = quick::<BTreeMap<String, String>>(&client);
    let config = config
        .validate(|user| match user["user"].as_str() {
            "nobody" => Err("there must be somebody"),
            _ => Ok(()),
        })
        .open()
        .await
        .unwrap();
    // Ten checks long.
    let old = Duration::from_secs(1);
    put(&client, "billing/user", "nobody").await;
    until("it is told to be old", async || config.status().age > old).await;
    let next = put(&client, "billing/user", "bank").await;
    assert!(config.wait_for(next, SOON).await);
    until("it is young again", async || config.status().age < old).await;
}

#[tokio::test]
async fn an_empty_prefix_is_an_error_at_the_start_and_no_configuration_later() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let none = quick::<BTreeMap<String, String>>(&client).open().await;
    assert!(matches!(none, Err(ConfigError::Empty { .. })), "{none:?}");
    put(&client, "billing/a", "1").await;
    let config = quick::<BTreeMap<String, String>>(&client)
        .open()
        .await
        .unwrap();
    let gone = delete(&cluster, "billing/a");
    assert!(config.wait_for(gone, SOON).await);
    assert_eq!(config.load()["a"], "1");
    let rejected = config.status().rejected.unwrap();
    assert!(matches!(rejected.error, ConfigError::Empty { .. }));
    let back = put(&client, "billing/b", "2").await;
    assert!(config.wait_for(back, SOON).await);
    assert_eq!(config.load().keys().collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn a_key_that_is_removed_is_a_removal() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    furnish(&client).await;
    put(&client, "billing/note", "there").await;
    put(&client, "billing/retries", Value::Integer(9)).await;
    let config = quick::<Billing>(&client).open().await.unwrap();
    assert_eq!(config.load().note.as_deref(), Some("there"));
    delete(&cluster, "billing/note");
    let gone = delete(&cluster, "billing/retries");
    assert!(config.wait_for(gone, SOON).await);
    assert_eq!(
        (config.load().note.as_deref(), config.load().retries),
        (None, 3)
    );
    assert_eq!(config.explain("note"), None);
    let gone = delete(&cluster, "billing/database/port");
    assert!(config.wait_for(gone, SOON).await);
    assert_eq!(config.load().database.port, 5432);
    let error = config.status().rejected.unwrap().error.to_string();
    assert_eq!(error, "database.port: it is missing, and has no default");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Layered {
    timeout: u64,
    greeting: String,
    deep: Deep,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Deep {
    level: i64,
}

#[tokio::test]
async fn layers_override_one_another_and_each_field_says_which_counts() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    put(&client, "billing/timeout", Value::Integer(1)).await;
    put(&client, "billing/timeout@role:db", Value::Integer(99)).await;
    // Somebody else's: it may be anything.
    put(&client, "billing/deep/level@node:n9", "nonsense").await;
    let layered = quick::<Layered>(&client)
        .role("web")
        .node("n1")
        .defaults(Layered {
            timeout: 0,
            greeting: "hello".to_owned(),
            deep: Deep { level: -1 },
        });
    let config = layered.open().await.unwrap();
    let layer = |config: &Config<Layered>, field| config.explain(field).unwrap().layer;
    assert_eq!(config.load().timeout, 1);
    assert_eq!(
        (config.load().greeting.as_str(), config.load().deep.level),
        ("hello", -1)
    );
    assert_eq!(layer(&config, "timeout"), Layer::Cluster);
    assert_eq!(layer(&config, "deep.level"), Layer::Default);

    let web = put(&client, "billing/timeout@role:web", Value::Integer(2)).await;
    assert!(config.wait_for(web, SOON).await);
    assert_eq!(config.load().timeout, 2);
    let node = put(&client, "billing/deep/level@node:n1", Value::Integer(5)).await;
    assert!(config.wait_for(node, SOON).await);
    assert_eq!(config.load().deep.level, 5);
    let explained = config.explain("deep/level").unwrap();
    assert_eq!(explained.layer, Layer::Node("n1".to_owned()));
    assert_eq!(
        explained.key.unwrap().to_string(),
        "billing/deep/level@node:n1"
    );
    assert_eq!(explained.revision.unwrap().get(), node);
    let gone = delete(&cluster, "billing/timeout@role:web");
    assert!(config.wait_for(gone, SOON).await);
    assert_eq!(
        (config.load().timeout, layer(&config, "timeout")),
        (1, Layer::Cluster)
    );

    let odd = put(&client, "billing/timeout@web", Value::Integer(7)).await;
    assert!(config.wait_for(odd, SOON).await);
    let error = config.status().rejected.unwrap().error.to_string();
    assert!(
        error.contains("billing/timeout@web") && error.contains("role:NAME"),
        "{error}"
    );
    delete(&cluster, "billing/timeout@web");
    let clash = put(&client, "billing/timeout/seconds", Value::Integer(7)).await;
    assert!(config.wait_for(clash, SOON).await);
    let error = config.status().rejected.unwrap().error;
    assert!(matches!(error, ConfigError::Clash { .. }), "{error}");
}

#[derive(Debug, Deserialize)]
struct Vault {
    user: String,
    password: Secret<String>,
    token: Option<Secret>,
}

/// A type whose own errors quote what they read, as many do.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Quoting;

impl zeroize::Zeroize for Quoting {
    fn zeroize(&mut self) {}
}

impl TryFrom<String> for Quoting {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.starts_with("postgres://") {
            true => Ok(Self),
            false => Err(format!("{text:?} is no address")),
        }
    }
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "only whether it can be read is looked at")]
struct Quoter {
    address: Secret<Quoting>,
}

#[tokio::test]
async fn what_a_type_says_of_a_secret_is_not_passed_on() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let secrets = client.secrets();
    let open = || quick::<Quoter>(&client).reveal("the service starts");
    let put = async |key: &str, secret: &str| {
        secrets.put(key, secret.to_owned()).await.unwrap();
    };
    put("billing/address", "hunter2").await;
    let error = open().open().await.unwrap_err().to_string();
    assert!(
        error.starts_with("address: the secret does not fit"),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
    put("billing/address", "postgres://").await;
    open().open().await.unwrap();
}

#[tokio::test]
async fn secrets_are_opened_into_secret_fields_and_into_no_other() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    put(&client, "billing/user", "shop").await;
    let secrets = client.secrets();
    secrets
        .put("billing/password", "hunter2".to_owned())
        .await
        .unwrap();

    let closed = quick::<Vault>(&client).open().await.unwrap_err();
    assert!(closed.to_string().contains("billing/password"), "{closed}");
    let open = quick::<Vault>(&client).reveal("the service starts");
    let config = open.open().await.unwrap();
    assert_eq!(config.load().user, "shop");
    assert_eq!(config.load().password.expose(), "hunter2");
    assert!(config.load().token.is_none());
    assert!(!format!("{:?} {config:?}", *config.load()).contains("hunter2"));

    let token = secrets
        .put("billing/token", vec![0xff, 0x00])
        .await
        .unwrap();
    let next = secrets
        .put("billing/password", "hunter3".to_owned())
        .await
        .unwrap();
    assert!(token.revision < next.revision);
    assert!(config.wait_for(next.revision.get(), SOON).await);
    until("both are open", async || {
        config.load().password.expose() == "hunter3"
    })
    .await;
    assert_eq!(
        config.load().token.as_ref().unwrap().expose(),
        &[0xff, 0x00]
    );

    let exposed = secrets
        .put("billing/user", "hunter4".to_owned())
        .await
        .unwrap();
    assert!(config.wait_for(exposed.revision.get(), SOON).await);
    let error = config.status().rejected.unwrap().error.to_string();
    assert!(
        error.contains("user:") && error.contains("make its type a `Secret`"),
        "{error}"
    );
    assert!(!error.contains("hunter"), "{error}");
    assert_eq!(config.load().user, "shop");
}

#[tokio::test]
async fn it_is_served_when_every_server_is_gone_and_says_how_old_it_is() {
    let mut cluster = Cluster::start(2);
    let client = cluster.client(|_| {});
    furnish(&client).await;
    let config = quick::<Billing>(&client).open().await.unwrap();
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    let before = config.status().age;
    until("it is older", async || {
        config.status().age > before + Duration::from_millis(300)
    })
    .await;
    assert_eq!(config.load().timeout, 30);
    let revision = cluster.shared.write("billing/timeout", "77");
    cluster.nodes.iter_mut().for_each(|node| node.restart());
    assert!(config.wait_for(revision, Duration::from_secs(15)).await);
    assert_eq!(config.load().timeout, 77);
    cluster.all(Manner::Well);
}

#[test]
fn a_fixed_one_never_changes() {
    let config = Config::fixed(Deep { level: 4 });
    assert_eq!(config.load().level, 4);
    assert_eq!(config.subscribe().borrow().level, 4);
    assert_eq!(config.clone().status().revision, 0);
}
