//! Whatever is written reads back as the very same parameters; whatever is read can be written.

use std::collections::BTreeMap;

use holdfast_proto::Value;
use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::{
    super::{Format, RenderError, name, read, write},
    ACCESS_MANAGER, SERVICES, parameters,
};

type Entries = BTreeMap<String, Value>;

/// Text with what formats stumble over.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_ ]{0,12}",
        "[\\PC\n\t\"'#$%&*:=\\\\/@{}\\[\\], -]{0,10}",
        any::<String>(),
        prop::sample::select(vec![
            "",
            "true",
            "no",
            "y",
            "null",
            "~",
            "1",
            "-0",
            "1.0",
            "1e5",
            "0x1f",
            "0o7",
            ".inf",
            "1_000",
            "2001-01-01",
            "<<",
            "- a",
            "a: b",
            "json:[1]",
            "bytes:AA==",
            "list:[\"a\"]",
            " # x",
            "'",
            "\"",
            "\\",
            "\r\n",
            "!tag",
            "&a",
            "*a",
            "$bytes",
            "$$bytes",
            "(default)",
        ])
        .prop_map(str::to_owned),
    ]
}

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
        (-1e9..1e9).prop_map(|number: f64| serde_json::Value::from(number)),
        any_text().prop_map(serde_json::Value::from),
    ];
    let json = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::vec((any_text(), inner), 0..4)
                .prop_map(|names| { names.into_iter().collect::<serde_json::Map<_, _>>().into() }),
        ]
    });
    let pretty = |json: &serde_json::Value| serde_json::to_string_pretty(json).unwrap();
    prop_oneof![
        json.clone().prop_map(|json| json.to_string()),
        json.prop_map(move |json| pretty(&json))
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any_text().prop_map(Value::Text),
        any::<i64>().prop_map(Value::Integer),
        any::<u32>().prop_map(|number| Value::Integer(number.into())),
        any::<f64>()
            .prop_filter("NaN is no value", |f| !f.is_nan())
            .prop_map(Value::Float),
        any::<bool>().prop_map(Value::Boolean),
        prop::collection::vec(any_text(), 0..4).prop_map(Value::List),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Value::Bytes(bytes.into())),
        any_json().prop_map(Value::Json),
    ]
}

fn any_key() -> impl Strategy<Value = String> {
    let part = any_text().prop_map(|text| name::encode(&text));
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

fn any_entries() -> impl Strategy<Value = Entries> {
    prop::collection::btree_map(any_key(), any_value(), 0..8)
}

/// Without keys below values.
fn nested() -> impl Strategy<Value = Entries> {
    any_entries().prop_map(|mut entries| {
        let keys: Vec<_> = entries.keys().cloned().collect();
        for key in &keys {
            let below = format!("{key}/");
            if keys.iter().any(|other| other.starts_with(&below)) {
                entries.remove(key);
            }
        }
        entries
    })
}

fn again(entries: &Entries, format: Format) -> Result<Entries, RenderError> {
    let pairs: Vec<_> = entries.clone().into_iter().collect();
    let written = write(&pairs, format)?;
    Ok(parameters(read(&written, format).unwrap()))
}

proptest! {
    #[test]
    fn json_says_every_parameter(entries in nested()) {
        prop_assert_eq!(again(&entries, Format::Json).unwrap(), entries);
    }

    #[test]
    fn yaml_says_every_parameter(entries in nested()) {
        match again(&entries, Format::Yaml) {
            Ok(read) => prop_assert_eq!(read, entries),
            Err(error) => prop_assert!(error.to_string().contains("the name <<"), "{}", error),
        }
    }

    #[test]
    fn toml_says_every_parameter(entries in nested()) {
        prop_assert_eq!(again(&entries, Format::Toml).unwrap(), entries);
    }

    #[test]
    fn env_says_every_parameter(entries in any_entries()) {
        prop_assert_eq!(again(&entries, Format::Env).unwrap(), entries);
    }

    #[test]
    fn a_registry_says_it_or_refuses_by_name(entries in any_entries()) {
        match again(&entries, Format::Reg) {
            Ok(read) => prop_assert_eq!(read, entries),
            Err(RenderError::Unsayable { key, .. }) => prop_assert!(entries.contains_key(&key)),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn a_registry_says_texts_numbers_bytes_and_lists(
        entries in prop::collection::btree_map("[a-z]{1,4}(/[a-z]{1,3}){0,2}", prop_oneof![
            "[^\0]{0,20}".prop_map(Value::Text),
            any::<i64>().prop_map(Value::Integer),
            prop::collection::vec("[^\0]{1,8}", 0..4).prop_map(Value::List),
            prop::collection::vec(any::<u8>(), 0..80).prop_map(|bytes| Value::Bytes(bytes.into())),
        ], 0..8)
    ) {
        prop_assert_eq!(again(&entries, Format::Reg).unwrap(), entries);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in Format::ALL {
            let _ = read(&bytes, format);
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "[\\[\\]\"=\\\\;:,@a{}#$' \n-]{0,80}") {
        let reg = format!("Windows Registry Editor Version 5.00\n[HKEY_A]\n{text}");
        let _ = read(reg.as_bytes(), Format::Reg);
        for format in Format::ALL {
            let _ = read(text.as_bytes(), format);
        }
    }
}

#[test]
fn real_files_come_back_from_every_format_that_can_say_them() {
    let reg = parameters(read(ACCESS_MANAGER, Format::Reg).unwrap());
    for format in Format::ALL {
        assert_eq!(again(&reg, format).unwrap(), reg, "{format}");
    }
    let yaml = parameters(read(SERVICES, Format::Yaml).unwrap());
    for format in [Format::Json, Format::Yaml, Format::Toml, Format::Env] {
        assert_eq!(again(&yaml, format).unwrap(), yaml, "{format}");
    }
}

#[test]
fn nothing_at_all_comes_back_as_nothing() {
    for format in Format::ALL {
        assert!(
            again(&Entries::new(), format).unwrap().is_empty(),
            "{format}"
        );
    }
}

#[test]
fn a_format_is_known_by_a_file_s_name() {
    for (path, format) in [
        ("a/b.JSON", Some(Format::Json)),
        ("x.yml", Some(Format::Yaml)),
        (".env", Some(Format::Env)),
        (".env.production", Some(Format::Env)),
        ("prod.env", Some(Format::Env)),
        ("README", None),
        ("json", None),
    ] {
        assert_eq!(Format::of_path(path.as_ref()), format, "{path}");
    }
}
