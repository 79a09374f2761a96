//! What a template asks: keys, secrets, and where it is.

use std::{collections::BTreeMap, sync::Arc};

use holdfast_client::Value as Stored;
use minijinja::{Environment, Error, Value, value::Serde};

use super::{
    Scope,
    hidden::{Hidden, wrong},
};
use crate::{
    render::{Secrets, veil},
    values::{Held, Missing},
};

pub(super) fn add(environment: &mut Environment<'_>, scope: &Arc<Scope>, set: &str) {
    environment.add_function("key", {
        let scope = Arc::clone(scope);
        move |key: String| {
            let found = scope.values.plain(&key).map_err(refused)?;
            value(found.ok_or_else(|| refused(Missing::Key(key.clone())))?)
        }
    });
    environment.add_function("key_or", {
        let scope = Arc::clone(scope);
        move |key: String, default: Value| match scope.values.plain(&key).map_err(refused)? {
            Some(found) => value(found),
            None => Ok(default),
        }
    });
    environment.add_function("key_exists", {
        let scope = Arc::clone(scope);
        move |key: String| Ok::<_, Error>(scope.values.held(&key).map_err(refused)?.is_some())
    });
    environment.add_function("secret", {
        let scope = Arc::clone(scope);
        move |key: String| scope.secret(&key)
    });
    environment.add_function("ls", {
        let scope = Arc::clone(scope);
        move |prefix: String| scope.list(&prefix, false)
    });
    environment.add_function("tree", {
        let scope = Arc::clone(scope);
        move |prefix: String| scope.list(&prefix, true)
    });
    environment.add_function("explode", {
        let scope = Arc::clone(scope);
        move |prefix: String| scope.explode(&prefix)
    });
    environment.add_function("env", |name: String, default: Option<Value>| {
        match (std::env::var(&name), default) {
            (Ok(found), _) => Ok(Value::from(found)),
            (Err(_), Some(default)) => Ok(default),
            (Err(_), None) => Err(wrong(format!(
                "the agent has no variable {name} in its environment; give a default"
            ))),
        }
    });
    let place = &scope.values.place;
    environment.add_global("node", place.node_name().unwrap_or_default());
    environment.add_global("roles", place.roles().to_vec());
    environment.add_global("revision", scope.values.newest);
    environment.add_global("set", set);
}

impl Scope {
    fn secret(&self, key: &str) -> Result<Value, Error> {
        let secret = self.values.secret(key).map_err(refused)?;
        self.used.lock().insert(key.to_owned());
        Ok(match self.secrets {
            Secrets::Told => Hidden::secret(secret.expose().clone()),
            Secrets::Veiled => Hidden::veil(veil(key)),
        })
    }

    /// What is under a prefix, as `key`, `name` and `value`; only what is right under it, unless it is
    /// to be `deep`. Secrets are left out: they are asked for by name.
    fn list(&self, prefix: &str, deep: bool) -> Result<Value, Error> {
        let prefix = folder(prefix);
        let mut found = Vec::new();
        for (name, held) in self.values.under(&prefix).map_err(refused)? {
            let Held::Plain(entry) = held else { continue };
            let (Some(stored), true) = (&entry.value, deep || !name.contains('/')) else {
                continue;
            };
            found.push(Value::from_pairs([
                ("key", Value::from(format!("{prefix}{name}"))),
                ("name", Value::from(name)),
                ("value", value(stored)?),
            ]));
        }
        Ok(Value::from(found))
    }

    /// What is under a prefix, as names within names.
    fn explode(&self, prefix: &str) -> Result<Value, Error> {
        let prefix = folder(prefix);
        let mut top = Branch::default();
        for (name, held) in self.values.under(&prefix).map_err(refused)? {
            let Held::Plain(entry) = held else { continue };
            let Some(stored) = &entry.value else { continue };
            top.insert(name, value(stored)?);
        }
        Ok(top.into_value())
    }
}

#[derive(Default)]
struct Branch {
    value: Option<Value>,
    below: BTreeMap<String, Branch>,
}

impl Branch {
    fn insert(&mut self, name: &str, value: Value) {
        match name.split_once('/') {
            None => self.below.entry(name.to_owned()).or_default().value = Some(value),
            Some((part, rest)) => self
                .below
                .entry(part.to_owned())
                .or_default()
                .insert(rest, value),
        }
    }

    /// A key that has a value and keys below it is its value.
    fn into_value(self) -> Value {
        match self.value {
            Some(value) => value,
            None => {
                let below = self.below.into_iter();
                Value::from_pairs(below.map(|(name, branch)| (name, branch.into_value())))
            }
        }
    }
}

/// With the `/` at its end that is often left out.
fn folder(prefix: &str) -> String {
    match prefix.is_empty() || prefix.ends_with('/') {
        true => prefix.to_owned(),
        false => format!("{prefix}/"),
    }
}

/// With its type; JSON as what it says.
fn value(stored: &Stored) -> Result<Value, Error> {
    Ok(match stored {
        Stored::Text(text) => Value::from(text.as_str()),
        Stored::Integer(number) => Value::from(*number),
        Stored::Float(number) => Value::from(*number),
        Stored::Boolean(flag) => Value::from(*flag),
        Stored::List(items) => Value::from(items.clone()),
        Stored::Bytes(bytes) => Value::from_bytes(bytes.to_vec()),
        Stored::Json(text) => {
            let json: serde_json::Value =
                serde_json::from_str(text).map_err(|_| wrong("it is no JSON; put it again"))?;
            Value::from(Serde(json))
        }
        Stored::Sealed(_) => return Err(wrong("it is a secret; ask for it with secret(..)")),
    })
}

fn refused(missing: Missing) -> Error {
    wrong(missing.to_string())
}
