//! JSON. Read from the raw text, so that every error has its line, no number loses a digit and a
//! JSON document is kept as it was written.

use std::{collections::BTreeMap, collections::BTreeSet, fmt};

use holdfast_proto::Value;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    Document, Format, FormatError, Problem, RenderError,
    tree::{self, Content, Node, Tree, Written},
};

/// Deeper than any key can be; bounds the reader's stack.
const DEEPEST: usize = 256;

pub(super) fn read(text: &str) -> Result<Document, FormatError> {
    let reader = Reader { text };
    let top: &RawValue = reader.parse(text)?;
    tree::flatten(reader.node(top, "the file", DEEPEST)?, Format::Json)
}

struct Reader<'a> {
    text: &'a str,
}

impl<'a> Reader<'a> {
    fn node(&self, raw: &'a RawValue, name: &str, depth: usize) -> Result<Node, FormatError> {
        let text = raw.get();
        let content = match text.as_bytes().first() {
            Some(b'{') => Content::Table(self.table(text, depth)?),
            Some(b'[') => self.array(text)?,
            Some(b'"') => Content::Scalar(Value::Text(self.parse(text)?)),
            Some(b't') => Content::Scalar(Value::Boolean(true)),
            Some(b'f') => Content::Scalar(Value::Boolean(false)),
            Some(b'n') => Content::Null,
            _ => Content::Scalar(number(text).ok_or_else(|| {
                FormatError::at(
                    self.line(text, 1),
                    Problem::NoType {
                        name: name.to_owned(),
                        found: "a number beyond 64 bits".to_owned(),
                        advice: "put it in quotes to keep it as text",
                    },
                )
            })?),
        };
        let line = Some(self.line(text, 1));
        Ok(Node { line, content })
    }

    fn table(&self, text: &'a str, depth: usize) -> Result<Vec<(String, Node)>, FormatError> {
        let Some(depth) = depth.checked_sub(1) else {
            let line = self.line(text, 1);
            let detail = format!("more than {DEEPEST} tables in one another");
            return Err(FormatError::syntax(Some(line), Format::Json, detail));
        };
        let names: Names<'a> = self.parse(text)?;
        let mut seen = BTreeSet::new();
        let mut table = Vec::with_capacity(names.0.len());
        for (name, raw) in names.0 {
            if !seen.insert(name.clone()) {
                let line = self.line(raw.get(), 1);
                return Err(FormatError::at(line, Problem::Duplicate { name }));
            }
            let node = self.node(raw, &name, depth)?;
            table.push((name, node));
        }
        Ok(table)
    }

    fn array(&self, text: &'a str) -> Result<Content, FormatError> {
        let items: Vec<serde_json::Value> = self.parse(text)?;
        let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
        Ok(match texts.collect::<Option<Vec<_>>>() {
            Some(texts) => Content::Texts(texts),
            None => Content::Json(text.to_owned()),
        })
    }

    /// Parses a piece of the file; an error has its line in the whole.
    fn parse<T: Deserialize<'a>>(&self, piece: &'a str) -> Result<T, FormatError> {
        serde_json::from_str(piece).map_err(|error| {
            let line = self.line(piece, error.line().max(1));
            let detail = error.to_string();
            let detail = detail.split(" at line ").next().unwrap_or_default();
            FormatError::syntax(Some(line), Format::Json, detail)
        })
    }

    /// The file's line of a line of a piece of it.
    fn line(&self, piece: &str, line: usize) -> usize {
        let before = piece.as_ptr() as usize - self.text.as_ptr() as usize;
        let above = &self.text.as_bytes()[..before];
        line + above.iter().filter(|&&byte| byte == b'\n').count()
    }
}

/// `None`: too large for its type.
fn number(text: &str) -> Option<Value> {
    if text.contains(['.', 'e', 'E']) {
        let number: f64 = text.parse().ok()?;
        number.is_finite().then_some(Value::Float(number))
    } else {
        text.parse().ok().map(Value::Integer)
    }
}

/// The names of an object, in the order of the file, repeated ones too.
struct Names<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Names<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;

        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = Names<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names<'de>, A::Error> {
                let mut names = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    names.push(entry);
                }
                Ok(Names(names))
            }
        }

        deserializer.deserialize_map(NamesVisitor)
    }
}

pub(super) fn write(entries: &[(String, Value)]) -> Result<String, RenderError> {
    let mut out = String::new();
    write_table(&tree::nest(entries, Format::Json)?, 1, &mut out);
    out.push('\n');
    Ok(out)
}

fn write_table(table: &BTreeMap<String, Tree<'_>>, depth: usize, out: &mut String) {
    out.push('{');
    for (place, (name, tree)) in table.iter().enumerate() {
        out.push_str(if place == 0 { "\n" } else { ",\n" });
        out.push_str(&"  ".repeat(depth));
        out.push_str(&quoted(name));
        out.push_str(": ");
        match tree {
            Tree::Leaf(_, value) => out.push_str(&written(value)),
            Tree::Table(below) => write_table(below, depth + 1, out),
        }
    }
    if !table.is_empty() {
        out.push('\n');
        out.push_str(&"  ".repeat(depth - 1));
    }
    out.push('}');
}

fn written(value: &Value) -> String {
    match tree::written(value, |_, text| text.trim() == text) {
        Written::Text(text) => quoted(text),
        Written::Integer(number) => number.to_string(),
        Written::Float(number) if number.is_infinite() => {
            format!("{{\"$float\": \"{number}\"}}")
        }
        Written::Float(number) => serde_json::Value::from(number).to_string(),
        Written::Boolean(flag) => flag.to_string(),
        Written::Texts(items) => {
            let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
            format!("[{}]", items.join(", "))
        }
        Written::Native(_, text) => text.to_owned(),
        Written::Tagged(tag, text) => format!("{{\"{tag}\": {}}}", quoted(&text)),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
