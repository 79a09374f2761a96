//! What one peer may do: the entries of the settings that name it, each for its own prefixes.

use holdfast_proto::KeyRange;

use super::peer::Peer;
use crate::settings::Allow;

/// What a peer may do.
#[derive(Clone, Debug, Default)]
pub(super) struct Grants {
    grants: Vec<Grant>,
    /// Every call.
    all: bool,
}

/// One entry.
#[derive(Clone, Debug)]
struct Grant {
    ranges: Vec<KeyRange>,
    reveal: bool,
    write: bool,
}

/// A connection's other end, and what it may do. A request's extension.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) peer: Peer,
    pub(super) grants: Grants,
}

impl Guest {
    /// Blocks: the system's books are asked for names.
    pub(super) fn admit(peer: Peer, allowed: &[Allow]) -> Self {
        let is_meant = |allow: &&Allow| match (&allow.user, &allow.group) {
            (Some(user), _) => peer.is_user(user),
            (None, Some(group)) => peer.is_in_group(group),
            (None, None) => false,
        };
        let mut grants = Grants::default();
        for allow in allowed.iter().filter(is_meant) {
            grants.all |= allow.all;
            let prefixes = allow.prefixes.iter();
            grants.grants.push(Grant {
                ranges: prefixes.cloned().map(KeyRange::prefix).collect(),
                reveal: allow.reveal,
                write: allow.write,
            });
        }
        Self { peer, grants }
    }
}

impl Grants {
    /// Whether no entry names the peer.
    pub(super) fn are_none(&self) -> bool {
        self.grants.is_empty()
    }

    /// Whether every call is allowed.
    pub(super) fn is_all(&self) -> bool {
        self.all
    }

    /// Whether a range may be read and watched.
    pub(super) fn reads(&self, range: &KeyRange) -> bool {
        self.covers(range, |_| true)
    }

    /// Whether it may be written.
    pub(super) fn writes(&self, range: &KeyRange) -> bool {
        self.covers(range, |grant| grant.write)
    }

    /// Whether its secrets may be opened.
    pub(super) fn reveals(&self, range: &KeyRange) -> bool {
        self.covers(range, |grant| grant.reveal)
    }

    /// Whether one prefix of one fitting entry covers a range.
    fn covers(&self, range: &KeyRange, fits: impl Fn(&Grant) -> bool) -> bool {
        let covers = |grant: &Grant| grant.ranges.iter().any(|own| range.is_within(own));
        self.all || self.grants.iter().any(|grant| fits(grant) && covers(grant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(user: &str, prefixes: &[&str]) -> Allow {
        Allow {
            user: Some(user.to_owned()),
            prefixes: prefixes.iter().map(|&prefix| prefix.to_owned()).collect(),
            ..Allow::default()
        }
    }

    fn grants(allowed: &[Allow]) -> Grants {
        Guest::admit(Peer::named(1001, "billing", &[1001, 33]), allowed).grants
    }

    fn under(prefix: &str) -> KeyRange {
        KeyRange::prefix(prefix.to_owned())
    }

    #[test]
    fn whom_no_entry_names_may_do_nothing() {
        let grants = grants(&[allow("shop", &[""]), allow("1002", &[""])]);
        assert!(grants.are_none());
        assert!(!grants.reads(&under("billing/")));
        assert!(!grants.is_all());
    }

    #[test]
    fn entries_add_up_and_what_one_allows_does_not_spill_over_to_another() {
        let group = Allow {
            user: None,
            group: Some("33".to_owned()),
            write: true,
            ..allow("", &["web/"])
        };
        let secrets = Allow {
            reveal: true,
            ..allow("billing", &["billing/db/"])
        };
        let grants = grants(&[group, secrets, allow("1001", &["billing/", "common/"])]);
        assert!(grants.reads(&under("billing/")) && grants.reads(&under("common/a")));
        assert!(grants.reveals(&under("billing/db/")));
        assert!(!grants.reveals(&under("billing/")) && !grants.reveals(&under("web/")));
        assert!(grants.writes(&under("web/a")));
        assert!(!grants.writes(&under("billing/db/")));
        assert!(
            !grants.reads(&under("bill")),
            "that is more than the prefix"
        );
        assert!(!grants.reads(&KeyRange::all()));
    }

    #[test]
    fn all_is_all() {
        let operator = Allow {
            all: true,
            ..allow("1001", &[])
        };
        let grants = grants(&[operator]);
        assert!(grants.is_all() && grants.writes(&KeyRange::all()));
    }
}
