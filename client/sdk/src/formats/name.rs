//! A name of a file as one part of a key, and back.

/// Encodes what would clash in a key: the separator, the mark of overrides, the escape itself and
/// control characters. An empty name is a lone `%`.
pub(super) fn encode(name: &str) -> String {
    if name.is_empty() {
        return "%".to_owned();
    }
    let mut part = String::with_capacity(name.len());
    for character in name.chars() {
        if matches!(character, '/' | '@' | '%') || character.is_control() {
            escape(character, &mut part);
        } else {
            part.push(character);
        }
    }
    part
}

/// The name that [`encode`] made `part` of; `None`: it made no such part.
pub(super) fn decode(part: &str) -> Option<String> {
    let name = unescape(part)?;
    (encode(&name) == part).then_some(name)
}

/// Appends a character as `%XX`, one for each byte of its UTF-8.
pub(super) fn escape(character: char, out: &mut String) {
    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
        out.push_str(&format!("%{byte:02X}"));
    }
}

/// Undoes `%XX`. A lone `%` is the empty name. `None`: an escape is cut short or makes no UTF-8.
pub(super) fn unescape(part: &str) -> Option<String> {
    if part == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = after.get(..2)?;
            bytes.push(hex_byte(digits)?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clashes_is_encoded_and_comes_back() {
        for (name, part) in [
            ("plain", "plain"),
            ("", "%"),
            ("a/b", "a%2Fb"),
            ("x@y", "x%40y"),
            ("50%", "50%25"),
            ("%2F", "%252F"),
            ("a\nb", "a%0Ab"),
            ("\u{85}", "%C2%85"),
            ("Größe", "Größe"),
            ("(default)", "(default)"),
        ] {
            assert_eq!(encode(name), part);
            assert_eq!(decode(part).as_deref(), Some(name));
        }
    }

    #[test]
    fn a_part_that_no_name_makes_is_known() {
        for part in ["", "a@b", "%2f", "%41", "a%", "%zz", "%+1", "%FF"] {
            assert_eq!(decode(part), None, "{part:?}");
        }
    }
}
