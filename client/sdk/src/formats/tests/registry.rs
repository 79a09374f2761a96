use super::{
    super::{Deletion, Format, read, write},
    ACCESS_MANAGER, EXPECTED, assert_said, bytes, list, parameters, refused, said, text,
};
use holdfast_proto::Value;

const HEADER: &str = "Windows Registry Editor Version 5.00\r\n\r\n";

fn reg(body: &str) -> String {
    format!("{HEADER}{}", body.replace('\n', "\r\n"))
}

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<char> = digits.chars().collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs
        .map(|pair| u8::from_str_radix(&pair, 16).unwrap())
        .collect()
}

#[test]
fn a_real_export_is_typed_exactly_as_its_table_says() {
    let expected: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(EXPECTED).unwrap();
    let mut found = parameters(read(ACCESS_MANAGER, Format::Reg).unwrap());
    for (key, expected) in expected.iter().filter(|(key, _)| *key != "_about") {
        let value = found
            .remove(key)
            .unwrap_or_else(|| panic!("{key} is missing"));
        assert_eq!(value.kind().as_str(), expected["type"], "{key}");
        let same = match &value {
            Value::Bytes(found) => found[..] == hex(expected["hex"].as_str().unwrap()),
            Value::Integer(found) => expected["value"] == *found,
            Value::List(found) => expected["value"] == serde_json::Value::from(found.clone()),
            Value::Text(found) => expected["value"] == found.as_str(),
            _ => false,
        };
        assert!(same, "{key} has another value");
    }
    assert!(found.is_empty(), "{:?} are too many", found.keys());
}

#[test]
fn utf8_with_and_without_mark_and_both_orders_of_utf16_read_alike() {
    let expected = read(ACCESS_MANAGER, Format::Reg).unwrap();
    let units: Vec<u16> = ACCESS_MANAGER
        .chunks(2)
        .skip(1)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    let plain = String::from_utf16(&units).unwrap();
    let marked = format!("\u{feff}{plain}");
    let big: Vec<u8> = marked.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let unmarked: Vec<u8> = units.iter().copied().flat_map(u16::to_le_bytes).collect();
    for file in [plain.as_bytes(), marked.as_bytes(), &big, &unmarked] {
        assert_eq!(read(file, Format::Reg).unwrap(), expected);
    }
    assert_eq!(
        read(plain.replace("\r\n", "\n").as_bytes(), Format::Reg).unwrap(),
        expected
    );
}

#[test]
fn every_type_of_data_has_its_kind() {
    let found = said(
        &reg(r#"[HKEY_CURRENT_USER\Software\A]
@="the default"
"(default)"="named so"
"text"="a \"quoted\" \\ path"   ; a comment
"empty"=""
"dword"=dword:ffffffff
"short"=dword:7
"little"=hex(4):01,02,00,00
"big"=hex(5):00,00,02,01
"qword"=hex(b):ff,ff,ff,ff,ff,ff,ff,7f
"signed"=hex(b):ff,ff,ff,ff,ff,ff,ff,ff
"binary"=hex:00,ff
"none"=hex(0):
"text in hex"=hex(1):41,00,00,00
"unterminated"=hex(1):41,00
"many"=hex(7):61,00,00,00,62,00,00,00,00,00
"no items"=hex(7):00,00
"#),
        Format::Reg,
    );
    assert_said(
        found,
        [
            ("(default)", text("the default")),
            ("%28default)", text("named so")),
            ("text", text("a \"quoted\" \\ path")),
            ("empty", text("")),
            ("dword", Value::Integer(0xffff_ffff)),
            ("short", Value::Integer(7)),
            ("little", Value::Integer(0x201)),
            ("big", Value::Integer(0x201)),
            ("qword", Value::Integer(i64::MAX)),
            ("signed", Value::Integer(-1)),
            ("binary", bytes(&[0, 255])),
            ("none", bytes(&[])),
            ("text in hex", text("A")),
            ("unterminated", text("A")),
            ("many", list(&["a", "b"])),
            ("no items", list(&[])),
        ],
    );
}

#[test]
fn sub_keys_are_parts_and_clashing_names_are_encoded() {
    let found = said(
        &reg(r#"[HKEY_LOCAL_MACHINE\SOFTWARE\A]
[HKEY_LOCAL_MACHINE\SOFTWARE\A\b/c]
"x@y"="1"
"50%"="2"
[HKEY_LOCAL_MACHINE\SOFTWARE\A\d]e] ; a note [x]
"back\\slash"="3"
"#),
        Format::Reg,
    );
    assert_said(
        found,
        [
            ("b%2Fc/x%40y", text("1")),
            ("b%2Fc/50%25", text("2")),
            ("d]e/back\\slash", text("3")),
        ],
    );
}

#[test]
fn bytes_go_on_over_lines_and_past_comments() {
    let found = said(
        &reg("[HKEY_USERS\\A]\n; hex:99,\\\n\"a\"=hex:01,\\ ; first\n  02,\\\n\t03\n\"b\"=dword:1"),
        Format::Reg,
    );
    assert_said(found, [("a", bytes(&[1, 2, 3])), ("b", Value::Integer(1))]);
}

#[test]
fn names_that_differ_in_case_are_one_and_the_last_value_wins() {
    let found = said(
        &reg(
            "[HKEY_USERS\\A]\n[HKEY_USERS\\A\\Jit]\n\"Interval\"=dword:1\n[HKEY_USERS\\A\\JIT]\n\"INTERVAL\"=dword:2\n\"Other\"=dword:3",
        ),
        Format::Reg,
    );
    assert_said(
        found,
        [
            ("Jit/Interval", Value::Integer(2)),
            ("Jit/Other", Value::Integer(3)),
        ],
    );
}

#[test]
fn deletions_of_values_and_keys_come_in_the_order_of_the_file() {
    let file = reg(r#"[HKEY_USERS\A]
"gone"=-
@=-
"back"=-
"back"="again"
"set first"="x"
"set first"=-
[HKEY_USERS\A\Old]
"x"="dropped"
[-HKEY_USERS\A\Old]
[HKEY_USERS\A\Old]
"y"="kept"
"#);
    let document = read(file.as_bytes(), Format::Reg).unwrap();
    assert_eq!(
        document.deletions,
        [
            Deletion::Tree("Old/".into()),
            Deletion::Key("(default)".into()),
            Deletion::Key("gone".into()),
            Deletion::Key("set first".into()),
        ]
    );
    assert_said(
        parameters(document),
        [("back", text("again")), ("Old/y", text("kept"))],
    );
}

#[test]
fn a_deleted_key_never_takes_more_than_its_own_name_below_the_prefix() {
    let deletions = |body: &str| read(reg(body).as_bytes(), Format::Reg).unwrap().deletions;
    // Alone in its file, it is below a top of its own.
    assert_eq!(
        deletions("[-HKEY_USERS\\A\\Jit]"),
        [Deletion::Tree("Jit/".into())]
    );
    // Deleted and made anew: that is the whole of what the file is about.
    assert_eq!(
        deletions("[-HKEY_USERS\\A]\n[HKEY_USERS\\A]"),
        [Deletion::Tree(String::new())]
    );
    // Beside the key that the file sets.
    assert_eq!(
        deletions("[HKEY_USERS\\A\\B]\n[-HKEY_USERS\\A\\C]"),
        [Deletion::Tree("C/".into())]
    );
}

#[test]
fn what_is_wrong_is_refused_with_its_line() {
    for (body, line, word) in [
        ("\"a\"=\"x\"", 3, "[key]"),
        ("[HKEY_USERS\\A", 3, "']'"),
        ("[A\\B]", 3, "hive"),
        ("[HKEY_USERS\\\\A]", 3, "empty"),
        ("[HKEY_USERS\\A]\nnonsense", 4, "expected"),
        ("[HKEY_USERS\\A]\n\"a\"=\"x\n\n", 4, "not closed"),
        ("[HKEY_USERS\\A]\n\"a\"=\"x\" y", 4, "comment"),
        ("[HKEY_USERS\\A]\n\"a\"=\"C:\\temp\"", 4, "backslash"),
        ("[HKEY_USERS\\A]\n\"a\"=dword:123456789", 4, "eight"),
        ("[HKEY_USERS\\A]\n\"a\"=dword:xyz", 4, "hexadecimal"),
        ("[HKEY_USERS\\A]\n\"a\"=hex:01,\\\n  0g", 5, "hexadecimal"),
        ("[HKEY_USERS\\A]\n\"a\"=hex:01,\\\n", 5, "ends"),
        ("[HKEY_USERS\\A]\n\"a\"=hex(b):01", 4, "8 bytes"),
        ("[HKEY_USERS\\A]\n\"a\"=hex(1):00,d8,00,00", 4, "UTF-16"),
        ("[HKEY_USERS\\A]\n\"a\"=hex(6):00", 4, "link"),
        ("[HKEY_USERS\\A]\n\"a\"=hex(c):00", 4, "no type"),
        ("[HKEY_USERS\\A]\n\"a\"", 4, "'='"),
        ("[-HKEY_USERS\\A]\n\"a\"=\"x\"", 4, "[key]"),
    ] {
        let error = refused(&reg(body), Format::Reg);
        assert!(
            error.starts_with(&format!("line {line}: ")),
            "{error}\n{body}"
        );
        assert!(error.contains(word), "{error}\n{body}");
    }
    assert!(refused("REGEDIT4\n", Format::Reg).contains("export again"));
    assert!(refused("hello", Format::Reg).starts_with("line 1: "));
    assert!(refused("", Format::Reg).contains("first line"));
}

#[test]
fn an_export_is_what_regedit_would_write() {
    let entries = [
        ("(default)".to_owned(), text("d")),
        ("Jit/Interval".to_owned(), Value::Integer(60)),
        ("Jit/Ticks".to_owned(), Value::Integer(3_000_000_000_000)),
        ("Path".to_owned(), text("S:\\\"AMS\"")),
    ];
    let written = write(&entries, Format::Reg).unwrap();
    assert_eq!(written[..2], [0xff, 0xfe]);
    assert_eq!(
        super::super::reg::decode(&written).unwrap(),
        "Windows Registry Editor Version 5.00\r\n\r\n\
         [HKEY_LOCAL_MACHINE\\SOFTWARE\\Holdfast]\r\n\
         @=\"d\"\r\n\
         \"Path\"=\"S:\\\\\\\"AMS\\\"\"\r\n\r\n\
         [HKEY_LOCAL_MACHINE\\SOFTWARE\\Holdfast\\Jit]\r\n\
         \"Interval\"=dword:0000003c\r\n\
         \"Ticks\"=hex(b):00,30,ef,7d,ba,02,00,00\r\n"
    );
}

#[test]
fn what_a_registry_cannot_say_is_refused_by_name() {
    for (key, value, word) in [
        ("a", Value::Float(0.5), "float"),
        ("a", Value::Boolean(true), "boolean"),
        ("a", super::json("[1]"), "JSON"),
        ("a", text("\0"), "NUL"),
        ("a", list(&[""]), "empty item"),
        ("%", text("x"), "empty name"),
        ("a\\b/c", text("x"), "backslash"),
    ] {
        let error = write(&[(key.to_owned(), value)], Format::Reg)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(key) && error.contains(word), "{error}");
    }
    let twins = [("a/X".to_owned(), text("1")), ("A/y".to_owned(), text("2"))];
    assert!(
        write(&twins, Format::Reg)
            .unwrap_err()
            .to_string()
            .contains("case")
    );
}
