//! `NAME=value` lines, as shells, systemd and most programs read them: text in double quotes where it
//! needs them, with a backslash before what means something there.
//!
//! A key's parts are joined with `__`. What a name cannot hold is refused: no reader would find it.

use std::io::Write as _;

use zeroize::Zeroizing;

use super::{RenderError, Telling, Told, bounded::Bounded, plain};

pub(super) fn write<'a>(
    telling: &mut Telling<'a>,
    prefix: &'a str,
) -> Result<Zeroizing<Vec<u8>>, RenderError> {
    let mut out = Bounded::default();
    for (key, told) in telling.under(prefix)? {
        let unsayable = |why: &str| RenderError::Unsayable {
            key: format!("{prefix}{key}"),
            why: why.to_owned(),
        };
        let name = key.replace('/', "__");
        if !is_name(&name) {
            return Err(unsayable(
                "a variable's name has letters, digits and `_` only; rename the key, or use a template",
            ));
        }
        let text = match told {
            Told::Value(value) => Zeroizing::new(plain::text(value)),
            Told::Secret(secret) => {
                let text = secret
                    .text()
                    .map_err(|error| unsayable(&error.to_string()))?;
                Zeroizing::new(text.to_owned())
            }
            Told::Veil(veil) => Zeroizing::new(veil),
        };
        if text.contains('\0') {
            return Err(unsayable("no variable can hold a NUL; use a raw file"));
        }
        write_line(&mut out, &name, &text).map_err(|error| unsayable(&error.to_string()))?;
    }
    Ok(out.into_bytes())
}

fn write_line(out: &mut Bounded, name: &str, text: &str) -> std::io::Result<()> {
    write!(out, "{name}=")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+,".contains(&byte);
    if text.bytes().all(plain) {
        return writeln!(out, "{text}");
    }
    out.write_all(b"\"")?;
    for character in text.chars() {
        if matches!(character, '"' | '\\' | '$' | '`') {
            out.write_all(b"\\")?;
        }
        write!(out, "{character}")?;
    }
    out.write_all(b"\"\n")
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(fits)
}
