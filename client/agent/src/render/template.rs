//! Templates: minijinja, with functions that people know from consul-template. `TEMPLATES.md` lists
//! them.
//!
//! What a template cannot do: run a program, read another file than those beside it, know the time, or
//! go on for ever.

mod filters;
mod functions;
mod hidden;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use minijinja::{
    AutoEscape, Environment, Error, UndefinedBehavior, path_loader, syntax::SyntaxConfig,
};
use parking_lot::Mutex;

use super::{Content, RenderError, Secrets, bounded::Bounded};
use crate::values::Values;

/// What the functions of one rendering know.
struct Scope {
    values: Arc<Values>,
    secrets: Secrets,
    /// Secrets that were asked for, by key.
    used: Mutex<BTreeSet<String>>,
}

pub(super) fn render(
    set: &str,
    path: &Path,
    values: &Arc<Values>,
    secrets: Secrets,
) -> Result<Content, RenderError> {
    let source = read(path)?;
    let scope = Arc::new(Scope {
        values: Arc::clone(values),
        secrets,
        used: Mutex::default(),
    });
    let mut environment = environment(path);
    filters::add(&mut environment);
    functions::add(&mut environment, &scope, set);
    let failed = |error: &Error| RenderError::Template {
        path: path.to_owned(),
        why: why(error, !scope.used.lock().is_empty()),
    };
    let template = environment.template_from_named_str(NAME, &source);
    let template = template.map_err(|error| failed(&error))?;
    let mut out = Bounded::default();
    template
        .render_captured_to((), &mut out)
        .map_err(|error| failed(&error))?;
    let used = std::mem::take(&mut *scope.used.lock());
    Ok(Content {
        bytes: out.into_bytes(),
        secrets: used,
    })
}

/// Whether it parses.
pub(super) fn check(path: &Path) -> Result<(), RenderError> {
    let source = read(path)?;
    let environment = environment(path);
    let parsed = environment.template_from_named_str(NAME, &source);
    parsed.map(drop).map_err(|error| RenderError::Template {
        path: path.to_owned(),
        why: why(&error, false),
    })
}

fn read(path: &Path) -> Result<String, RenderError> {
    std::fs::read_to_string(path).map_err(|source| RenderError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn environment(path: &Path) -> Environment<'_> {
    let mut environment = Environment::new();
    // A name that is not there is a mistake, and not an empty text.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    // As Ansible has it: a line with nothing but a statement leaves no empty line.
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build();
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
    if let Some(folder) = path.parent() {
        environment.set_loader(path_loader(folder));
    }
    environment
}

/// What is wrong and where. Once a secret was had, not in the engine's words: they may quote it.
fn why(error: &Error, had_secret: bool) -> String {
    let place = match (error.name(), error.line()) {
        (Some(NAME) | None, Some(line)) => format!("line {line}: "),
        (Some(name), Some(line)) => format!("line {line} of {name}: "),
        _ => String::new(),
    };
    let mut said = error.kind().to_string();
    if let Some(detail) = error.detail().filter(|_| !had_secret) {
        said = format!("{said}: {detail}");
    }
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
    match source {
        Some(source) => format!("{place}{said}; {}", why(source, had_secret)),
        None => format!("{place}{said}"),
    }
}

/// The template itself, among those that it includes.
const NAME: &str = "<template>";
/// About as many steps of the engine; a large file takes some ten thousands.
const FUEL: u64 = 20_000_000;
