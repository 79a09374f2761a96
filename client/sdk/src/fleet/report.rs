//! What an instance says it runs. Texts are cut to what the cluster takes; none holds a value.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use holdfast_proto::{limits, v1};

/// What a report is about: the configuration under a prefix, or a set of files made of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    prefix: Bytes,
    set: String,
}

/// How it stands with the newest state that an instance has seen of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReportState {
    /// In use.
    Applied,
    /// It was not taken; an older one is still in use.
    Rejected,
    /// It was seen, and not judged yet.
    Pending,
}

/// What an instance says about a subject. Make one with [`Report::applied`] and its neighbours, and
/// hand it to [`crate::Reporter::tell`]. Says nothing secret: no value belongs into its texts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// About what.
    pub subject: Subject,
    /// How it stands.
    pub state: ReportState,
    /// The revision in use; 0: none.
    pub revision: u64,
    /// The newer one that is not in use; 0: there is none.
    pub offered: u64,
    /// Why it was rejected, or what else is wrong; at most 512 bytes. Empty: nothing is.
    pub detail: String,
    /// How long ago the cluster was known to have nothing newer; `None`: not known.
    pub age: Option<Duration>,
    /// Whether it is from this node's disk: no server answered since the process started.
    pub offline: bool,
    /// The node whose overrides count.
    pub node: Option<String>,
    /// The roles whose overrides count.
    pub roles: Vec<String>,
    /// What an agent installed and ran.
    pub items: Vec<ReportItem>,
    /// The emergency override that is in use.
    pub override_in_use: Option<ReportedOverride>,
}

/// A file that an agent installed, or a hook that it ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportItem {
    /// Its name.
    pub name: String,
    /// A hash of the content; empty: it has none.
    pub digest: Vec<u8>,
    /// How the hook ended, in words.
    pub result: String,
    /// Whether it did not do what it should.
    pub failed: bool,
}

/// An emergency override in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedOverride {
    /// Who signed it.
    pub signer: String,
    /// Its end.
    pub expires: SystemTime,
    /// Why, in the signer's words.
    pub reason: String,
}

impl Subject {
    /// The configuration under a prefix.
    pub fn config(prefix: impl AsRef<[u8]>) -> Self {
        Self::set_of(String::new(), prefix)
    }

    /// A set of files that is made of what is under a prefix.
    pub fn set(name: impl Into<String>, prefix: impl AsRef<[u8]>) -> Self {
        Self::set_of(cut(&name.into(), limits::FLEET_NAME_BYTES), prefix)
    }

    fn set_of(set: String, prefix: impl AsRef<[u8]>) -> Self {
        Self {
            prefix: Bytes::copy_from_slice(prefix.as_ref()),
            set,
        }
    }

    /// The prefix.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The name of the set of files; `None`: it is about a configuration.
    pub fn set_name(&self) -> Option<&str> {
        (!self.set.is_empty()).then_some(self.set.as_str())
    }
}

impl Report {
    /// This revision is in use.
    pub fn applied(subject: Subject, revision: u64) -> Self {
        Self {
            subject,
            state: ReportState::Applied,
            revision,
            offered: 0,
            detail: String::new(),
            age: None,
            offline: false,
            node: None,
            roles: Vec::new(),
            items: Vec::new(),
            override_in_use: None,
        }
    }

    /// `offered` was not taken, and `revision` is still in use (0: nothing is).
    pub fn rejected(subject: Subject, revision: u64, offered: u64, why: impl fmt::Display) -> Self {
        Self {
            state: ReportState::Rejected,
            offered,
            detail: why.to_string(),
            ..Self::applied(subject, revision)
        }
    }

    /// `offered` was seen and is not in use yet; `revision` still is.
    pub fn pending(subject: Subject, revision: u64, offered: u64, why: impl fmt::Display) -> Self {
        Self {
            state: ReportState::Pending,
            ..Self::rejected(subject, revision, offered, why)
        }
    }

    /// The same report, but for how old it is.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let age = other.age;
        Self {
            age,
            ..self.clone()
        } == *other
    }

    /// As it is sent, but for what its [`crate::Reporter`] knows.
    pub(super) fn to_wire(&self) -> v1::FleetReport {
        let name = |text: &str| cut(text, limits::FLEET_NAME_BYTES);
        let roles = self.roles.iter().take(limits::FLEET_ROLES);
        let items = self.items.iter().take(limits::FLEET_ITEMS);
        v1::FleetReport {
            prefix: self.subject.prefix.clone(),
            set: self.subject.set.clone(),
            state: self.state.to_wire().into(),
            revision: self.revision,
            offered: self.offered,
            detail: cut(&self.detail, limits::FLEET_DETAIL_BYTES),
            offline: self.offline,
            is_current: self.age.is_some(),
            age_ms: millis(self.age.unwrap_or_default()),
            node: self.node.as_deref().map(name).unwrap_or_default(),
            roles: roles.map(|role| name(role)).collect(),
            items: items.map(ReportItem::to_wire).collect(),
            r#override: self.override_in_use.as_ref().map(|one| v1::FleetOverride {
                signer: name(&one.signer),
                expires_at_ms: one.expires.duration_since(UNIX_EPOCH).map_or(0, millis),
                reason: cut(&one.reason, limits::FLEET_DETAIL_BYTES),
            }),
            ..v1::FleetReport::default()
        }
    }

    pub(super) fn from_wire(wire: v1::FleetReport) -> Self {
        Self {
            state: ReportState::from_wire(wire.state()),
            age: wire.is_current.then(|| Duration::from_millis(wire.age_ms)),
            subject: Subject {
                prefix: wire.prefix,
                set: wire.set,
            },
            revision: wire.revision,
            offered: wire.offered,
            detail: wire.detail,
            offline: wire.offline,
            node: (!wire.node.is_empty()).then_some(wire.node),
            roles: wire.roles,
            items: wire.items.into_iter().map(ReportItem::from_wire).collect(),
            override_in_use: wire.r#override.map(|one| ReportedOverride {
                signer: one.signer,
                expires: UNIX_EPOCH + Duration::from_millis(one.expires_at_ms),
                reason: one.reason,
            }),
        }
    }
}

impl ReportState {
    /// `applied`, `rejected` or `pending`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::Pending => "pending",
        }
    }

    fn to_wire(self) -> v1::FleetState {
        match self {
            Self::Applied => v1::FleetState::Applied,
            Self::Rejected => v1::FleetState::Rejected,
            Self::Pending => v1::FleetState::Pending,
        }
    }

    /// What this version does not know is not known to be in use.
    fn from_wire(state: v1::FleetState) -> Self {
        match state {
            v1::FleetState::Applied => Self::Applied,
            v1::FleetState::Rejected => Self::Rejected,
            v1::FleetState::Pending | v1::FleetState::Unspecified => Self::Pending,
        }
    }
}

impl ReportItem {
    fn to_wire(&self) -> v1::FleetItem {
        let digest = &self.digest[..self.digest.len().min(limits::FLEET_NAME_BYTES)];
        v1::FleetItem {
            name: cut(&self.name, limits::FLEET_NAME_BYTES),
            digest: Bytes::copy_from_slice(digest),
            result: cut(&self.result, limits::FLEET_NAME_BYTES),
            failed: self.failed,
        }
    }

    fn from_wire(wire: v1::FleetItem) -> Self {
        Self {
            name: wire.name,
            digest: wire.digest.to_vec(),
            result: wire.result,
            failed: wire.failed,
        }
    }
}

/// `billing/`, or `set nginx of web/`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = String::from_utf8_lossy(&self.prefix);
        match self.set_name() {
            None => f.write_str(&prefix),
            Some(set) => write!(f, "set {set} of {prefix}"),
        }
    }
}

/// A text of one line, not longer than `most` bytes.
pub(super) fn cut(text: &str, most: usize) -> String {
    let line = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.trim().chars().map(line).collect();
    if text.len() <= most {
        return text;
    }
    let mut end = most - ELLIPSIS.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ELLIPSIS}", &text[..end])
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const ELLIPSIS: &str = "…";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_of_many_lines_becomes_one_line_that_fits() {
        assert_eq!(cut(" one\ntwo\u{1b}[31m ", 20), "one two [31m");
        for most in 3..20 {
            let short = cut(&"ü".repeat(20), most);
            assert!(short.len() <= most && short.ends_with(ELLIPSIS), "{short}");
        }
    }

    #[test]
    fn a_report_comes_back_from_the_wire_as_it_went() {
        let mut report = Report::rejected(Subject::set("nginx", "web/"), 7, 9, "no template");
        report.age = Some(Duration::from_millis(1_500));
        report.node = Some("db7".to_owned());
        report.roles = vec!["web".to_owned()];
        report.items = vec![ReportItem {
            name: "site.conf".to_owned(),
            digest: vec![1, 2],
            result: "exit 1".to_owned(),
            failed: true,
        }];
        report.override_in_use = Some(ReportedOverride {
            signer: "client/admin".to_owned(),
            expires: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            reason: "moved".to_owned(),
        });
        assert_eq!(Report::from_wire(report.to_wire()), report);
    }
}
