//! Each format, and templates, without a cluster.

use holdfast_client::Value;

use super::*;
use crate::values::tests::values;

fn some() -> Arc<Values> {
    Arc::new(values(
        "web/",
        &[
            ("web/bind", Value::Text("0.0.0.0".to_owned())),
            (
                "web/db/host",
                Value::Text("a \"b\" $c `d`\\\nnext".to_owned()),
            ),
            ("web/limit", Value::Float(0.5)),
            ("web/port", Value::Integer(8080)),
            (
                "web/servers",
                Value::Json(r#"[{"host":"a","port":1},{"host":"b","port":2}]"#.to_owned()),
            ),
            ("web/tls", Value::Boolean(true)),
            (
                "web/tags",
                Value::List(vec!["x".to_owned(), "y".to_owned()]),
            ),
        ],
    ))
}

fn file(toml: &str) -> FileSettings {
    toml::from_str(&format!("path = \"f\"\n{toml}")).unwrap()
}

fn made(file: &FileSettings) -> String {
    let content = render("s", file, "web/", &some(), Secrets::Told).unwrap();
    String::from_utf8(content.bytes.to_vec()).unwrap()
}

fn from_template(source: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.j2");
    std::fs::write(&path, source).unwrap();
    std::fs::write(folder.path().join("part.j2"), "part of {{ node }}").unwrap();
    let mut file = file("");
    file.template = Some(path);
    render("s", &file, "web/", &some(), Secrets::Told)
        .map(|content| String::from_utf8(content.bytes.to_vec()).unwrap())
        .map_err(|error| error.to_string())
}

#[test]
fn nested_formats_read_back_as_what_they_say() {
    let expected = serde_json::json!({
        "bind": "0.0.0.0",
        "db": {"host": "a \"b\" $c `d`\\\nnext"},
        "limit": 0.5,
        "port": 8080,
        "servers": [{"host": "a", "port": 1}, {"host": "b", "port": 2}],
        "tls": true,
        "tags": ["x", "y"],
    });
    let json: serde_json::Value = serde_json::from_str(&made(&file("format = \"json\""))).unwrap();
    assert_eq!(json, expected);
    let yaml: serde_json::Value =
        serde_yaml_ng::from_str(&made(&file("format = \"yaml\""))).unwrap();
    assert_eq!(yaml, expected);
    let toml: serde_json::Value = toml::from_str(&made(&file("format = \"toml\""))).unwrap();
    assert_eq!(toml, expected);
}

#[test]
fn a_shell_reads_an_env_file_as_it_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("env");
    std::fs::write(&path, made(&file("format = \"env\""))).unwrap();
    let script = format!(
        ". {} && printf '%s|%s|%s|%s' \"$db__host\" \"$port\" \"$tls\" \"$servers\"",
        path.display()
    );
    let ran = std::process::Command::new("sh")
        .args(["-c", &script])
        .output()
        .unwrap();
    let expected = "a \"b\" $c `d`\\\nnext|8080|true|[{\"host\":\"a\",\"port\":1},{\"host\":\"b\",\"port\":2}]";
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), expected);
}

#[test]
fn a_raw_file_is_the_value_and_nothing_else() {
    assert_eq!(
        made(&file("format = \"raw\"\nkey = \"web/bind\"")),
        "0.0.0.0"
    );
    let missing = file("format = \"raw\"\nkey = \"web/none\"");
    let error = render("s", &missing, "web/", &some(), Secrets::Told)
        .err()
        .unwrap();
    assert!(matches!(error, RenderError::Missing(Missing::Key(key)) if key == "web/none"));
}

#[test]
fn templates_have_what_people_know() {
    for (source, expected) in [
        ("{{ key('web/port') + 1 }}\n", "8081\n"),
        ("{{ key_or('web/none', 5) }}", "5"),
        (
            "{% if key_exists('web/none') %}a{% else %}b{% endif %}",
            "b",
        ),
        (
            "{% for one in key('web/servers') %}\n{{ one.host }}:{{ one.port }};\n{% endfor %}",
            "a:1;\nb:2;\n",
        ),
        (
            "{{ ls('web') | map(attribute='name') | join(',') }}",
            "bind,limit,port,servers,tags,tls",
        ),
        ("{{ tree('web/db')[0].key }}", "web/db/host"),
        ("{{ explode('web/').tags | join('-') }}", "x-y"),
        (
            "{{ explode('web/').db | to_json }}",
            r#"{"host":"a \"b\" $c `d`\\\nnext"}"#,
        ),
        ("{{ 'hi' | base64_encode | base64_decode }}", "hi"),
        (
            "{{ 'abc' | sha256_hex }}",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        ("{{ 'a1b22' | regex_replace_all('[0-9]+', '-') }}", "a-b-"),
        (
            "{{ ' 7 ' | parse_int + 1 }}{{ '[1]' | parse_json | first }}",
            "81",
        ),
        (
            "{{ \"it's\" | shell_quote }} {{ 'a\"' | quote }}",
            "'it'\\''s' \"a\\\"\"",
        ),
        (
            "{{ ' a ' | trim | upper }}{{ 'x\ny' | indent(2) }}",
            "Ax\n  y",
        ),
        (
            "{{ {'a': [1]} | to_yaml }}{{ {'b': true} | to_toml }}",
            "a:\n- 1\nb = true\n",
        ),
        (
            "{{ node }} {{ roles | join }} {{ revision }} {{ set }}",
            "db7 web 5 s",
        ),
        ("{% include 'part.j2' %}", "part of db7"),
        ("{{ env('HOLDFAST_NO_SUCH', 'd') }}", "d"),
        ("<{{ '<&>' }}>", "<<&>>"),
    ] {
        assert_eq!(from_template(source).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn a_broken_template_says_where_and_does_nothing_it_may_not() {
    for (source, said) in [
        ("a\n{{ key('web/none') }}", "line 2"),
        ("{{ key('web/none') }}", "no key \"web/none\""),
        ("{{ key('other/a') }}", "none of the set's prefixes"),
        ("{{ nobody }}", "undefined"),
        ("{% if %}", "line 1"),
        (
            "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
            "fuel",
        ),
        ("{% include '../../etc/passwd' %}", "template not found"),
        ("{% include '/etc/passwd' %}", "template not found"),
        ("{{ secret('web/port') }}", "is no secret"),
    ] {
        let error = from_template(source).unwrap_err();
        assert!(error.contains(said), "{source}: {error}");
    }
}

#[test]
fn two_keys_of_one_variable_are_refused_also_in_a_file() {
    let text = |text: &str| Value::Text(text.to_owned());
    let values = values("web/", &[("web/a/b", text("1")), ("web/a__b", text("2"))]);
    let file = file("format = \"env\"");
    let refused = render("s", &file, "web/", &Arc::new(values), Secrets::Told);
    let why = refused.err().unwrap().to_string();
    assert!(why.contains("web/a/b") && why.contains("web/a__b"), "{why}");
}
