//! The fields of an override, as a tree of JSON.

use serde_json::{Map, Value as Json};

use super::{OverrideError, OverrideFormat};

/// Parses them. No error shows a value.
pub(super) fn parse(
    format: OverrideFormat,
    text: &str,
) -> Result<Map<String, Json>, OverrideError> {
    let fields = match format {
        OverrideFormat::Toml => {
            let table: toml::Table = toml::from_str(text).map_err(|error| {
                let line = error.span().map(|span| line_of(text, span.start));
                fields_error(format!("they are no TOML{}", at(line)))
            })?;
            Json::Object(of_table(table)?)
        }
        OverrideFormat::Json => serde_json::from_str(text)
            .map_err(|error| fields_error(format!("they are no JSON{}", at(Some(error.line())))))?,
    };
    let Json::Object(fields) = fields else {
        return Err(fields_error("they are no map of names".to_owned()));
    };
    if fields.is_empty() {
        return Err(fields_error("there are none".to_owned()));
    }
    check_names(&fields)?;
    Ok(fields)
}

/// The names of all values, their parts joined with `/`.
pub(super) fn names(fields: &Map<String, Json>) -> Vec<String> {
    let mut names = Vec::new();
    gather("", fields, &mut names);
    names
}

fn gather(above: &str, fields: &Map<String, Json>, names: &mut Vec<String>) {
    for (name, value) in fields {
        let name = format!("{above}{name}");
        match value {
            Json::Object(fields) => gather(&format!("{name}/"), fields, names),
            _ => names.push(name),
        }
    }
}

fn check_names(fields: &Map<String, Json>) -> Result<(), OverrideError> {
    for (name, value) in fields {
        if name.is_empty() || name.contains(['/', '@']) {
            return Err(fields_error(format!(
                "{name:?} is no name of one; a group of fields is a table"
            )));
        }
        if let Json::Object(fields) = value {
            check_names(fields)?;
        }
    }
    Ok(())
}

fn of_table(table: toml::Table) -> Result<Map<String, Json>, OverrideError> {
    let fields = table.into_iter().map(|(name, value)| {
        let json = of_toml(value)
            .ok_or_else(|| fields_error(format!("{name} holds a number that JSON has not")))?;
        Ok((name, json))
    });
    fields.collect()
}

fn of_toml(value: toml::Value) -> Option<Json> {
    Some(match value {
        toml::Value::String(text) => Json::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => Json::Number(serde_json::Number::from_f64(number)?),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(time) => Json::String(time.to_string()),
        toml::Value::Array(items) => {
            Json::Array(items.into_iter().map(of_toml).collect::<Option<_>>()?)
        }
        toml::Value::Table(table) => {
            let fields = table.into_iter();
            let fields = fields.map(|(name, value)| Some((name, of_toml(value)?)));
            Json::Object(fields.collect::<Option<_>>()?)
        }
    })
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    before.filter(|byte| **byte == b'\n').count() + 1
}

fn at(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(" (line {line})"))
}

fn fields_error(why: String) -> OverrideError {
    OverrideError::Fields(why)
}
