//! What a reporter was told, and what of it is to be sent when. Knows no clock and no network.
//!
//! Invariants: (1) of a subject only the newest word is kept. (2) The first word is due at once, one that
//! says something else after a moment, and what says the same when it is to be repeated. (3) A word that
//! came while another one was on its way is due, whatever becomes of that one. (4) However often it
//! changes, a subject is not spoken of more than once in [`REST`]: a change that a thousand see is not a
//! thousand calls at the same moment, and many changes are not many thousand.

use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use holdfast_proto::v1;

use super::{
    Report, Subject,
    report::{cut, millis},
};

pub(super) struct Told {
    instance: String,
    program: String,
    /// This process, by chance.
    run: u64,
    /// Of the process: a word counts more than all that any of its reporters said before.
    sequence: &'static AtomicU64,
    subjects: BTreeMap<Subject, One>,
}

struct One {
    report: Report,
    /// Its age is counted from then.
    told_at: Instant,
    /// It says the same since then.
    since: Instant,
    due: Instant,
    /// Not before this.
    rests_until: Instant,
    is_new: bool,
    /// One more with each word that says something new.
    version: u64,
    refused: Option<String>,
}

/// What is to be sent.
pub(super) struct Due {
    /// Which word it is.
    pub(super) words: Vec<(Subject, u64)>,
    pub(super) reports: Vec<v1::FleetReport>,
}

impl Told {
    pub(super) fn new(instance: &str, program: &str) -> Self {
        let name = |text| cut(text, holdfast_proto::limits::FLEET_NAME_BYTES);
        Self {
            instance: name(instance),
            program: name(program),
            run: *RUN.get_or_init(rand::random),
            sequence: &SEQUENCE,
            subjects: BTreeMap::new(),
        }
    }

    /// Takes a word in. `true`: it is another one than before, and due in a `moment` at the earliest.
    pub(super) fn tell(&mut self, report: Report, now: Instant, moment: Duration) -> bool {
        match self.subjects.get_mut(&report.subject) {
            Some(one) if one.report.says_the_same(&report) => {
                one.report = report;
                one.told_at = now;
                false
            }
            Some(one) => {
                let soon = one.rests_until.max(now + moment);
                *one = One {
                    version: one.version + 1,
                    rests_until: one.rests_until,
                    // What changes all the time is not put off all the time.
                    due: match one.is_new {
                        true => one.due.min(soon),
                        false => soon,
                    },
                    ..One::new(report, now)
                };
                true
            }
            None => {
                let subject = report.subject.clone();
                self.subjects.insert(subject, One::new(report, now));
                true
            }
        }
    }

    /// Says no more about a subject.
    pub(super) fn drop_subject(&mut self, subject: &Subject) {
        self.subjects.remove(subject);
    }

    /// When something is to be sent.
    pub(super) fn next(&self) -> Option<Instant> {
        self.subjects.values().map(|one| one.due).min()
    }

    /// What is to be sent now, with what is to be repeated soon; at most so many.
    pub(super) fn due(&mut self, now: Instant, most: usize) -> Due {
        let mut due = Due {
            words: Vec::new(),
            reports: Vec::new(),
        };
        if self.next().is_none_or(|next| next > now) {
            return due;
        }
        let mut ripe: Vec<_> = self
            .subjects
            .iter()
            .filter(|(_, one)| one.due <= now + TOGETHER)
            .collect();
        ripe.sort_by_key(|(_, one)| (!one.is_new, one.due));
        for (subject, one) in ripe.into_iter().take(most) {
            due.words.push((subject.clone(), one.version));
            due.reports.push(v1::FleetReport {
                instance: self.instance.clone(),
                program: self.program.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                run: self.run,
                sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
                held_ms: millis(now.saturating_duration_since(one.since)),
                age_ms: one.report.age.map_or(0, |age| {
                    millis(age.saturating_add(now.saturating_duration_since(one.told_at)))
                }),
                ..one.report.to_wire()
            });
        }
        due
    }

    /// The cluster has these words; all are to be repeated at `again`.
    pub(super) fn sent(&mut self, words: &[(Subject, u64)], now: Instant, again: Instant) {
        for (subject, version) in words {
            let Some(one) = self.subjects.get_mut(subject) else {
                continue;
            };
            one.rests_until = now + REST;
            if one.version == *version {
                (one.due, one.is_new, one.refused) = (again, false, None);
            } else {
                one.due = one.due.max(one.rests_until);
            }
        }
    }

    /// Somebody waits: what is new is due now.
    pub(super) fn hurry(&mut self, now: Instant) {
        let new = self.subjects.values_mut().filter(|one| one.is_new);
        new.for_each(|one| one.due = one.due.min(now));
    }

    /// The cluster does not take this word. `true`: it says so for the first time.
    pub(super) fn refused(&mut self, word: &(Subject, u64), why: &str, again: Instant) -> bool {
        let Some(one) = self.current(&word.0, word.1) else {
            return false;
        };
        let is_known = one.refused.as_deref() == Some(why);
        (one.due, one.is_new) = (again, false);
        one.refused = Some(why.to_owned());
        !is_known
    }

    /// These words are to be tried again then.
    pub(super) fn failed(&mut self, words: &[(Subject, u64)], again: Instant) {
        for (subject, version) in words {
            if let Some(one) = self.current(subject, *version) {
                one.due = again;
            }
        }
    }

    /// How many subjects wait for the cluster to take the newest word.
    pub(super) fn unsent(&self) -> usize {
        self.subjects.values().filter(|one| one.is_new).count()
    }

    /// Why the cluster does not take one.
    pub(super) fn refusal(&self) -> Option<String> {
        let refused = self.subjects.values().find_map(|one| one.refused.as_ref());
        refused.cloned()
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// Unless another word took its place.
    fn current(&mut self, subject: &Subject, version: u64) -> Option<&mut One> {
        let one = self.subjects.get_mut(subject)?;
        (one.version == version).then_some(one)
    }
}

impl Due {
    /// What is to be sent so much later.
    pub(super) fn reports_after(&self, passed: Duration) -> Vec<v1::FleetReport> {
        let mut reports = self.reports.clone();
        for report in &mut reports {
            report.held_ms += millis(passed);
            report.age_ms += millis(passed);
        }
        reports
    }
}

impl One {
    fn new(report: Report, now: Instant) -> Self {
        Self {
            report,
            told_at: now,
            since: now,
            due: now,
            rests_until: now,
            is_new: true,
            version: 0,
            refused: None,
        }
    }
}

static RUN: OnceLock<u64> = OnceLock::new();
static SEQUENCE: AtomicU64 = AtomicU64::new(1);
/// Between two words on a subject, at least.
const REST: Duration = Duration::from_secs(1);
/// What is to be repeated within this goes along.
const TOGETHER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(prefix: &str, revision: u64) -> Report {
        Report::applied(Subject::config(prefix), revision)
    }

    fn later(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn revisions(due: &Due) -> Vec<u64> {
        due.reports.iter().map(|report| report.revision).collect()
    }

    #[test]
    fn only_the_newest_word_of_a_subject_is_sent() {
        let (mut told, start) = (Told::new("i", "p"), Instant::now());
        for revision in 1..=50 {
            assert!(told.tell(applied("a/", revision), start, Duration::ZERO));
        }
        told.tell(applied("b/", 3), start, Duration::ZERO);
        let due = told.due(start, 100);
        assert_eq!(revisions(&due), [50, 3]);
        assert_eq!(told.unsent(), 2);
        told.sent(&due.words, later(start, 0), later(start, 60));
        assert_eq!(told.unsent(), 0);
        assert!(told.due(start, 100).reports.is_empty());
    }

    #[test]
    fn the_same_word_waits_for_its_repeat_and_brings_the_newest_age() {
        let (mut told, start) = (Told::new("i", "p"), Instant::now());
        let aged = |seconds| Report {
            age: Some(Duration::from_secs(seconds)),
            ..applied("a/", 1)
        };
        told.tell(aged(1), start, Duration::ZERO);
        let due = told.due(start, 100);
        let first = due.reports[0].sequence;
        told.sent(&due.words, later(start, 0), later(start, 60));
        assert!(!told.tell(aged(2), later(start, 30), Duration::ZERO));
        assert!(told.due(later(start, 59), 100).reports.is_empty());
        let due = told.due(later(start, 70), 100);
        assert_eq!(due.reports[0].held_ms, 70_000, "it says so since the start");
        assert_eq!(due.reports[0].age_ms, 42_000, "2 s at the 30th, 40 s ago");
        assert!(due.reports[0].sequence > first);
    }

    #[test]
    fn a_word_that_comes_while_another_is_on_its_way_is_not_lost() {
        let (mut told, start) = (Told::new("i", "p"), Instant::now());
        told.tell(applied("a/", 1), start, Duration::ZERO);
        let first = told.due(start, 100);
        told.tell(applied("a/", 2), start, Duration::ZERO);
        told.sent(&first.words, later(start, 0), later(start, 60));
        assert_eq!(told.unsent(), 1);
        assert_eq!(told.next(), Some(start + REST));
        // Nor is it put off by the failure of the one before.
        told.failed(&first.words, later(start, 60));
        assert_eq!(revisions(&told.due(start + REST, 100)), [2]);
    }

    #[test]
    fn what_changes_all_the_time_is_told_once_in_a_while_and_not_put_off() {
        let (mut told, start) = (Told::new("i", "p"), Instant::now());
        let moment = Duration::from_millis(300);
        let mut sent = Vec::new();
        for tick in 0..1_000 {
            let now = start + Duration::from_millis(tick * 10);
            told.tell(applied("a/", tick + 1), now, moment);
            let due = told.due(now, 100);
            sent.extend(revisions(&due));
            told.sent(&due.words, now, later(now, 60));
        }
        assert!((8..=11).contains(&sent.len()), "{sent:?} in ten seconds");
    }

    #[test]
    fn who_waits_is_not_kept_waiting() {
        let (mut told, start) = (Told::new("i", "p"), Instant::now());
        told.tell(applied("a/", 1), start, Duration::ZERO);
        let due = told.due(start, 100);
        told.sent(&due.words, start, later(start, 60));
        told.tell(applied("a/", 2), start, Duration::ZERO);
        assert!(told.due(start, 100).reports.is_empty());
        told.hurry(start);
        assert_eq!(revisions(&told.due(start, 100)), [2]);
    }

    #[test]
    fn what_failed_is_tried_again_and_says_since_when_it_is_so() {
        let (mut told, start) = (Told::new("i", "p"), Instant::now());
        told.tell(applied("a/", 1), start, Duration::ZERO);
        let due = told.due(start, 100);
        told.failed(&due.words, later(start, 5));
        assert!(told.due(later(start, 4), 100).reports.is_empty());
        assert_eq!(told.unsent(), 1);
        let due = told.due(later(start, 900), 100);
        assert_eq!(due.reports[0].held_ms, 900_000);
    }

    #[test]
    fn a_refusal_is_told_once_and_kept() {
        let (mut told, start) = (Told::new("i", "p"), Instant::now());
        told.tell(applied("a/", 1), start, Duration::ZERO);
        let due = told.due(start, 100);
        assert!(told.refused(&due.words[0], "not yours", later(start, 60)));
        let due = told.due(later(start, 60), 100);
        assert!(!told.refused(&due.words[0], "not yours", later(start, 120)));
        assert_eq!(told.refusal().as_deref(), Some("not yours"));
        let due = told.due(later(start, 120), 100);
        told.sent(&due.words, later(start, 120), later(start, 180));
        assert_eq!(told.refusal(), None);
    }

    #[test]
    fn new_words_come_before_repeats() {
        let (mut told, start) = (Told::new("i", "p"), Instant::now());
        told.tell(applied("a/", 1), start, Duration::ZERO);
        told.tell(applied("b/", 1), start, Duration::ZERO);
        let due = told.due(start, 100);
        told.sent(&due.words, later(start, 0), later(start, 60));
        told.tell(applied("c/", 9), later(start, 61), Duration::ZERO);
        assert_eq!(revisions(&told.due(later(start, 61), 1)), [9]);
    }
}
