//! The forms in which a secret gets out by accident.

use std::fmt::Write as _;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};

/// Every form of these bytes, with its name: as they are, hex, base64 at each of its three
/// alignments, UTF-16, and as programs print bytes that are no text.
pub fn forms(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex = hex::encode(bytes);
    let mut forms = vec![
        ("raw", bytes.to_vec()),
        ("hex", hex.clone().into_bytes()),
        ("HEX", hex.to_uppercase().into_bytes()),
        ("list of numbers", decimal(bytes).into_bytes()),
        ("escaped", escaped(bytes).into_bytes()),
        ("octal", octal(bytes).into_bytes()),
        ("UTF-16LE", utf16(bytes, |unit| unit.to_le_bytes())),
        ("UTF-16BE", utf16(bytes, |unit| unit.to_be_bytes())),
    ];
    for alignment in 0..3 {
        let name = ["base64", "base64 +1", "base64 +2"][alignment];
        forms.push((
            name,
            base64(bytes, alignment, |b| BASE64_STANDARD_NO_PAD.encode(b)),
        ));
        forms.push((
            name,
            base64(bytes, alignment, |b| BASE64_URL_SAFE_NO_PAD.encode(b)),
        ));
    }
    // Of text several are the same.
    forms.sort_by(|a, b| a.1.cmp(&b.1));
    forms.dedup_by(|a, b| a.1 == b.1);
    forms
}

/// What stands in base64 for sure when so many bytes, modulo three, are before these: the letters
/// that a neighbour has a part in are left off.
fn base64(bytes: &[u8], before: usize, encode: impl Fn(&[u8]) -> String) -> Vec<u8> {
    let shifted = [&vec![0; before][..], bytes].concat();
    let encoded = encode(&shifted);
    let first = (before * 8).div_ceil(6);
    let behind = shifted.len() * 8 / 6;
    encoded.as_bytes()[first..behind].to_vec()
}

/// As `{:?}` prints a slice of bytes.
fn decimal(bytes: &[u8]) -> String {
    let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
    numbers.join(", ")
}

/// As `{:?}` prints `Bytes`.
fn escaped(bytes: &[u8]) -> String {
    let shown = format!("{:?}", bytes::Bytes::copy_from_slice(bytes));
    shown
        .trim_start_matches("b\"")
        .trim_end_matches('"')
        .to_owned()
}

/// As protobuf's text format prints bytes.
fn octal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'"' | b'\'' | b'\\' => text.extend(['\\', char::from(*byte)]),
            0x20..0x7f => text.push(char::from(*byte)),
            _ => write!(text, "\\{byte:03o}").expect("a string takes all"),
        }
        text
    })
}

fn utf16(bytes: &[u8], unit: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| unit((*byte).into())).collect()
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    #[test]
    fn base64_is_found_wherever_in_a_document_the_mark_lies() {
        let mark = b"a mark that is like no other";
        let forms = forms(mark);
        for before in 0..7 {
            for behind in 0..4 {
                let document = [&vec![b'x'; before][..], mark, &vec![b'y'; behind]].concat();
                let encoded = BASE64_STANDARD.encode(document);
                let found = forms.iter().any(|(name, form)| {
                    name.starts_with("base64")
                        && encoded
                            .as_bytes()
                            .windows(form.len())
                            .any(|window| window == form)
                });
                assert!(found, "{before} before, {behind} behind");
            }
        }
    }

    #[test]
    fn no_form_is_so_short_that_it_is_found_by_chance() {
        let mut marks = crate::leak::Marks::default();
        for bytes in [marks.bytes("bytes"), marks.text("text").into_bytes()] {
            for (name, form) in forms(&bytes) {
                assert!(form.len() >= 24, "{name}");
            }
        }
    }
}
