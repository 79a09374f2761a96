//! Writing a registry export, as regedit would: UTF-16LE with its mark, CRLF.

use std::collections::BTreeMap;

use holdfast_proto::Value;

use super::{
    super::{Format, RenderError, name},
    DEFAULT, NAMED_DEFAULT,
};

/// Where an export is rooted; a read takes keys relative to it, so any root does.
const TOP: &str = "HKEY_LOCAL_MACHINE\\SOFTWARE\\Holdfast";
/// Bytes a line of hexadecimal holds.
const BYTES_A_LINE: usize = 25;

pub(in crate::formats) fn write(entries: &[(String, Value)]) -> Result<Vec<u8>, RenderError> {
    let mut keys: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::from([(Vec::new(), Vec::new())]);
    let mut spellings = BTreeMap::new();
    for (key, data_of) in entries {
        let (path, name) = path_and_name(key)?;
        let parents = (1..=path.len()).map(|depth| path[..depth].join("\\"));
        // No key's name holds a line break, so the value's cannot be taken for a sub-key.
        let value = std::iter::once(format!("{}\n{name}", path.join("\\")));
        for spelling in parents.chain(value) {
            let first = spellings.entry(spelling.to_lowercase());
            if *first.or_insert_with(|| spelling.clone()) != spelling {
                let what = "two names that differ only in case";
                return Err(RenderError::unsayable(key, Format::Reg, what));
            }
        }
        let line = format!("{name}={}", data(key, data_of)?);
        keys.entry(path).or_default().push(line);
    }
    let mut text = String::from("Windows Registry Editor Version 5.00\r\n");
    for (path, lines) in keys {
        let path: String = path.iter().flat_map(|part| ["\\", part]).collect();
        text.push_str(&format!("\r\n[{TOP}{path}]\r\n"));
        for line in lines {
            text.push_str(&line);
            text.push_str("\r\n");
        }
    }
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    Ok(units.flat_map(u16::to_le_bytes).collect())
}

/// The sub-keys, and the value's name as a line begins with it.
fn path_and_name(key: &str) -> Result<(Vec<String>, String), RenderError> {
    let mut parts = key.split('/');
    let last = parts.next_back().unwrap_or_default();
    let foreign = || RenderError::ForeignKey {
        key: key.to_owned(),
    };
    let path: Option<Vec<_>> = parts.map(name::decode).collect();
    let path = path.ok_or_else(foreign)?;
    if path
        .iter()
        .any(|part| part.is_empty() || part.contains(['\\', '\n', '\r']))
    {
        let what = "a sub-key that is empty or holds a backslash or a line break";
        return Err(RenderError::unsayable(key, Format::Reg, what));
    }
    let name = match last {
        DEFAULT => "@".to_owned(),
        NAMED_DEFAULT => quoted(DEFAULT),
        _ => match name::decode(last).ok_or_else(foreign)? {
            name if name.is_empty() => {
                return Err(RenderError::unsayable(key, Format::Reg, "an empty name"));
            }
            name => quoted(&name),
        },
    };
    Ok((path, name))
}

fn data(key: &str, value: &Value) -> Result<String, RenderError> {
    let refused = |what| Err(RenderError::unsayable(key, Format::Reg, what));
    Ok(match value {
        Value::Text(text) if text.contains('\0') => return refused("text with a NUL character"),
        Value::Text(text) if text.contains(char::is_control) => hex("hex(1)", &utf16(text, 1)),
        Value::Text(text) => quoted(text),
        Value::Integer(number) => match u32::try_from(*number) {
            Ok(number) => format!("dword:{number:08x}"),
            Err(_) => hex("hex(b)", &number.to_le_bytes()),
        },
        Value::Bytes(bytes) => hex("hex", bytes),
        Value::List(items)
            if items
                .iter()
                .any(|item| item.is_empty() || item.contains('\0')) =>
        {
            return refused("a list with an empty item or a NUL character");
        }
        Value::List(items) => {
            let text: String = items.iter().flat_map(|item| [item, "\0"]).collect();
            hex("hex(7)", &utf16(&text, 1))
        }
        Value::Float(_) => return refused("a float"),
        Value::Boolean(_) => return refused("a boolean"),
        Value::Json(_) => return refused("a JSON document"),
        Value::Sealed(_) => return refused("a secret"),
    })
}

/// With as many zeros behind it.
fn utf16(text: &str, zeros: usize) -> Vec<u8> {
    let zeros = std::iter::repeat_n(0, zeros);
    text.encode_utf16()
        .chain(zeros)
        .flat_map(u16::to_le_bytes)
        .collect()
}

fn hex(kind: &str, bytes: &[u8]) -> String {
    let lines: Vec<_> = bytes
        .chunks(BYTES_A_LINE)
        .map(|line| {
            let digits: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            digits.join(",")
        })
        .collect();
    format!("{kind}:{}", lines.join(",\\\r\n  "))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
