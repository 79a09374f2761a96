//! `.env`: `NAME=value` lines.
//!
//! `__` stands between the parts of a key; what a name cannot hold is `%XX`. A bare value has a
//! type where writing that type gives the same text again: `30`, `0.75`, `true`, and with a word in
//! front `bytes:BASE64`, `list:["a"]`, `json:[1]`, `json64:BASE64` (of a document that does not fit
//! a line), `float:inf`. Any other bare value, and whatever is in quotes, is text. Variables are
//! not expanded.

use std::{collections::BTreeSet, str::Chars};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use holdfast_proto::Value;

use super::{Document, Format, FormatError, Parameter, Problem, RenderError, name, tree};

pub(super) fn read(text: &str) -> Result<Document, FormatError> {
    let mut document = Document::default();
    let mut seen = BTreeSet::new();
    let mut lines = Lines {
        rest: text,
        line: 0,
    };
    while let Some(line) = lines.next_line() {
        let statement = line.trim();
        if statement.is_empty() || statement.starts_with('#') {
            continue;
        }
        let place = lines.line;
        let statement = line.trim_start();
        let statement = statement.strip_prefix("export ").unwrap_or(statement);
        let (name, value) = statement
            .split_once('=')
            .ok_or_else(|| syntax(place, "a line needs NAME=value"))?;
        let key = key(name.trim()).ok_or_else(|| {
            syntax(
                place,
                "a name has no spaces, quotes or '#', and '%' only before two hex digits",
            )
        })?;
        if !seen.insert(key.clone()) {
            return Err(FormatError::at(place, Problem::Duplicate { name: key }));
        }
        let value = lines.value(value.trim_start_matches([' ', '\t']))?;
        document.entries.push(Parameter {
            key,
            value,
            line: Some(place),
        });
    }
    Ok(document)
}

struct Lines<'a> {
    rest: &'a str,
    /// Of the line taken last, counted from 1.
    line: usize,
}

impl<'a> Lines<'a> {
    fn next_line(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line += 1;
        Some(line)
    }

    fn value(&mut self, text: &'a str) -> Result<Value, FormatError> {
        match text.chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(&text[1..], quote).map(Value::Text),
            _ => Ok(typed(bare(text))),
        }
    }

    /// What stands behind an opening quote; it may go on for lines.
    fn quoted(&mut self, first: &'a str, quote: char) -> Result<String, FormatError> {
        let opened = self.line;
        let mut text = String::new();
        let mut line = first;
        loop {
            let mut characters = line.chars();
            while let Some(character) = characters.next() {
                if character == quote {
                    let behind = characters.as_str().trim();
                    if behind.is_empty() || behind.starts_with('#') {
                        return Ok(text);
                    }
                    return Err(syntax(
                        self.line,
                        "only a comment may follow the closing quote",
                    ));
                }
                match (character, quote) {
                    ('\\', '"') => unescape(&mut characters, &mut text),
                    _ => text.push(character),
                }
            }
            line = self.next_line().ok_or_else(|| {
                syntax(opened, "the quote that opens here is not closed; close it")
            })?;
            text.push('\n');
        }
    }
}

/// What follows a backslash in double quotes. One that escapes nothing stands for itself.
fn unescape(characters: &mut Chars<'_>, text: &mut String) {
    let mut ahead = characters.clone();
    let meant = match ahead.next() {
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some(character @ ('"' | '\\' | '$' | '`')) => character,
        _ => return text.push('\\'),
    };
    *characters = ahead;
    text.push(meant);
}

/// Without the comment behind it.
fn bare(text: &str) -> &str {
    let comment = text
        .match_indices('#')
        .find(|(place, _)| *place == 0 || text[..*place].ends_with([' ', '\t']));
    comment.map_or(text, |(place, _)| &text[..place]).trim()
}

/// The type of a bare value, where writing that type gives the same text again.
fn typed(text: &str) -> Value {
    if let "true" | "false" = text {
        return Value::Boolean(text == "true");
    }
    if let Ok(number) = text.parse::<i64>()
        && number.to_string() == text
    {
        return Value::Integer(number);
    }
    if text.contains(['.', 'e'])
        && let Ok(number) = text.parse::<f64>()
        && number.is_finite()
        && format!("{number:?}") == text
    {
        return Value::Float(number);
    }
    text.split_once(':')
        .and_then(|(word, rest)| marked(word, rest))
        .filter(|value| bare_form(value).as_deref() == Some(text))
        .unwrap_or_else(|| Value::Text(text.to_owned()))
}

fn marked(word: &str, rest: &str) -> Option<Value> {
    let document = |text: String| {
        let valid = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        valid.then_some(Value::Json(text))
    };
    match word {
        "bytes" => BASE64_STANDARD
            .decode(rest)
            .ok()
            .map(|bytes| Value::Bytes(bytes.into())),
        "list" => serde_json::from_str(rest).ok().map(Value::List),
        "json" => document(rest.to_owned()),
        "json64" => document(String::from_utf8(BASE64_STANDARD.decode(rest).ok()?).ok()?),
        "float" => rest
            .parse()
            .ok()
            .filter(|number: &f64| number.is_infinite())
            .map(Value::Float),
        _ => None,
    }
}

/// A value without quotes around it; `None`: text, which has its own rules.
fn bare_form(value: &Value) -> Option<String> {
    Some(match value {
        Value::Text(_) => return None,
        Value::Integer(number) => number.to_string(),
        Value::Float(number) if number.is_infinite() => format!("float:{number}"),
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(flag) => flag.to_string(),
        Value::Sealed(_) => "secret:".to_owned(),
        Value::Bytes(bytes) => format!("bytes:{}", BASE64_STANDARD.encode(bytes)),
        Value::List(items) => {
            // So that no item looks like the start of a comment.
            let items = serde_json::Value::from(items.clone()).to_string();
            format!("list:{}", items.replace(" #", "\\u0020#"))
        }
        Value::Json(text) if bare(text) == text && !text.contains(['\n', '\r']) => {
            format!("json:{text}")
        }
        Value::Json(text) => format!("json64:{}", BASE64_STANDARD.encode(text)),
    })
}

/// A name as a key; `None`: it is none.
fn key(name: &str) -> Option<String> {
    let foreign = |character: char| {
        character.is_whitespace() || character.is_control() || "\"'#`$".contains(character)
    };
    if name.is_empty() || name.contains(foreign) {
        return None;
    }
    let parts = name
        .split("__")
        .map(|part| name::unescape(part).as_deref().map(name::encode));
    Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
}

pub(super) fn write(entries: &[(String, Value)]) -> Result<String, RenderError> {
    let mut out = String::new();
    for (key, value) in entries {
        out.push_str(&variable(&tree::names(key)?));
        out.push('=');
        out.push_str(&bare_form(value).unwrap_or_else(|| match value {
            Value::Text(text) => written_text(text),
            _ => String::new(),
        }));
        out.push('\n');
    }
    Ok(out)
}

/// The parts of a key as one name.
fn variable(names: &[String]) -> String {
    let parts: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(place, name)| {
            let last = place + 1 == names.len();
            let mut part = String::new();
            let mut characters = name.chars().peekable();
            while let Some(character) = characters.next() {
                let next = characters.peek();
                // An underscore before another, or before the separator, would move the split.
                let clashes = character == '_' && (next == Some(&'_') || (next.is_none() && !last));
                if !clashes && (character.is_ascii_alphanumeric() || "_.-".contains(character)) {
                    part.push(character);
                } else {
                    name::escape(character, &mut part);
                }
            }
            if name.is_empty() {
                "%".to_owned()
            } else {
                part
            }
        })
        .collect();
    parts.join("__")
}

fn written_text(text: &str) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "_./:@%+,=-".contains(character);
    if !text.is_empty() && text.chars().all(plain) && matches!(typed(text), Value::Text(_)) {
        return text.to_owned();
    }
    if !text.contains(['\'', '\n', '\r']) {
        return format!("'{text}'");
    }
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '"' | '\\' | '$' | '`' => quoted.extend(['\\', character]),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

fn syntax(line: usize, detail: &str) -> FormatError {
    FormatError::syntax(Some(line), Format::Env, detail)
}
