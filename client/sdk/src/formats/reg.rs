//! `.reg`: registry exports, "Windows Registry Editor Version 5.00".
//!
//! Keys are relative to the file's top key: the deepest one that every `[key]` of the file lies in
//! (`[-key]` lines count only where they lie outside it, then with their parent). The default value
//! `@` is named `(default)`; a value that really has that name is `%28default)`. Names that differ
//! only in case are one, as in the registry; the first spelling stays and the last value wins. A
//! key without values stores nothing.
//!
//! `REG_QWORD` is read as .NET reads it, signed. What a write cannot tell apart comes back as its
//! plain sister: `REG_EXPAND_SZ` as `REG_SZ`, a small `REG_QWORD` as `REG_DWORD`.

mod collect;
mod data;
mod scan;
mod write;

use super::{Document, FormatError, Problem};

pub(super) use write::write;

/// What the default value of a key is called.
const DEFAULT: &str = "(default)";
/// What a value is called that has the very name [`DEFAULT`].
const NAMED_DEFAULT: &str = "%28default)";

pub(super) fn read(text: &str) -> Result<Document, FormatError> {
    Ok(collect::collect(scan::scan(text)?))
}

/// UTF-16 by its byte order mark or by its zero bytes, else UTF-8.
pub(super) fn decode(bytes: &[u8]) -> Result<String, FormatError> {
    let (bytes, from): (_, fn([u8; 2]) -> u16) = match bytes {
        [0xff, 0xfe, rest @ ..] => (rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => (rest, u16::from_be_bytes),
        [first, 0, ..] if *first != 0 => (bytes, u16::from_le_bytes),
        _ => return super::text(bytes).map(str::to_owned),
    };
    let units = bytes.chunks(2).map(|pair| match pair {
        [first, second] => from([*first, *second]),
        // A lone surrogate: half a character is none.
        _ => 0xd800,
    });
    let mut text = String::new();
    for character in char::decode_utf16(units) {
        text.push(character.map_err(|_| {
            let line = 1 + text.matches('\n').count();
            FormatError::at(line, Problem::Encoding { expected: "UTF-16" })
        })?);
    }
    Ok(text)
}
