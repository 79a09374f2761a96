use super::{
    super::{Format, RenderError, read, write},
    refused, text,
};
use holdfast_proto::{Value, limits};

#[test]
fn wrong_json_is_refused_with_its_line() {
    for (file, line, word) in [
        ("", 1, "EOF"),
        ("{\n \"a\": 1,\n}", 3, "key must be a string"),
        ("{\n \"a\": null\n}", 2, "null"),
        ("{\n \"a\": {\n  \"b\": 1,\n  \"b\": 2\n }\n}", 4, "twice"),
        ("{\n \"a\": 9223372036854775808\n}", 2, "64 bits"),
        ("{\n \"a\": 1e999\n}", 2, ""),
        ("{\n\n \"a\": {\"$bytes\": \"?\"}\n}", 3, "$bytes"),
        ("{\n\n \"a\": {\"$float\": \"1\"}\n}", 3, "$float"),
        ("[1]", 1, "table"),
        ("3", 1, "table"),
        ("{\n \"a\": \"\\ud800\"\n}", 2, "hex escape"),
        ("{} {}", 1, "trailing"),
    ] {
        let error = refused(file, Format::Json);
        assert!(
            error.starts_with(&format!("line {line}: ")),
            "{error}\n{file}"
        );
        assert!(error.contains(word), "{error}\n{file}");
    }
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    assert!(refused(&deep, Format::Json).contains("in one another"));
}

#[test]
fn wrong_yaml_is_refused_with_its_line() {
    for (file, line, word) in [
        ("a: 1\nb: [1\nc: 2\n", 3, ""),
        ("a: 1\nb:\nc: 2\n", 2, "null"),
        ("a:\n  b: 1\n  b: 2\n", 3, "twice"),
        ("a: 1\nb: 9223372036854775808\n", 2, "64 bits"),
        ("a: 1\nb: .nan\n", 2, "NaN"),
        ("a: 1\nb: !secret x\n", 2, "tag"),
    ] {
        let error = refused(file, Format::Yaml);
        assert!(
            error.starts_with(&format!("line {line}: ")),
            "{error}\n{file}"
        );
        assert!(error.contains(word), "{error}\n{file}");
    }
    assert!(refused("- a\n- b\n", Format::Yaml).contains("table"));
    assert!(refused("a: 1\n---\nb: 2\n", Format::Yaml).contains("document"));
}

#[test]
fn wrong_toml_is_refused_with_its_line() {
    for (file, line, word) in [
        ("a = 1\nb =\n", 2, ""),
        ("a = 1\na = 2\n", 2, "duplicate"),
        ("a = 1\nb = 1979-05-27\n", 2, "date"),
        ("a = 1\nb = nan\n", 2, "NaN"),
        ("a = 1\nb = 9223372036854775808\n", 2, ""),
    ] {
        let error = refused(file, Format::Toml);
        assert!(
            error.starts_with(&format!("line {line}: ")),
            "{error}\n{file}"
        );
        assert!(error.contains(word), "{error}\n{file}");
    }
}

#[test]
fn wrong_env_is_refused_with_its_line() {
    for (file, line, word) in [
        ("A=1\nnonsense\n", 2, "NAME=value"),
        ("A=1\nA=2\n", 2, "twice"),
        ("A=1\n\nA B=2\n", 3, "spaces"),
        ("A=1\n=2\n", 2, "name"),
        ("A=1\nB=\"x\nC=2\n", 2, "not closed"),
        ("A='x' y\n", 1, "comment"),
        ("A%G=1", 1, "hex"),
    ] {
        let error = refused(file, Format::Env);
        assert!(
            error.starts_with(&format!("line {line}: ")),
            "{error}\n{file}"
        );
        assert!(error.contains(word), "{error}\n{file}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_line() {
    for format in Format::ALL {
        let error = read(b"a\nb\xffc", format).unwrap_err().to_string();
        assert!(
            error.starts_with("line 2: the bytes are not UTF-8"),
            "{error}"
        );
    }
    let error = read(b"\xff\xfeW\x00x", Format::Reg)
        .unwrap_err()
        .to_string();
    assert!(error.contains("not UTF-16"), "{error}");
}

#[test]
fn limits_hold_for_what_a_file_says() {
    let long = "k".repeat(limits::KEY_BYTES + 1);
    let error = refused(&format!("{{\n\"{long}\": 1}}"), Format::Json);
    assert!(
        error.starts_with("line 2: ") && error.contains("1025 bytes"),
        "{error}"
    );
    let large = "v".repeat(limits::VALUE_BYTES + 1);
    let error = refused(&format!("A=1\nB={large}"), Format::Env);
    assert!(error.starts_with("line 2: B has 1048577 bytes"), "{error}");
}

#[test]
fn keys_that_no_file_can_name_are_refused_by_name() {
    for key in ["a//b", "a/", "a@node", "100%", "a/%41"] {
        for format in Format::ALL {
            let error = write(&[(key.to_owned(), text("x"))], format).unwrap_err();
            assert_eq!(
                error,
                RenderError::ForeignKey {
                    key: key.to_owned()
                },
                "{format}"
            );
        }
    }
}

#[test]
fn a_value_with_keys_below_it_needs_a_flat_format() {
    let entries = [("a".to_owned(), text("1")), ("a/b".to_owned(), text("2"))];
    for format in [Format::Json, Format::Yaml, Format::Toml] {
        let error = write(&entries, format).unwrap_err().to_string();
        assert!(
            error.starts_with("a is a value and a/b lies below it"),
            "{error}"
        );
    }
    for format in [Format::Env, Format::Reg] {
        assert!(write(&entries, format).is_ok(), "{format}");
    }
}

#[test]
fn no_format_says_a_secret() {
    let sealed = Value::Sealed(b"payload".as_slice().into());
    let entries = [("a".to_owned(), text("1")), ("b".to_owned(), sealed)];
    for format in Format::ALL {
        let error = write(&entries, format).unwrap_err();
        let key = "b".to_owned();
        assert_eq!(error, RenderError::Secret { key }, "{format}");
    }
}
