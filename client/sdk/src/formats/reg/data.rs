//! The registry's data types and what they are here.

use holdfast_proto::Value;

/// The types of `hex(N)` that have a meaning here.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    Texts,
    Bytes,
    Number { bytes: usize, big_endian: bool },
}

/// The type in front of the colon.
pub(super) fn kind(name: &str) -> Result<Kind, String> {
    Ok(match name {
        "hex" | "hex(0)" | "hex(3)" => Kind::Bytes,
        "hex(1)" | "hex(2)" => Kind::Text,
        "hex(7)" => Kind::Texts,
        "hex(4)" => Kind::Number {
            bytes: 4,
            big_endian: false,
        },
        "hex(5)" => Kind::Number {
            bytes: 4,
            big_endian: true,
        },
        "hex(b)" => Kind::Number {
            bytes: 8,
            big_endian: false,
        },
        "hex(6)" => return Err("a link (REG_LINK) has no meaning here; remove the line".into()),
        "hex(8)" | "hex(9)" | "hex(a)" => {
            return Err("a hardware resource list has no meaning here; remove the line".into());
        }
        _ => {
            return Err(format!(
                "{name:?} is no type; use dword, hex or hex(0) to hex(b)"
            ));
        }
    })
}

/// `dword:` and up to eight digits.
pub(super) fn dword(digits: &str) -> Result<Value, String> {
    let fits = (1..=8).contains(&digits.len()) && digits.bytes().all(|d| d.is_ascii_hexdigit());
    match u32::from_str_radix(digits, 16) {
        Ok(number) if fits => Ok(Value::Integer(number.into())),
        _ => Err("dword: takes one to eight hexadecimal digits".into()),
    }
}

pub(super) fn value(kind: Kind, bytes: Vec<u8>) -> Result<Value, String> {
    Ok(match kind {
        Kind::Bytes => Value::Bytes(bytes.into()),
        Kind::Text => Value::Text(utf16(&bytes)?.trim_end_matches('\0').to_owned()),
        Kind::Texts => {
            let text = utf16(&bytes)?;
            match text.trim_end_matches('\0') {
                "" => Value::List(Vec::new()),
                items => Value::List(items.split('\0').map(str::to_owned).collect()),
            }
        }
        Kind::Number {
            bytes: expected, ..
        } if bytes.len() != expected => {
            let found = bytes.len();
            return Err(format!(
                "this type has {expected} bytes, and here are {found}"
            ));
        }
        Kind::Number { big_endian, .. } => {
            let number = bytes
                .iter()
                .enumerate()
                .fold(0_u64, |number, (place, &byte)| {
                    let place = if big_endian {
                        bytes.len() - 1 - place
                    } else {
                        place
                    };
                    number | u64::from(byte) << (8 * place)
                });
            Value::Integer(number.cast_signed())
        }
    })
}

fn utf16(bytes: &[u8]) -> Result<String, String> {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    match String::from_utf16(&units) {
        Ok(text) if bytes.len().is_multiple_of(2) => Ok(text),
        _ => Err("the bytes of this text are not UTF-16".into()),
    }
}
