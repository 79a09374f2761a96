//! JSON, YAML and TOML: the parts of a key are names within names.
//!
//! Written for programs that know nothing of Holdfast: a JSON value stands as what it is, bytes are
//! base64 text. So it does not always read back as the same types, which `kvctl export` does.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use holdfast_client::{Value, formats};
use serde_json::{Map, Value as Json};
use zeroize::{Zeroize as _, Zeroizing};

use super::{RenderError, Telling, Told};

pub(super) fn json<'a>(
    telling: &mut Telling<'a>,
    prefix: &'a str,
) -> Result<Zeroizing<Vec<u8>>, RenderError> {
    let tree = Wiped(tree(telling, prefix)?);
    let text = serde_json::to_vec_pretty(&tree.0);
    let mut text = text.map_err(|error| unsayable(prefix, &error))?;
    text.push(b'\n');
    Ok(Zeroizing::new(text))
}

pub(super) fn yaml<'a>(
    telling: &mut Telling<'a>,
    prefix: &'a str,
) -> Result<Zeroizing<Vec<u8>>, RenderError> {
    let tree = Wiped(tree(telling, prefix)?);
    let text = serde_yaml_ng::to_string(&tree.0).map_err(|error| unsayable(prefix, &error))?;
    Ok(Zeroizing::new(text.into_bytes()))
}

pub(super) fn toml<'a>(
    telling: &mut Telling<'a>,
    prefix: &'a str,
) -> Result<Zeroizing<Vec<u8>>, RenderError> {
    let tree = Wiped(tree(telling, prefix)?);
    let text = toml::to_string_pretty(&tree.0).map_err(|error| unsayable(prefix, &error))?;
    Ok(Zeroizing::new(text.into_bytes()))
}

/// Wiped when it is dropped.
struct Wiped(Json);

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(json: &mut Json) {
    match json {
        Json::String(text) => text.zeroize(),
        Json::Array(items) => items.iter_mut().for_each(wipe),
        Json::Object(names) => names.values_mut().for_each(wipe),
        _ => {}
    }
}

fn tree<'a>(telling: &mut Telling<'a>, prefix: &'a str) -> Result<Json, RenderError> {
    let mut top = Json::Object(Map::new());
    for (key, told) in telling.under(prefix)? {
        let whole = || format!("{prefix}{key}");
        let leaf = leaf(told).map_err(|why| RenderError::Unsayable { key: whole(), why })?;
        let mut names = formats::names(&key).map_err(|error| unsayable(&whole(), &error))?;
        let last = names.pop().unwrap_or_default();
        let mut table = &mut top;
        for name in names {
            let Json::Object(fields) = table else { break };
            table = fields
                .entry(name)
                .or_insert_with(|| Json::Object(Map::new()));
        }
        match table {
            // A JSON object of the store is a value like any other: nothing is put into it.
            Json::Object(fields) if !fields.contains_key(&last) => {
                fields.insert(last, leaf);
            }
            _ => {
                return Err(RenderError::Unsayable {
                    key: whole(),
                    why: "it lies below a key that has a value; move one of them".to_owned(),
                });
            }
        }
    }
    Ok(top)
}

fn leaf(told: Told<'_>) -> Result<Json, String> {
    let value = match told {
        Told::Value(value) => value,
        Told::Secret(secret) => {
            let text = secret.text().map_err(|error| error.to_string())?;
            return Ok(Json::String(text.to_owned()));
        }
        Told::Veil(veil) => return Ok(Json::String(veil)),
    };
    Ok(match value {
        Value::Text(text) => Json::String(text.clone()),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => serde_json::Number::from_f64(*number)
            .map(Json::Number)
            .ok_or("an infinite number has no place in this format; use a template")?,
        Value::Boolean(flag) => (*flag).into(),
        Value::List(items) => items.clone().into(),
        Value::Json(text) => serde_json::from_str(text)
            .map_err(|_| "it is no JSON; put it again as one that is".to_owned())?,
        Value::Bytes(bytes) => Json::String(BASE64_STANDARD.encode(bytes)),
        Value::Sealed(_) => return Err("it is a secret".to_owned()),
    })
}

fn unsayable(key: &str, error: &dyn std::fmt::Display) -> RenderError {
    RenderError::Unsayable {
        key: key.to_owned(),
        why: error.to_string(),
    }
}
