//! `NAME=value` lines, as shells, systemd and most programs read them: text in double quotes where it
//! needs them, with a backslash before what means something there.
//!
//! A key's parts are joined with `__`. What a name cannot hold is refused: no reader would find it.

use std::{collections::BTreeMap, io::Write as _};

use zeroize::Zeroizing;

use super::{RenderError, Telling, Told, bounded::Bounded, plain};

/// A variable, as a program finds it in its environment. Wiped when it is dropped.
pub(crate) struct Variable {
    /// The key that it is made of.
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) text: Zeroizing<String>,
}

pub(super) fn write<'a>(
    telling: &mut Telling<'a>,
    prefix: &'a str,
) -> Result<Zeroizing<Vec<u8>>, RenderError> {
    let mut out = Bounded::default();
    for variable in variables(telling, [prefix])? {
        write_line(&mut out, &variable.name, &variable.text)
            .map_err(|error| unsayable(&variable.key, &error.to_string()))?;
    }
    Ok(out.into_bytes())
}

/// The variables of the keys under several prefixes, each named from its prefix on. No two have one
/// name.
pub(super) fn variables<'a>(
    telling: &mut Telling<'a>,
    prefixes: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Variable>, RenderError> {
    let mut variables: Vec<Variable> = Vec::new();
    let mut names = BTreeMap::<String, String>::new();
    for prefix in prefixes {
        for (name, told) in telling.under(prefix)? {
            let variable = variable(format!("{prefix}{name}"), &name, told)?;
            let key = variable.key.clone();
            if let Some(other) = names.insert(variable.name.clone(), key) {
                let why = format!(
                    "both it and {other} would be the variable {}; rename one of them",
                    variable.name
                );
                return Err(unsayable(&variable.key, &why));
            }
            variables.push(variable);
        }
    }
    Ok(variables)
}

fn variable(key: String, name: &str, told: Told<'_>) -> Result<Variable, RenderError> {
    let name = name.replace('/', "__");
    if !is_name(&name) {
        let why = "a variable's name has letters, digits and `_` only; rename the key, or let a template make a file";
        return Err(unsayable(&key, why));
    }
    let text = match told {
        Told::Value(value) => Zeroizing::new(plain::text(value)),
        Told::Secret(secret) => {
            let text = secret
                .text()
                .map_err(|error| unsayable(&key, &error.to_string()))?;
            Zeroizing::new(text.to_owned())
        }
        Told::Veil(veil) => Zeroizing::new(veil),
    };
    if text.contains('\0') {
        let why = "no variable can hold a NUL; use a raw file";
        return Err(unsayable(&key, why));
    }
    Ok(Variable { key, name, text })
}

fn unsayable(key: &str, why: &str) -> RenderError {
    RenderError::Unsayable {
        key: key.to_owned(),
        why: why.to_owned(),
    }
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
