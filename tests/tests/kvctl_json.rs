//! `kvctl -o json` is what `client/kvctl/OUTPUT.md` says: each command's document is read, and the
//! two are held against each other, both ways.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use holdfast_client::{Client, Key, Report, ReportItem, ReportedOverride, Subject};
use holdfast_tests::harness::{Cluster, ClusterOptions, program::kvctl};
use serde_json::{Value, json};

const ENTRY: [&str; 10] = [
    "key", "type", "value", "revision", "created", "version", "lease", "author", "at", "note",
];

/// What OUTPUT.md names beside fields, in the rows of fields.
const VALUES: [&str; 8] = [
    "null",
    "voter",
    "learner",
    "witness",
    "ready",
    "rebuilding",
    "member",
    "list",
];

/// OUTPUT.md.
struct Documented(String);

impl Documented {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/kvctl/OUTPUT.md");
        Self(fs::read_to_string(path).unwrap())
    }

    /// The fields that the row of a command, or of a field, names in its last cell.
    fn row(&self, name: &str) -> BTreeSet<&str> {
        let start = format!("| `{name}`");
        let row = self.0.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("OUTPUT.md has no row of {name}"));
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap();
        words(cell)
    }

    /// Every word that is set as code.
    fn all(&self) -> BTreeSet<&str> {
        words(&self.0)
    }

    /// Holds a document against the row of its command.
    #[track_caller]
    fn check(&self, command: &str, document: &Value) {
        let mut fields = BTreeSet::new();
        collect(document, &mut fields);
        let missing: Vec<_> = self.row(command).difference(&fields).copied().collect();
        assert!(
            missing.is_empty(),
            "{command} lacks {missing:?}: {document:#}"
        );
        let unknown: Vec<_> = fields.difference(&self.all()).copied().collect();
        assert!(
            unknown.is_empty(),
            "OUTPUT.md does not tell of {unknown:?} of {command}: {document:#}"
        );
    }
}

/// What stands between backticks, and in quotes between them; no options, and no values.
fn words(text: &str) -> BTreeSet<&str> {
    let code = text.split('`').skip(1).step_by(2);
    code.filter(|code| !code.starts_with('-'))
        .flat_map(|code| code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
        .filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()) && !VALUES.contains(word))
        .collect()
}

/// The names of all fields, however deep.
fn collect<'a>(json: &'a Value, fields: &mut BTreeSet<&'a str>) {
    match json {
        Value::Object(object) => {
            for (name, value) in object {
                fields.insert(name);
                collect(value, fields);
            }
        }
        Value::Array(all) => all.iter().for_each(|one| collect(one, fields)),
        _ => {}
    }
}

/// The names of a document's own fields.
fn fields(json: &Value) -> Vec<&str> {
    let object = json.as_object().unwrap_or_else(|| panic!("{json}"));
    object.keys().map(String::as_str).collect()
}

struct User {
    cluster: Cluster,
    client: Client,
    documented: Documented,
}

impl User {
    async fn set_up() -> Self {
        let options = ClusterOptions {
            nodes: 1,
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start_with(options).await.unwrap();
        let client = cluster.client().await.unwrap();
        Self {
            cluster,
            client,
            documented: Documented::read(),
        }
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [&["-o", "json"], arguments].concat();
        kvctl(&self.cluster.context_file(), &arguments).await.json()
    }

    /// Runs a command and holds its document against the row of this name.
    async fn checked(&self, row: &str, arguments: &[&str]) -> Value {
        let document = self.json(arguments).await;
        self.documented.check(row, &document);
        document
    }

    async fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let arguments = [&["-o", "json"], arguments].concat();
        let said = kvctl(&self.cluster.context_file(), &arguments).await;
        let said = said.success();
        said.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_their_past_are_printed_as_documented() {
    let user = User::set_up().await;
    let put = user
        .checked("put", &["put", "a", "1", "--note", "why"])
        .await;
    assert_eq!(fields(&put), ["key", "revision"]);
    let kinds = [
        ("text", "x"),
        ("integer", "-5"),
        ("float", "-inf"),
        ("boolean", "true"),
        ("json", r#"{"a":1}"#),
        ("bytes", "AAEC"),
        ("list", r#"["a"]"#),
    ];
    for (kind, value) in kinds {
        let key = format!("kinds/{kind}");
        user.json(&["put", &key, value, "--type", kind]).await;
        let got = user.checked("get", &["get", &key]).await;
        let all = [&ENTRY[..], &["store_revision"]].concat();
        assert_eq!(fields(&got), all, "{kind}");
        assert_eq!(got["type"], kind);
    }
    assert_eq!(user.json(&["get", "kinds/float"]).await["value"], "-inf");

    let odd = Key::new(vec![b'z', 0xff]).unwrap();
    user.client.put(odd, "x").await.unwrap();
    let listed = user.checked("list", &["list"]).await;
    assert_eq!(fields(&listed), ["revision", "count", "more", "entries"]);
    let last = listed["entries"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["key"], &last["key_base64"]),
        (&json!("z\\xff"), &json!("ev8="))
    );
    let keys = user.checked("list", &["list", "a", "--keys"]).await;
    let entry = fields(&keys["entries"][0]);
    assert!(!entry.contains(&"value") && !entry.contains(&"type"));

    user.json(&["put", "a", "2"]).await;
    let history = user.checked("history", &["history", "a"]).await;
    assert_eq!(fields(&history), ["key", "versions", "more"]);
    let bare = user
        .checked("history", &["history", "a", "--no-values"])
        .await;
    let version = fields(&bare["versions"][0]);
    assert!(version.contains(&"digest") && version.contains(&"deleted"));
    assert!(!version.contains(&"value") && !version.contains(&"type"));
    let diff = user.checked("diff", &["diff", "a"]).await;
    assert_eq!(fields(&diff), ["from", "to", "differences"]);
    assert_eq!(fields(&diff["differences"][0]), ["key", "before", "after"]);
    let back = user
        .checked("rollback", &["rollback", "a", "--to", "1"])
        .await;
    assert_eq!(fields(&back), ["revision", "changed"]);
    let deleted = user.checked("delete", &["delete", "a"]).await;
    assert_eq!(fields(&deleted), ["deleted", "revision"]);
    assert_eq!(user.json(&["delete", "a"]).await["revision"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_imports_and_watches_are_printed_as_documented() {
    let user = User::set_up().await;
    let folder = user.cluster.folder();
    let file = folder.join("t.json");
    let transaction = json!({"then": [
        {"put": "t/a", "value": 1},
        {"get_prefix": "t/"},
        {"delete": "t/none"},
        {"txn": {"then": [{"get": "t/a"}]}},
    ]});
    fs::write(&file, transaction.to_string()).unwrap();
    let done = user.checked("txn", &["txn", file.to_str().unwrap()]).await;
    assert_eq!(fields(&done), ["succeeded", "revision", "results"]);
    let results = done["results"].as_array().unwrap();
    let inner: Vec<_> = results.iter().flat_map(fields).collect();
    assert_eq!(inner, ["put", "get", "delete", "txn"]);
    assert_eq!(fields(&results[0]["put"]), [""; 0]);
    assert_eq!(fields(&results[1]["get"]), ["entries", "more", "count"]);
    assert_eq!(fields(&results[2]["delete"]), ["deleted"]);
    assert_eq!(fields(&results[3]["txn"]), ["succeeded", "results"]);

    let file = folder.join("f.env");
    fs::write(&file, "A=1\n").unwrap();
    let import = ["import", file.to_str().unwrap(), "--prefix", "i"];
    let dry = [&import[..], &["--dry-run"]].concat();
    for arguments in [&dry[..], &import[..]] {
        let imported = user.checked("import", arguments).await;
        let changes = &imported["changes"];
        assert_eq!(fields(&changes[0]), ["key", "before", "after"]);
        assert_eq!(fields(&changes[0]["after"]), ["type", "value"]);
    }

    user.json(&["delete", "t/a"]).await;
    let lines = user.lines(&["watch", "--from", "1", "--count", "3"]).await;
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| line["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["put", "put", "delete"]);
    assert_eq!(fields(&lines[0]), [&ENTRY[..], &["kind"]].concat());
    assert!(lines[2].get("value").is_none());

    let newest = user.client.put("t/b", "x").await.unwrap().revision;
    user.client.compact(newest).await.unwrap();
    let watching = user.lines(&["watch", "--from", "1", "--count", "1"]);
    let changing = async {
        loop {
            user.client.put("t/c", "x").await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let lines = tokio::select! {
        lines = watching => lines,
        () = changing => unreachable!("it goes on for ever"),
    };
    assert_eq!(fields(&lines[0]), ["kind", "revision", "entries"]);
    assert_eq!(lines[0]["kind"], "reset");
    assert_eq!(lines[1]["kind"], "put");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_and_the_status_are_printed_as_documented() {
    let user = User::set_up().await;
    let list = user.checked("member list", &["member", "list"]).await;
    assert_eq!(fields(&list), ["leader", "members"]);
    let token = user.checked("member token", &["member", "token"]).await;
    assert_eq!(fields(&token), ["token", "expires_at"]);
    let promoted = user
        .checked("member promote", &["member", "promote", "n1"])
        .await;
    assert_eq!(promoted, json!({"id": 1}));
    let leads = user
        .checked(
            "member transfer-leader",
            &["member", "transfer-leader", "n1"],
        )
        .await;
    assert_eq!(leads, json!({"leader": 1}));

    let status = user.checked("status", &["status"]).await;
    for field in fields(&status) {
        let known = user.documented.all();
        assert!(known.contains(field), "{field}");
    }
    for part in ["past", "log", "members", "limits"] {
        user.documented.check(part, &status);
    }
    let member = &status["members"][0];
    for field in fields(&list["members"][0]) {
        assert!(member.get(field).is_some(), "{field} of {member}");
    }
    assert_eq!(status["problems"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_are_printed_as_documented() {
    let user = User::set_up().await;
    user.json(&["put", "a", "1"]).await;
    let made = user.checked("backup create", &["backup", "create"]).await;
    let listed = user.checked("backup list", &["backup", "list"]).await;
    assert_eq!(fields(&listed), ["backups", "problems"]);
    let all = fields(&listed["backups"][0]);
    let more = fields(&made).into_iter();
    let more: Vec<_> = more.filter(|field| !all.contains(field)).collect();
    assert_eq!(more, ["took_ms", "file"]);
    for field in all {
        let rows = user.documented.all();
        assert!(rows.contains(field), "{field}");
    }
    for check in ["verify", "drill"] {
        let row = format!("backup {check}");
        let found = user.checked("backup verify", &["backup", check]).await;
        assert_eq!(found["drill"], check == "drill", "{row}");
    }
    let copy = user.cluster.folder().join("copy");
    let fetch = ["backup", "fetch", "--out", copy.to_str().unwrap()];
    let fetched = user.checked("backup fetch", &fetch).await;
    assert_eq!(fields(&fetched), ["name", "node", "bytes", "file"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_are_explained_as_documented() {
    let user = User::set_up().await;
    for (key, value) in [
        ("billing/timeout", "30"),
        ("billing/timeout@role:web", "40"),
        ("billing/timeout@role:db", "50"),
        ("billing/timeout@node:db7", "60"),
        ("billing/timeout@web", "70"),
        ("billing/timeouts", "80"),
    ] {
        user.client.put(key, value).await.unwrap();
    }
    fn ask<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
        [&["explain", "billing/timeout"][..], arguments].concat()
    }
    let counting = async |arguments: &[&str]| {
        let explained = user.checked("explain", &ask(arguments)).await;
        let layers = explained["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 4);
        assert_eq!(explained["odd"], json!(["billing/timeout@web"]));
        let counts = layers.iter().filter(|layer| layer["counts"] == true);
        let values: Vec<_> = counts.map(|layer| layer["value"].clone()).collect();
        let [value] = &values[..] else {
            panic!("{explained}");
        };
        value.as_str().unwrap().to_owned()
    };
    assert_eq!(counting(&[]).await, "30");
    assert_eq!(counting(&["--role", "db", "--role", "web"]).await, "40");
    assert_eq!(counting(&["--role", "web", "--role", "db"]).await, "50");
    assert_eq!(counting(&["--role", "web", "--node", "db7"]).await, "60");
    let context = user.cluster.context_file();
    let table = kvctl(&context, &ask(&["--node", "db7"])).await;
    let first = table.stdout.lines().nth(1).unwrap();
    let words: Vec<_> = first.split_whitespace().take(5).collect();
    assert_eq!(words, ["yes", "node", "db7", "text", "60"]);
    assert!(
        table.stderr.contains("billing/timeout@web keeps"),
        "{table:?}"
    );
    kvctl(&context, &["explain", "billing/timeout@web"])
        .await
        .fails(2, &["without what follows"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overrides_are_printed_as_documented() {
    let user = User::set_up().await;
    let fields = user.cluster.folder().join("fields.json");
    fs::write(&fields, r#"{"database": {"host": "db-2"}}"#).unwrap();
    let sign = [
        "override",
        "sign",
        "--prefix",
        "billing/",
        "--expires",
        "1h",
    ];
    let file = [fields.to_str().unwrap(), "--reason", "why"];
    let sign = [&sign[..], &file[..]].concat();
    let signed = user.checked("override sign", &sign).await;
    assert_eq!(signed["fields"], json!(["database/host"]));
    assert_eq!(signed["signer"], "client/admin");
    let place = user.cluster.folder().join("override");
    fs::write(&place, signed["text"].as_str().unwrap()).unwrap();
    let place = place.to_str().unwrap();
    let shown = user
        .checked("override show", &["override", "show", place])
        .await;
    for name in [
        "prefix",
        "signer",
        "signed_at",
        "expires_at",
        "reason",
        "fields",
    ] {
        assert_eq!(shown[name], signed[name], "{name}");
    }
    assert_eq!(shown["problem"], Value::Null);
    let changed = fs::read_to_string(place).unwrap().replace("db-2", "db-3");
    fs::write(place, changed).unwrap();
    let context = user.cluster.context_file();
    let shown = kvctl(&context, &["override", "show", place]).await;
    assert_eq!(shown.code, Some(1));
    assert!(
        shown.stdout.contains("was changed after client/admin"),
        "{shown:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fleet_is_printed_as_documented() {
    let user = User::set_up().await;
    let mut report = Report::rejected(Subject::set("nginx", "web/"), 1, 2, "no template");
    report.items = vec![ReportItem::default()];
    report.override_in_use = Some(ReportedOverride {
        signer: "client/admin".to_owned(),
        expires: SystemTime::UNIX_EPOCH,
        reason: "why".to_owned(),
    });
    let reporter = user.client.reporter("i1");
    reporter.tell(report);
    assert!(reporter.sent(Duration::from_secs(10)).await);
    let fleet = user.checked("fleet", &["fleet", "web/"]).await;
    let entry = &fleet["reports"][0];
    assert_eq!(entry["standing"], "rejected");
    assert_eq!(entry["identity"], "client/admin");
    assert_eq!(
        (&entry["revision"], &entry["offered"]),
        (&json!(1), &json!(2))
    );
    let forget = ["fleet", "forget", "web/", "--instance", "i1"];
    let forgotten = user.checked("fleet forget", &forget).await;
    assert_eq!(forgotten, json!({"forgotten": 1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_grants_and_identities_are_printed_as_documented() {
    let user = User::set_up().await;
    let set = ["role", "set", "shop", "--allow", "read:shop/"];
    assert_eq!(user.json(&set).await, json!({"role": "shop"}));
    let roles = user.checked("role list", &["role", "list"]).await;
    let of_role = |name: &str| {
        let mut roles = roles["roles"].as_array().unwrap().iter();
        roles.find(|role| role["role"] == name).unwrap().clone()
    };
    let shop = json!({"role": "shop", "built_in": false, "rules": ["allow read:shop/"]});
    assert_eq!(of_role("shop"), shop);
    assert_eq!(of_role("admin")["rules"], json!(["allow admin:*"]));
    let added = user
        .checked("grant add", &["grant", "add", "shop", "shop"])
        .await;
    assert_eq!(added, json!({"identity": "client/shop", "roles": ["shop"]}));
    let grants = user.checked("grant list", &["grant", "list"]).await;
    assert!(
        grants["grants"].as_array().unwrap().contains(&added),
        "{grants}"
    );
    let can = ["can", "shop", "read", "shop/a"];
    let decision = user.checked("can", &can).await;
    assert_eq!(decision["by"]["place"], 1);
    let taken = user.json(&["grant", "remove", "shop", "shop"]).await;
    assert_eq!(taken, json!({"identity": "client/shop", "roles": []}));
    let removed = user.json(&["role", "remove", "shop"]).await;
    assert_eq!(removed, json!({"role": "shop"}));

    let out = user.cluster.folder().join("shop");
    let issue = ["identity", "issue", "shop", "--role", "reader", "--out"];
    let issue = [&issue[..], &[out.to_str().unwrap()]].concat();
    let issued = user.checked("identity issue", &issue).await;
    assert_eq!(issued["granted"], json!(["reader"]));
    assert!(Path::new(issued["context"].as_str().unwrap()).exists());
    let list = user.checked("identity list", &["identity", "list"]).await;
    assert_eq!(list["identities"][0]["expires_at"], issued["expires_at"]);
    assert_eq!(list["identities"][0]["revoked_at"], Value::Null);
    let revoke = ["identity", "revoke", "shop", "--yes"];
    let revoked = user.checked("identity revoke", &revoke).await;
    assert_eq!(revoked, json!({"identity": "client/shop"}));
}
