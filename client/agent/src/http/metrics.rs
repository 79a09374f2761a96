//! What Prometheus is told: gauges and counters of each set, brought up to date when they are asked for.
//!
//! How often hooks failed is counted as it happens: a status tells of the last failure only.

use std::{collections::BTreeMap, sync::Arc};

use metrics::{counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use parking_lot::Mutex;

use crate::{
    health::{Health, State},
    source::Followed,
    status::{HookStatus, SetStatus},
};

/// The metrics of an agent.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    failures: Arc<Mutex<Failures>>,
}

/// How often each set's hook failed since the agent started.
#[derive(Default)]
struct Failures {
    /// The attempts that had failed when it was looked at last.
    seen: BTreeMap<String, u32>,
    count: BTreeMap<String, u64>,
}

impl Metrics {
    /// Counts from now on, until nobody says how the sets are.
    pub(crate) fn new(mut health: Health) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        describe(&recorder);
        let failures = Arc::new(Mutex::new(Failures::default()));
        let counting = Arc::clone(&failures);
        tokio::spawn(async move {
            loop {
                for (name, status) in health.sets() {
                    counting.lock().look(&name, &status);
                }
                if !health.changed().await {
                    return;
                }
            }
        });
        Self {
            handle: recorder.handle(),
            recorder,
            failures,
        }
    }

    /// All of them, as Prometheus reads them.
    pub(crate) fn render(&self, health: &Health, followed: Followed) -> String {
        metrics::with_local_recorder(&self.recorder, || {
            let sets = health.sets();
            for state in State::ALL {
                let is_so = |(_, status): &&(String, SetStatus)| State::of(status) == state;
                let count = sets.iter().filter(is_so).count();
                gauge!("holdfast_agent_sets", "state" => state.as_str()).set(count as f64);
            }
            for (name, status) in &sets {
                self.tell(name, status);
            }
            for (is_kept, count) in [("true", followed.kept), ("false", followed.unkept)] {
                gauge!("holdfast_agent_prefixes", "kept" => is_kept).set(count as f64);
            }
        });
        self.handle.render()
    }

    fn tell(&self, name: &str, status: &SetStatus) {
        let set = [("set", name.to_owned())];
        let flag = |flag: bool| f64::from(u8::from(flag));
        gauge!("holdfast_agent_set_revision", &set).set(status.revision as f64);
        gauge!("holdfast_agent_set_offered_revision", &set).set(status.offered as f64);
        gauge!("holdfast_agent_set_files", &set).set(status.files.len() as f64);
        gauge!("holdfast_agent_set_has_problem", &set).set(flag(status.problem.is_some()));
        gauge!("holdfast_agent_set_is_offline", &set).set(flag(status.is_offline));
        if let Some(confirmed) = status.confirmed {
            gauge!("holdfast_agent_set_age_seconds", &set).set(confirmed.elapsed().as_secs_f64());
        }
        let failed = match status.hook {
            HookStatus::Failed { attempts, .. } => attempts,
            _ => 0,
        };
        gauge!("holdfast_agent_set_hook_failed_attempts", &set).set(f64::from(failed));
        let failures = self.failures.lock().count.get(name).copied();
        counter!("holdfast_agent_set_hook_failures_total", &set).absolute(failures.unwrap_or(0));
        counter!("holdfast_agent_set_installs_total", &set).absolute(status.installs);
        counter!("holdfast_agent_set_drifts_total", &set).absolute(status.drifts);
    }
}

impl Failures {
    fn look(&mut self, name: &str, status: &SetStatus) {
        if status.prefixes.is_empty() {
            // Nothing is known of it yet.
            return;
        }
        let now = match status.hook {
            HookStatus::Failed { attempts, .. } => attempts,
            _ => 0,
        };
        match self.seen.insert(name.to_owned(), now) {
            // What failed before the agent was started is not its own.
            None => {}
            Some(before) => {
                // Fewer: they are of another installation.
                let more = if now < before { now } else { now - before };
                *self.count.entry(name.to_owned()).or_default() += u64::from(more);
            }
        }
    }
}

fn describe(recorder: &PrometheusRecorder) {
    metrics::with_local_recorder(recorder, || {
        metrics::describe_gauge!("holdfast_agent_sets", "sets of files, by how they are");
        metrics::describe_gauge!(
            "holdfast_agent_prefixes",
            "prefixes that are followed, by whether this node's disk has what to start with offline"
        );
        metrics::describe_gauge!(
            "holdfast_agent_set_revision",
            "the revision that is installed; 0: none"
        );
        metrics::describe_gauge!(
            "holdfast_agent_set_offered_revision",
            "a newer one that is refused; 0: there is none"
        );
        metrics::describe_gauge!("holdfast_agent_set_files", "files that are installed");
        metrics::describe_gauge!(
            "holdfast_agent_set_has_problem",
            "1: something keeps it from being up to date"
        );
        metrics::describe_gauge!(
            "holdfast_agent_set_is_offline",
            "1: it is made of what this node's disk has; no server answered yet"
        );
        metrics::describe_gauge!(
            "holdfast_agent_set_age_seconds",
            "how long ago the cluster was known to have nothing newer, when it was looked at last"
        );
        metrics::describe_gauge!(
            "holdfast_agent_set_hook_failed_attempts",
            "attempts of the hook that failed for what is installed; 0: none, or it succeeded"
        );
        metrics::describe_counter!(
            "holdfast_agent_set_hook_failures_total",
            "failed attempts of the hook since the agent started"
        );
        metrics::describe_counter!(
            "holdfast_agent_set_installs_total",
            "swaps since the agent started"
        );
        metrics::describe_counter!(
            "holdfast_agent_set_drifts_total",
            "how often something else than what was installed was found on the disk since the agent started"
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Statuses;

    fn status(attempts: u32) -> SetStatus {
        SetStatus {
            prefixes: vec!["web/".to_owned()],
            hook: match attempts {
                0 => HookStatus::Succeeded,
                attempts => HookStatus::Failed {
                    attempts,
                    why: "no".to_owned(),
                    gave_up: false,
                },
            },
            ..SetStatus::default()
        }
    }

    #[test]
    fn failures_are_counted_over_installations_but_not_those_of_an_earlier_agent() {
        let mut failures = Failures::default();
        failures.look("web", &SetStatus::default());
        // Five were in its record; then come six, success, and two of the next installation.
        for attempts in [5, 5, 6, 0, 1, 2] {
            failures.look("web", &status(attempts));
        }
        assert_eq!(failures.count["web"], 3);
        // One fails once more, and the next installation's first attempt does, too.
        for attempts in [3, 1] {
            failures.look("web", &status(attempts));
        }
        assert_eq!(failures.count["web"], 5);
    }

    #[tokio::test]
    async fn each_set_has_its_numbers_and_no_other_text() {
        let statuses = Statuses::new();
        let web = SetStatus {
            revision: 7,
            offered: 9,
            installs: 2,
            drifts: 1,
            problem: Some("the template is not right".to_owned()),
            ..status(0)
        };
        statuses.say("web", web);
        let names = vec!["web".to_owned(), "tls".to_owned()];
        let health = Health::new(names, statuses.subscribe());
        let text = Metrics::new(health.clone()).render(&health, Followed { kept: 2, unkept: 1 });
        for line in [
            "holdfast_agent_sets{state=\"missing\"} 2",
            "holdfast_agent_prefixes{kept=\"true\"} 2",
            "holdfast_agent_prefixes{kept=\"false\"} 1",
            "holdfast_agent_set_revision{set=\"web\"} 7",
            "holdfast_agent_set_offered_revision{set=\"web\"} 9",
            "holdfast_agent_set_has_problem{set=\"web\"} 1",
            "holdfast_agent_set_installs_total{set=\"web\"} 2",
            "holdfast_agent_set_drifts_total{set=\"web\"} 1",
            "holdfast_agent_set_revision{set=\"tls\"} 0",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} in {text}");
        }
        assert!(!text.contains("not right"), "{text}");
        // What was never known has no age.
        assert!(!text.contains("age_seconds{"), "{text}");
    }
}
