//! What a template makes of values. Of a secret each of these makes a secret again, which is wiped.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use minijinja::{Environment, Error, Value, value::Serde};
use regex::Regex;
use sha2::{Digest as _, Sha256};

use super::hidden::{Hidden, map, read, text, wrong};

pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_filter("base64_encode", |value: &Value| {
        map(value, |bytes| {
            Ok(BASE64_STANDARD.encode(bytes).into_bytes())
        })
    });
    environment.add_filter("base64_decode", |value: &Value| {
        map(value, |bytes| {
            let decoded = BASE64_STANDARD.decode(bytes.trim_ascii());
            decoded.map_err(|_| wrong("it is no base64"))
        })
    });
    environment.add_filter("base64url_encode", |value: &Value| {
        map(value, |bytes| {
            Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes).into_bytes())
        })
    });
    environment.add_filter("base64url_decode", |value: &Value| {
        map(value, |bytes| {
            let decoded = BASE64_URL_SAFE_NO_PAD.decode(bytes.trim_ascii());
            decoded.map_err(|_| wrong("it is no URL-safe base64"))
        })
    });
    environment.add_filter("sha256_hex", |value: &Value| {
        map(value, |bytes| {
            Ok(hex::encode(Sha256::digest(bytes)).into_bytes())
        })
    });
    environment.add_filter(
        "regex_replace_all",
        |value: &Value, pattern: String, with: String| {
            let pattern = regex(&pattern)?;
            map(value, |bytes| {
                let replaced = pattern.replace_all(text(bytes)?, with.as_str());
                Ok(replaced.into_owned().into_bytes())
            })
        },
    );
    environment.add_filter("regex_match", |value: &Value, pattern: String| {
        let pattern = regex(&pattern)?;
        read(value, |text| Ok(pattern.is_match(text)))
    });
    environment.add_filter("quote", |value: &Value| {
        map(value, |bytes| {
            // As JSON writes a text: also right in YAML, TOML, C and most else.
            serde_json::to_vec(text(bytes)?).map_err(|_| wrong("it cannot be quoted"))
        })
    });
    environment.add_filter("shell_quote", |value: &Value| {
        map(value, |bytes| {
            let escaped = text(bytes)?.replace('\'', r"'\''");
            Ok(format!("'{escaped}'").into_bytes())
        })
    });
    add_parsers(environment);
    add_writers(environment);
}

fn add_parsers(environment: &mut Environment<'_>) {
    environment.add_filter("parse_int", |value: &Value| {
        parse::<i64>(value, "whole number")
    });
    environment.add_filter("parse_float", |value: &Value| parse::<f64>(value, "number"));
    environment.add_filter("parse_bool", |value: &Value| {
        parse::<bool>(value, "true or false")
    });
    environment.add_filter("parse_json", |value: &Value| {
        unless_veiled(value, |text| {
            let json: serde_json::Value =
                serde_json::from_str(text).map_err(|_| wrong("it is no JSON"))?;
            Ok(Value::from(Serde(json)))
        })
    });
    environment.add_filter("parse_yaml", |value: &Value| {
        unless_veiled(value, |text| {
            let yaml: serde_json::Value =
                serde_yaml_ng::from_str(text).map_err(|_| wrong("it is no YAML"))?;
            Ok(Value::from(Serde(yaml)))
        })
    });
}

fn add_writers(environment: &mut Environment<'_>) {
    environment.add_filter("to_json", |value: &Value| {
        write(value, |value| serde_json::to_string(value).ok())
    });
    environment.add_filter("to_json_pretty", |value: &Value| {
        write(value, |value| serde_json::to_string_pretty(value).ok())
    });
    environment.add_filter("to_yaml", |value: &Value| {
        write(value, |value| serde_yaml_ng::to_string(value).ok())
    });
    environment.add_filter("to_toml", |value: &Value| {
        write(value, |value| toml::to_string(value).ok())
    });
}

fn parse<T: std::str::FromStr + Into<Value>>(value: &Value, what: &str) -> Result<Value, Error> {
    unless_veiled(value, |text| {
        let parsed = text.trim().parse::<T>();
        parsed
            .map(Into::into)
            .map_err(|_| wrong(format!("it is no {what}")))
    })
}

/// A veil stays one, whatever would be read from what it stands for.
fn unless_veiled(
    value: &Value,
    make: impl FnOnce(&str) -> Result<Value, Error>,
) -> Result<Value, Error> {
    match Hidden::is_veil(value) {
        true => Ok(value.clone()),
        false => read(value, make),
    }
}

fn write(
    value: &Value,
    make: impl FnOnce(&serde_json::Value) -> Option<String>,
) -> Result<Value, Error> {
    let unsayable = || wrong("this format cannot say it");
    // A secret in the open is its text.
    if value.downcast_object_ref::<Hidden>().is_some() {
        return map(value, |bytes| {
            let text = serde_json::Value::from(text(bytes)?);
            make(&text).map(String::into_bytes).ok_or_else(unsayable)
        });
    }
    let json = serde_json::to_value(value).map_err(|_| unsayable())?;
    make(&json).map(Value::from).ok_or_else(unsayable)
}

fn regex(pattern: &str) -> Result<Regex, Error> {
    Regex::new(pattern).map_err(|error| wrong(format!("{pattern:?} is no pattern: {error}")))
}
