//! `kvctl -o json` is what `client/kvctl/OUTPUT.md` says: each command's document is read, and the
//! two are held against each other, both ways.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{collections::BTreeSet, fs, path::Path};

use holdfast_client::{Client, Key};
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
