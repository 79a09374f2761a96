use super::{
    super::{Format, write},
    SERVICES, assert_said, bytes, json, list, parameters, said, text,
};
use holdfast_proto::Value;

#[test]
fn a_team_s_yaml_is_typed_as_it_is_written() {
    let found = parameters(super::read(SERVICES, Format::Yaml).unwrap());
    assert_said(
        found,
        [
            ("billing/listen", text("0.0.0.0:8443")),
            ("billing/timeout_seconds", Value::Integer(30)),
            ("billing/retry/attempts", Value::Integer(4)),
            ("billing/retry/backoff_ms", Value::Integer(250)),
            ("billing/features", list(&["invoices", "refunds"])),
            ("billing/rate", Value::Float(0.75)),
            ("billing/maintenance", Value::Boolean(false)),
            ("directory/ldap_url", text("ldaps://dc1.corp.example:636")),
            ("directory/base_dn", text("DC=corp,DC=example")),
            ("directory/page_size", Value::Integer(1000)),
            (
                "directory/bind_user",
                text("CN=svc-am,OU=Service Accounts,DC=corp,DC=example"),
            ),
            ("mail/smtp_host", text("smtp.corp.example")),
            ("mail/smtp_port", Value::Integer(587)),
            ("mail/from", text("access-manager@corp.example")),
        ],
    );
}

#[test]
fn json_keeps_integers_floats_and_documents_apart() {
    let found = said(
        r#"{
            "integer": 1, "float": 1.0, "exponent": 1e3, "negative": -9223372036854775808,
            "flag": true, "text": "1", "list": ["a", "b"], "no items": [],
            "document": [1, "a",  {"b": null}], "empty": {}, "bytes": {"$bytes": "AP8="},
            "scalar": {"$json": "\"x\""}, "infinite": {"$float": "-inf"},
            "$$bytes": "a name", "$schema": "s", "": {"a/b": {"x@y%": 1}}
        }"#,
        Format::Json,
    );
    assert_said(
        found,
        [
            ("integer", Value::Integer(1)),
            ("float", Value::Float(1.0)),
            ("exponent", Value::Float(1000.0)),
            ("negative", Value::Integer(i64::MIN)),
            ("flag", Value::Boolean(true)),
            ("text", text("1")),
            ("list", list(&["a", "b"])),
            ("no items", list(&[])),
            ("document", json(r#"[1, "a",  {"b": null}]"#)),
            ("empty", json("{}")),
            ("bytes", bytes(&[0, 255])),
            ("scalar", json("\"x\"")),
            ("infinite", Value::Float(f64::NEG_INFINITY)),
            ("$bytes", text("a name")),
            ("$schema", text("s")),
            ("%/a%2Fb/x%40y%25", Value::Integer(1)),
        ],
    );
}

#[test]
fn yaml_resolves_aliases_merges_and_plain_names() {
    let found = said(
        "base: &base\n  a: 1\n  b: yes it is\nuser:\n  <<: *base\n  b: 2\n8080: x\ntrue: y\nnone: []\nlist: [1, null, .5]\nblock: |\n  two\n  lines\ninfinite: .inf\n",
        Format::Yaml,
    );
    assert_said(
        found,
        [
            ("base/a", Value::Integer(1)),
            ("base/b", text("yes it is")),
            ("user/a", Value::Integer(1)),
            ("user/b", Value::Integer(2)),
            ("8080", text("x")),
            ("true", text("y")),
            ("none", list(&[])),
            ("list", json("[1,null,0.5]")),
            ("block", text("two\nlines\n")),
            ("infinite", Value::Float(f64::INFINITY)),
        ],
    );
}

#[test]
fn toml_tables_are_parts_and_arrays_of_tables_are_documents() {
    let found = said(
        "top = 1\n[server]\nhost = \"h\"\nports = [1, 2]\n'a/b' = 1.0\n[server.tls]\non = true\n[[route]]\nto = \"x\"\n[[route]]\nto = \"y\"\n",
        Format::Toml,
    );
    assert_said(
        found,
        [
            ("top", Value::Integer(1)),
            ("server/host", text("h")),
            ("server/ports", json("[1,2]")),
            ("server/a%2Fb", Value::Float(1.0)),
            ("server/tls/on", Value::Boolean(true)),
            ("route", json(r#"[{"to":"x"},{"to":"y"}]"#)),
        ],
    );
}

#[test]
fn env_types_only_what_it_can_write_again() {
    let found = said(
        r#"# a comment
export PORT=8080
ZIP=01234
VERSION=1.10
RATE=0.75
ON=true
YES=yes
QUOTED="8080"
SINGLE='a "b" $c \n'
ESCAPED="a \"b\" \$c\nd S:\AMS"
EMPTY=
NOTED=some text # with a comment
HASH=a#b
ONLY= # nothing
LONG="one
two"
DB__HOST=h
A%2FB=x
B=bytes:AP8=
NOT=bytes:zz
L=list:["a","b"]
J=json:{"a": [1]}
J64=json64:WwoxXQ==
INF=float:inf
"#,
        Format::Env,
    );
    assert_said(
        found,
        [
            ("PORT", Value::Integer(8080)),
            ("ZIP", text("01234")),
            ("VERSION", text("1.10")),
            ("RATE", Value::Float(0.75)),
            ("ON", Value::Boolean(true)),
            ("YES", text("yes")),
            ("QUOTED", text("8080")),
            ("SINGLE", text("a \"b\" $c \\n")),
            ("ESCAPED", text("a \"b\" $c\nd S:\\AMS")),
            ("EMPTY", text("")),
            ("NOTED", text("some text")),
            ("HASH", text("a#b")),
            ("ONLY", text("")),
            ("LONG", text("one\ntwo")),
            ("DB/HOST", text("h")),
            ("A%2FB", text("x")),
            ("B", bytes(&[0, 255])),
            ("NOT", text("bytes:zz")),
            ("L", list(&["a", "b"])),
            ("J", json("{\"a\": [1]}")),
            ("J64", json("[\n1]")),
            ("INF", Value::Float(f64::INFINITY)),
        ],
    );
}

#[test]
fn files_are_written_for_people_to_read() {
    let entries = [
        ("billing/features".to_owned(), list(&["a", "b"])),
        ("billing/rate".to_owned(), Value::Float(1.0)),
        ("key".to_owned(), bytes(&[0, 255])),
        ("note".to_owned(), text("it's \"so\"")),
        ("port".to_owned(), text("8080")),
    ];
    let written = |format| String::from_utf8(write(&entries, format).unwrap()).unwrap();
    assert_eq!(
        written(Format::Json),
        "{\n  \"billing\": {\n    \"features\": [\"a\", \"b\"],\n    \"rate\": 1.0\n  },\n  \
         \"key\": {\"$bytes\": \"AP8=\"},\n  \"note\": \"it's \\\"so\\\"\",\n  \"port\": \"8080\"\n}\n"
    );
    assert_eq!(
        written(Format::Yaml),
        "billing:\n  features:\n  - a\n  - b\n  rate: 1.0\nkey:\n  $bytes: AP8=\n\
         note: it's \"so\"\nport: '8080'\n"
    );
    assert_eq!(
        written(Format::Toml),
        "note = \"\"\"it's \"so\"\"\"\"\nport = \"8080\"\n\n[billing]\nfeatures = [\"a\", \"b\"]\nrate = 1.0\n\n\
         [key]\n\"$bytes\" = \"AP8=\"\n"
    );
    assert_eq!(
        written(Format::Env),
        "billing__features=list:[\"a\",\"b\"]\nbilling__rate=1.0\nkey=bytes:AP8=\n\
         note=\"it's \\\"so\\\"\"\nport='8080'\n"
    );
}
