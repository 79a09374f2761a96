//! Answers as people read them: bytes as text.

use std::fmt::{Debug, Write as _};

/// The debug form of `value`, each list of bytes as a string.
pub fn readable(value: &impl Debug) -> String {
    let full = format!("{value:?}");
    let mut text = String::with_capacity(full.len());
    let mut rest = full.as_str();
    while let Some((before, after)) = rest.split_once('[') {
        text.push_str(before);
        let (list, behind) = after.split_once(']').unwrap_or((after, ""));
        match bytes(list) {
            Some(bytes) => {
                let _ = write!(text, "\"{}\"", bytes.escape_ascii());
                rest = behind;
            }
            None => {
                text.push('[');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text
}

/// The bytes of a list like `97, 98`.
fn bytes(list: &str) -> Option<Vec<u8>> {
    if list.is_empty() {
        return Some(Vec::new());
    }
    list.split(", ").map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_text_and_the_rest_as_it_is() {
        assert_eq!(
            readable(&(1, b"a/\xff".to_vec(), vec![Some(vec![1_000_i64])])),
            r#"(1, "a/\xff", [Some([1000])])"#
        );
    }
}
