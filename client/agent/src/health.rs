//! Whether the sets are as they should be, for who looks after the agent.

use tokio::sync::watch;

use crate::status::{HookStatus, SetStatus, Sets};

/// How all sets are, also those that nothing is known of yet.
#[derive(Clone)]
pub(crate) struct Health {
    names: Vec<String>,
    statuses: watch::Receiver<Sets>,
}

/// How a set is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// It is installed, is the newest as far as is known, and its hook succeeded.
    Good,
    /// It is installed, and its hook is to be run.
    HookOwed,
    /// It is installed, and something newer is not.
    Behind,
    /// It is installed, and its hook fails.
    HookFailing,
    /// Nothing is installed.
    Missing,
}

impl Health {
    /// Of sets of these names.
    pub(crate) fn new(names: Vec<String>, statuses: watch::Receiver<Sets>) -> Self {
        Self { names, statuses }
    }

    /// How each is now.
    pub(crate) fn sets(&self) -> Vec<(String, SetStatus)> {
        let statuses = self.statuses.borrow();
        let status = |name: &String| {
            let status = statuses.get(name).cloned().unwrap_or_default();
            (name.clone(), status)
        };
        self.names.iter().map(status).collect()
    }

    /// A line for each set that is not installed, or whose hook fails; none: all is well.
    pub(crate) fn not_ready(&self) -> Vec<String> {
        self.sets()
            .iter()
            .filter_map(|(name, status)| {
                Some(one_line(&format!("{name}: {}", why_not_ready(status)?)))
            })
            .collect()
    }

    /// Whether it is known of each set that it could be installed, or why not.
    pub(crate) fn is_all_tried(&self) -> bool {
        let is_tried = |status: &SetStatus| {
            status.problem.is_some() || status.confirmed.is_some() || status.is_offline
        };
        self.sets().iter().all(|(_, status)| is_tried(status))
    }

    /// How it goes, in one line.
    pub(crate) fn sentence(&self) -> String {
        let sets = self.sets();
        let is_good = |status: &SetStatus| State::of(status) <= State::HookOwed;
        let good = sets.iter().filter(|(_, status)| is_good(status)).count();
        let worst = sets.iter().max_by_key(|(_, status)| State::of(status));
        let sum = format!("{good} of {} set(s) of files are up to date", sets.len());
        match worst {
            Some((name, status)) if !is_good(status) => {
                let why = match (State::of(status), &status.problem) {
                    (State::Missing, Some(problem)) => Some(format!("not installed: {problem}")),
                    _ => why_not_ready(status).or_else(|| status.problem.clone()),
                };
                one_line(&format!("{sum}; {name}: {}", why.unwrap_or_default()))
            }
            _ => sum,
        }
    }

    /// Waits for a change. `false`: nobody will tell of one.
    pub(crate) async fn changed(&mut self) -> bool {
        self.statuses.changed().await.is_ok()
    }
}

impl State {
    pub(crate) const ALL: [Self; 5] = [
        Self::Good,
        Self::HookOwed,
        Self::Behind,
        Self::HookFailing,
        Self::Missing,
    ];

    pub(crate) fn of(status: &SetStatus) -> Self {
        match &status.hook {
            _ if status.files.is_empty() => Self::Missing,
            HookStatus::Failed { .. } => Self::HookFailing,
            _ if status.problem.is_some() => Self::Behind,
            HookStatus::Owed => Self::HookOwed,
            HookStatus::None | HookStatus::Succeeded => Self::Good,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::HookOwed => "hook_owed",
            Self::Behind => "behind",
            Self::HookFailing => "hook_failing",
            Self::Missing => "missing",
        }
    }
}

/// A program that reads lines takes each for something else.
fn one_line(text: &str) -> String {
    text.replace(|character: char| character.is_control(), " ")
}

/// What is wrong with a set, for whoever asks: it names no key, and says no value.
fn why_not_ready(status: &SetStatus) -> Option<String> {
    match (State::of(status), &status.hook) {
        (State::Missing, _) => Some(match &status.problem {
            Some(_) => "cannot be installed; the agent's log says why".to_owned(),
            None => "not installed yet".to_owned(),
        }),
        (
            State::HookFailing,
            HookStatus::Failed {
                attempts,
                why,
                gave_up,
            },
        ) => {
            let end = if *gave_up {
                ", and it is not tried again"
            } else {
                ""
            };
            Some(format!("its hook failed {attempts} time(s){end}: {why}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
