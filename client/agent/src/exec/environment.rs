//! What a command finds in its environment.

use holdfast_client::ReadError;
use tokio::process::Command;

use crate::{
    render::{self, RenderError, Variable},
    values::{Held, Unready, Values},
};

/// The variables that lie under some prefixes at one revision. Wiped when it is dropped.
pub(crate) struct Environment {
    revision: u64,
    variables: Vec<Variable>,
}

/// Why there is no environment. Says no value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvironmentError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Unready(#[from] Unready),
    #[error("there is no key under {0}; put one, or look for a mistake in the prefix")]
    Empty(String),
    #[error(
        "{0} is a secret; say --reveal to have it in the environment, where every process of this \
         user can read it"
    )]
    Closed(String),
    #[error("{key}: {why}")]
    TooLarge { key: String, why: String },
    #[error(transparent)]
    Render(#[from] RenderError),
}

impl Environment {
    /// Of what lies under the prefixes. A prefix without a key is an error, and never no variables.
    pub(crate) fn of(values: &Values, prefixes: &[String]) -> Result<Self, EnvironmentError> {
        if let Some(prefix) = values.empty_prefix() {
            return Err(EnvironmentError::Empty(prefix.to_owned()));
        }
        for prefix in prefixes {
            let mut held = values.under(prefix).map_err(RenderError::from)?;
            if let Some((name, _)) = held.find(|(_, held)| matches!(held, Held::Closed)) {
                return Err(EnvironmentError::Closed(format!("{prefix}{name}")));
            }
        }
        let variables = render::variables(values, prefixes)?;
        check_size(&variables)?;
        Ok(Self {
            revision: values.revision,
            variables,
        })
    }

    /// Everything in it was so then.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether a command would find no difference.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let is_same =
            |(one, other): (&Variable, &Variable)| one.name == other.name && one.text == other.text;
        self.variables.len() == other.variables.len()
            && self.variables.iter().zip(&other.variables).all(is_same)
    }

    /// Adds it to what a command inherits. What is here counts more.
    pub(crate) fn fill(&self, command: &mut Command) {
        for variable in &self.variables {
            command.env(&variable.name, variable.text.as_str());
        }
    }
}

/// Refuses what the system would refuse at the start: a command that runs must not be ended for another
/// that cannot be started.
fn check_size(variables: &[Variable]) -> Result<(), EnvironmentError> {
    let mut sum = 0;
    for variable in variables {
        let size = variable.name.len() + variable.text.len() + "=\0".len();
        sum += size;
        let why = if size > LARGEST {
            "it has more than 128 KiB, which no variable holds; install it as a file instead"
        } else if sum > LARGEST_SUM {
            "all variables up to it have more than 1 MiB; install some of them as files instead"
        } else {
            continue;
        };
        return Err(EnvironmentError::TooLarge {
            key: variable.key.clone(),
            why: why.to_owned(),
        });
    }
    Ok(())
}

/// Linux: `MAX_ARG_STRLEN`.
const LARGEST: usize = 128 << 10;
/// Half of what Linux usually lets a program have, arguments and inherited variables included.
const LARGEST_SUM: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use holdfast_client::Value;

    use super::*;
    use crate::values::tests::{closed, values};

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn made(prefix: &str, given: &[(&str, Value)]) -> Result<Environment, String> {
        let prefixes = [prefix.to_owned()];
        Environment::of(&values(prefix, given), &prefixes).map_err(|error| error.to_string())
    }

    #[test]
    fn parts_of_a_key_are_joined_and_types_are_written_as_in_an_env_file() {
        let given = [
            ("app/db/port", Value::Integer(5432)),
            ("app/limit", Value::Float(0.5)),
            (
                "app/tags",
                Value::List(vec!["a".to_owned(), "b".to_owned()]),
            ),
            ("app/text", text("$HOME `x` \"y\"\n")),
            ("app/tls", Value::Boolean(true)),
        ];
        let made = made("app/", &given).unwrap();
        let told: Vec<_> = made
            .variables
            .iter()
            .map(|variable| (variable.name.as_str(), variable.text.as_str()))
            .collect();
        let expected = [
            ("db__port", "5432"),
            ("limit", "0.5"),
            ("tags", "a\nb"),
            // No shell reads it, so nothing is escaped.
            ("text", "$HOME `x` \"y\"\n"),
            ("tls", "true"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn two_keys_of_one_name_are_refused_and_both_are_named() {
        let given = [("app/a/b", text("1")), ("app/a__b", text("2"))];
        let why = made("app/", &given).err().unwrap();
        for word in ["app/a/b", "app/a__b", "a__b"] {
            assert!(why.contains(word), "{word} in {why}");
        }
    }

    #[test]
    fn nothing_is_no_environment() {
        let why = made("app/", &[]).err().unwrap();
        assert!(why.contains("there is no key under app/"), "{why}");
    }

    #[test]
    fn a_secret_is_had_only_where_that_was_said() {
        let values = closed("app/", "app/password");
        let refused = Environment::of(&values, &["app/".to_owned()]);
        let why = refused.err().unwrap().to_string();
        assert!(
            why.contains("app/password") && why.contains("--reveal"),
            "{why}"
        );
    }

    #[test]
    fn what_no_system_starts_a_program_with_is_refused_before() {
        let fits = text(&"x".repeat(LARGEST - "big=\0".len()));
        made("app/", &[("app/big", fits)]).unwrap();
        let too_large = text(&"x".repeat(LARGEST));
        let why = made("app/", &[("app/big", too_large)]).err().unwrap();
        assert!(why.contains("app/big: it has more than 128 KiB"), "{why}");
        let many: Vec<_> = (0..11).map(|n| format!("app/v{n:02}")).collect();
        let large = text(&"x".repeat(100 << 10));
        let given: Vec<_> = many
            .iter()
            .map(|key| (key.as_str(), large.clone()))
            .collect();
        made("app/", &given[..10]).unwrap();
        let why = made("app/", &given).err().unwrap();
        assert!(why.contains("app/v10: all variables"), "{why}");
    }

    #[test]
    fn the_same_is_the_same_at_any_revision() {
        let one = made("app/", &[("app/a", text("1"))]).unwrap();
        let mut later = made("app/", &[("app/a", text("1"))]).unwrap();
        later.revision += 5;
        assert!(one.says_the_same(&later));
        for other in [
            &[("app/a", text("2"))][..],
            &[("app/b", text("1"))],
            &[("app/a", text("1")), ("app/b", text("1"))],
        ] {
            assert!(!one.says_the_same(&made("app/", other).unwrap()));
        }
    }
}
