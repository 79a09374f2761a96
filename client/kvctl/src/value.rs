//! Typed values, from words and to words.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use holdfast_client::{Value, ValueKind, limits};
use serde_json::json;

use crate::failure::Failure;

/// What is given for a value, before its type is known.
pub(crate) enum Given {
    /// A word of the command line.
    Word(String),
    /// A file, or standard input.
    Bytes(Vec<u8>),
}

/// Parses what is given as a value of a kind; without one it is text.
pub(crate) fn parse(given: Given, kind: Option<ValueKind>) -> Result<Value, Failure> {
    let kind = kind.unwrap_or(ValueKind::Text);
    let value = match (given, kind) {
        (Given::Bytes(bytes), ValueKind::Bytes) => Value::Bytes(bytes.into()),
        (Given::Word(word), ValueKind::Bytes) => BASE64_STANDARD
            .decode(&word)
            .map(|bytes| Value::Bytes(bytes.into()))
            .map_err(|_| {
                refused(
                    kind,
                    "give base64, or the bytes themselves with --file or -",
                )
            })?,
        (Given::Bytes(bytes), _) => {
            let text = String::from_utf8(bytes).map_err(|_| {
                refused(
                    kind,
                    "it is not UTF-8; use --type bytes to keep it as it is",
                )
            })?;
            parse_text(text, kind)?
        }
        (Given::Word(word), _) => parse_text(word, kind)?,
    };
    match value.size() {
        size if size > limits::VALUE_BYTES => Err(Failure::refused(format!(
            "the value has {size} bytes; at most {} are allowed, nothing was written: split it",
            limits::VALUE_BYTES
        ))),
        _ => Ok(value),
    }
}

fn parse_text(text: String, kind: ValueKind) -> Result<Value, Failure> {
    let word = text.trim();
    Ok(match kind {
        ValueKind::Integer => Value::Integer(
            word.parse()
                .map_err(|_| refused(kind, format!("{word:?} is no whole number of 64 bits")))?,
        ),
        ValueKind::Float => match word.parse::<f64>() {
            Ok(number) if !number.is_nan() => Value::Float(number),
            _ => return Err(refused(kind, format!("{word:?} is no number"))),
        },
        ValueKind::Boolean => match word {
            "true" => Value::Boolean(true),
            "false" => Value::Boolean(false),
            _ => return Err(refused(kind, format!("{word:?} is neither true nor false"))),
        },
        ValueKind::Json => {
            serde_json::from_str::<serde::de::IgnoredAny>(word)
                .map_err(|error| refused(kind, error))?;
            Value::Json(word.to_owned())
        }
        ValueKind::List if word.starts_with('[') => {
            Value::List(serde_json::from_str(word).map_err(|error| {
                refused(
                    kind,
                    format!("give a JSON array of strings, or one item a line ({error})"),
                )
            })?)
        }
        ValueKind::List => Value::List(text.lines().map(str::to_owned).collect()),
        ValueKind::Text | ValueKind::Bytes => Value::Text(text),
        ValueKind::Sealed => return Err(refused(kind, "put it with `kvctl secret put`")),
    })
}

fn refused(kind: ValueKind, why: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("the value is no {kind}: {why}"))
}

/// A value in JSON: `{"type": …, "value": …}`.
pub(crate) fn to_json(value: &Value) -> serde_json::Value {
    let content = match value {
        Value::Text(text) | Value::Json(text) => json!(text),
        Value::Integer(number) => json!(number),
        Value::Float(number) if number.is_infinite() => json!(number.to_string()),
        Value::Float(number) => json!(number),
        Value::Boolean(flag) => json!(flag),
        Value::Bytes(bytes) => json!(BASE64_STANDARD.encode(bytes)),
        Value::List(items) => json!(items),
        Value::Sealed(_) => json!(null),
    };
    json!({ "type": value.kind().as_str(), "value": content })
}

/// A value from JSON: as [`to_json`] writes it, or a plain string, number, boolean or array of
/// strings.
pub(crate) fn from_json(json: &serde_json::Value) -> Result<Value, String> {
    use serde_json::Value as Json;
    match json {
        Json::String(text) => Ok(Value::Text(text.clone())),
        Json::Bool(flag) => Ok(Value::Boolean(*flag)),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Ok(Value::Integer(number)),
            (None, Some(float)) if number.is_f64() => Ok(Value::Float(float)),
            _ => Err(format!("{number} does not fit 64 bits")),
        },
        Json::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .map(Value::List)
            .ok_or_else(|| "a list holds strings only".to_owned()),
        Json::Object(fields) => tagged(fields)
            .ok_or_else(|| format!("{json} is not {{\"type\": …, \"value\": …}} of a known type")),
        Json::Null => Err("null is no value; use a delete".to_owned()),
    }
}

fn tagged(fields: &serde_json::Map<String, serde_json::Value>) -> Option<Value> {
    let kind: ValueKind = fields.get("type")?.as_str()?.parse().ok()?;
    let content = fields.get("value").filter(|_| fields.len() == 2)?;
    Some(match kind {
        ValueKind::Text => Value::Text(content.as_str()?.to_owned()),
        ValueKind::Integer => Value::Integer(content.as_i64()?),
        ValueKind::Float => match content.as_str() {
            Some("inf") => Value::Float(f64::INFINITY),
            Some("-inf") => Value::Float(f64::NEG_INFINITY),
            _ => Value::Float(content.as_f64()?),
        },
        ValueKind::Boolean => Value::Boolean(content.as_bool()?),
        ValueKind::Json => {
            let text = content.as_str()?;
            serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
            Value::Json(text.to_owned())
        }
        ValueKind::Bytes => Value::Bytes(BASE64_STANDARD.decode(content.as_str()?).ok()?.into()),
        ValueKind::List => match from_json(content).ok()? {
            list @ Value::List(_) => list,
            _ => return None,
        },
        ValueKind::Sealed => return None,
    })
}

/// A value on one line, for tables; control characters are shown escaped.
pub(crate) fn show(value: &Value) -> String {
    let text = match value {
        Value::Text(text) | Value::Json(text) => text.clone(),
        Value::Float(number) => format!("{number:?}"),
        Value::List(items) => json!(items).to_string(),
        Value::Bytes(bytes) => format!("base64:{}", BASE64_STANDARD.encode(bytes)),
        Value::Sealed(_) => "(secret)".to_owned(),
        Value::Integer(_) | Value::Boolean(_) => {
            String::from_utf8_lossy(&value.to_canonical()).into_owned()
        }
    };
    let mut shown = String::with_capacity(text.len());
    for (place, character) in text.chars().enumerate() {
        if place == LONGEST_SHOWN {
            shown.push('…');
            break;
        }
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Characters of a value that a table shows.
const LONGEST_SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn word(word: &str, kind: &str) -> Result<Value, Failure> {
        parse(Given::Word(word.to_owned()), Some(kind.parse().unwrap()))
    }

    #[test]
    fn words_are_parsed_by_their_type() {
        assert!(word("-5", "integer").unwrap() == Value::Integer(-5));
        assert!(word("1e3", "float").unwrap() == Value::Float(1000.0));
        assert!(word("true", "boolean").unwrap() == Value::Boolean(true));
        assert!(word(" [1,  2] ", "json").unwrap() == Value::Json("[1,  2]".to_owned()));
        assert!(word("AP8=", "bytes").unwrap() == Value::Bytes(vec![0, 255].into()));
        let list = Value::List(vec!["a".to_owned(), "b, c".to_owned()]);
        assert!(word("[\"a\", \"b, c\"]", "list").unwrap() == list);
        assert!(word("a\nb, c\n", "list").unwrap() == list);
        let text = parse(Given::Word("5".to_owned()), None).unwrap();
        assert!(text == Value::Text("5".to_owned()));
    }

    #[test]
    fn words_of_another_type_are_refused() {
        for (given, kind) in [
            ("5.0", "integer"),
            ("9223372036854775808", "integer"),
            ("", "integer"),
            ("nan", "float"),
            ("five", "float"),
            ("yes", "boolean"),
            ("{", "json"),
            ("?", "bytes"),
            ("[1]", "list"),
        ] {
            let failure = word(given, kind).unwrap_err();
            assert!(
                format!("{failure:?}").contains(&format!("no {kind}")),
                "{given}"
            );
        }
    }

    #[test]
    fn files_are_taken_as_they_are() {
        let bytes = parse(Given::Bytes(vec![255, 10]), Some(ValueKind::Bytes)).unwrap();
        assert!(bytes == Value::Bytes(vec![255, 10].into()));
        let text = parse(Given::Bytes(b"a\n".to_vec()), None).unwrap();
        assert!(text == Value::Text("a\n".to_owned()));
        let number = parse(Given::Bytes(b"5\n".to_vec()), Some(ValueKind::Integer)).unwrap();
        assert!(number == Value::Integer(5));
        assert!(parse(Given::Bytes(vec![255]), None).is_err());
    }

    #[test]
    fn a_value_past_the_limit_is_refused_before_it_is_sent() {
        let large = Given::Bytes(vec![b'x'; limits::VALUE_BYTES + 1]);
        let failure = parse(large, None).unwrap_err();
        assert!(format!("{failure:?}").contains("1048577 bytes"));
    }

    #[test]
    fn every_value_comes_back_from_json() {
        for value in [
            Value::Text("a\"b".to_owned()),
            Value::Integer(i64::MIN),
            Value::Float(1.0),
            Value::Float(f64::NEG_INFINITY),
            Value::Boolean(false),
            Value::Json("[1,  2]".to_owned()),
            Value::Bytes(vec![0, 255].into()),
            Value::List(Vec::new()),
        ] {
            let text = to_json(&value).to_string();
            assert!(
                from_json(&serde_json::from_str(&text).unwrap()) == Ok(value),
                "{text}"
            );
        }
        assert!(from_json(&json!(["a"])) == Ok(Value::List(vec!["a".to_owned()])));
        for wrong in [
            json!(null),
            json!([1]),
            json!({"type": "int", "value": 1}),
            json!({"a": 1}),
        ] {
            assert!(from_json(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_table_shows_a_value_on_one_line() {
        assert_eq!(show(&Value::from("a\nb\u{1b}[31m")), "a\\nb\\u{1b}[31m");
        assert_eq!(show(&Value::Float(1.0)), "1.0");
        assert_eq!(show(&Value::from("x".repeat(300))).chars().count(), 201);
    }
}
