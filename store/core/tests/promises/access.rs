//! Who may do what, and that somebody can always change it.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::{
    Body, Reason, Restoring, State,
    access::{Capabilities, Capability, FOUNDING, GrantChange, Rights, Role, Rule, Target},
};
use holdfast_proto::{KeyRange, Timestamp, access::RuleError, limits};
use proptest::prelude::*;

use crate::store::{DAY_MS, Store, assert_reason};

fn rules(rules: &[&str]) -> Vec<Rule> {
    rules.iter().map(|rule| rule.parse().unwrap()).collect()
}

fn role(name: &str, said: &[&str]) -> Body {
    Body::RoleSet(Role::new(name, rules(said)).unwrap())
}

fn change(identity: &str, add: &[&str], remove: &[&str]) -> Body {
    let shared = |roles: &[&str]| roles.iter().map(|&role| Arc::from(role)).collect();
    Body::GrantChange(GrantChange {
        identity: identity.into(),
        add: shared(add),
        remove: shared(remove),
    })
}

fn grant(identity: &str, roles: &[&str]) -> Body {
    change(identity, roles, &[])
}

fn take(identity: &str, roles: &[&str]) -> Body {
    change(identity, &[], roles)
}

fn revoke(identity: &str) -> Body {
    Body::IdentityRevoke(identity.into())
}

impl Store {
    fn issue(&mut self, identity: &str) -> Body {
        Body::IdentityIssued {
            identity: identity.into(),
            expires: Timestamp::from_millis(self.now + 365 * DAY_MS),
        }
    }
}

fn may(state: &State, who: &str, what: Capability, key: &str) -> bool {
    let rights = state.access().rights(who);
    rights.allow(what, Target::Key(key.as_bytes()))
}

fn rights(said: &[&str]) -> Rights {
    Rights::of([&Role::new("app", rules(said)).unwrap()])
}

#[test]
fn without_grants_the_first_operator_has_admin_and_operator_and_a_stranger_has_nothing() {
    let state = Store::new().state;
    for (identity, _) in FOUNDING {
        assert!(may(&state, identity, Capability::Write, "a"));
        assert!(!may(&state, identity, Capability::Reveal, "a"));
        let rights = state.access().rights(identity);
        assert!(rights.allow(Capability::AdminPolicy, Target::Cluster));
    }
    for stranger in ["client/bob", "node/n1", "nobody", ""] {
        let rights = state.access().rights(stranger);
        for capability in Capability::ALL {
            assert!(!rights.allow(capability, Target::Key(b"a")), "{stranger}");
            assert!(!rights.allow(capability, Target::Cluster), "{stranger}");
        }
    }
}

#[test]
fn the_first_change_of_a_grant_takes_nothing_from_those_who_were_there() {
    let mut store = Store::new();
    store.done(grant("client/bob", &["reader"]));
    for (identity, _) in FOUNDING {
        assert!(may(&store.state, identity, Capability::Write, "a"));
    }
    assert_eq!(store.state.access().grants().len(), FOUNDING.len() + 1);
}

#[test]
fn what_is_denied_no_other_rule_allows() {
    let mut store = Store::new();
    store.done(role("app", &["allow read:app/", "deny read:app/keys/"]));
    store.done(grant("client/bob", &["app", "reader"]));
    let may = |key| may(&store.state, "client/bob", Capability::Read, key);
    assert!(may("app/a") && may("elsewhere"));
    assert!(!may("app/keys/a"));
}

#[test]
fn a_range_needs_one_rule_over_all_of_it_and_none_that_denies_a_part() {
    let rights = rights(&["allow read:app/", "deny read:app/keys/"]);
    let range = |start: &str, end: &str| {
        KeyRange::from(holdfast_proto::v1::KeyRange {
            key: Bytes::copy_from_slice(start.as_bytes()),
            end: Bytes::copy_from_slice(end.as_bytes()),
        })
    };
    let may = |range: &KeyRange| rights.allow(Capability::Read, Target::Range(range));
    assert!(may(&range("app/a", "app/k")));
    assert!(may(&range("app/keys0", "app0")));
    for over in [
        range("app/", "app0"),
        range("app/a", "app/keys/\0"),
        range("app/keys/x", ""),
        range("app/keys/x", "app/keys/z"),
        range("a", "app/b"),
        range("app/l", "b"),
        KeyRange::all(),
    ] {
        assert!(!may(&over), "{over:?}");
    }
}

#[test]
fn reading_implies_listing_unless_listing_is_denied_and_listing_implies_nothing() {
    let may = |said: &[&str], what| rights(said).allow(what, Target::Key(b"app/a"));
    assert!(may(&["allow read:"], Capability::List));
    assert!(may(&["allow read:app/"], Capability::List));
    assert!(!may(&["allow read:", "deny list:app/"], Capability::List));
    assert!(!may(&["allow list:"], Capability::Read));
    assert!(!may(&["allow reveal:"], Capability::Read));
    assert!(!may(&["allow write:"], Capability::Read));
}

#[test]
fn administration_implies_nothing_about_keys_and_keys_imply_no_administration() {
    let may = |said: &[&str], what, target| rights(said).allow(what, target);
    for what in Capability::ALL.into_iter().filter(|one| !one.is_admin()) {
        assert!(!may(&["allow admin:*"], what, Target::Key(b"a")), "{what}");
    }
    let all = &["allow list,read,reveal,write,delete,lock:"];
    for what in Capability::ALL.into_iter().filter(|one| one.is_admin()) {
        assert!(!may(all, what, Target::Cluster), "{what}");
        assert!(may(&["allow admin:*"], what, Target::Cluster), "{what}");
    }
}

#[test]
fn a_reason_is_asked_for_if_any_rule_that_allows_wants_one() {
    let rights = rights(&["allow reveal:", "allow reveal+reason:app/"]);
    let decide = |key: &'static [u8]| rights.decide(Capability::Reveal, Target::Key(key));
    assert!(decide(b"app/a").allowed && decide(b"app/a").reason_required);
    assert!(decide(b"b").allowed && !decide(b"b").reason_required);
}

#[test]
fn a_decision_names_the_rule_that_made_it() {
    let rights = rights(&["allow write:app/", "deny write:app/keys/"]);
    let by = |key: &'static [u8]| {
        let decision = rights.decide(Capability::Write, Target::Key(key));
        decision.by.map(ToString::to_string)
    };
    let deny = by(b"app/keys/x");
    assert_eq!(deny.unwrap(), "rule 2 of role app (deny write:app/keys/)");
    assert_eq!(
        by(b"app/x").unwrap(),
        "rule 1 of role app (allow write:app/)"
    );
    assert_eq!(by(b"x"), None);
}

#[test]
fn the_last_who_can_change_the_policy_stays() {
    let mut store = Store::new();
    let last = |store: &mut Store, body| {
        let refused = store.refused(body);
        assert_reason(&refused, Reason::LastAdmin, "nothing was changed");
    };
    last(&mut store, revoke("client/admin"));
    last(&mut store, take("client/admin", &["admin"]));
    // Somebody who has the right and no certificate cannot come in to use it.
    store.done(role("boss", &["allow admin:policy"]));
    store.done(grant("client/bob", &["boss"]));
    last(&mut store, revoke("client/admin"));
    let issued = store.issue("client/bob");
    store.done(issued);
    store.done(revoke("client/admin"));
    last(&mut store, role("boss", &["allow admin:audit"]));
    last(&mut store, take("client/bob", &["boss"]));
    last(&mut store, revoke("client/bob"));
    assert!(!may(&store.state, "client/admin", Capability::Read, "a"));
}

#[test]
fn somebody_whose_certificate_ran_out_does_not_count_as_one_who_can_change_the_policy() {
    let mut store = Store::new();
    let issued = store.issue("client/bob");
    store.done(issued);
    store.done(grant("client/bob", &["admin"]));
    store.now += 366 * DAY_MS;
    let refused = store.refused(revoke("client/admin"));
    assert_reason(&refused, Reason::LastAdmin, "nothing was changed");
}

#[test]
fn who_was_revoked_has_no_rights_and_gets_none_again() {
    let mut store = Store::new();
    store.done(grant("client/bob", &["operator"]));
    store.done(revoke("client/bob"));
    assert!(store.state.access().rights("client/bob").is_revoked());
    assert!(!may(&store.state, "client/bob", Capability::Read, "a"));
    let refused = store.refused(grant("client/bob", &["reader"]));
    assert_reason(&refused, Reason::Invalid, "stays so");
    let issue = store.issue("client/bob");
    let refused = store.refused(issue);
    assert_reason(&refused, Reason::Invalid, "stays so");
}

#[test]
fn a_role_that_somebody_has_is_not_removed_and_those_built_in_stay_as_they_are() {
    let mut store = Store::new();
    store.done(role("app", &["allow read:app/"]));
    store.done(grant("client/bob", &["app"]));
    let refused = store.refused(Body::RoleRemove("app".into()));
    assert_reason(&refused, Reason::Invalid, "kvctl grant remove bob app");
    store.done(take("client/bob", &["app"]));
    store.done(Body::RoleRemove("app".into()));
    for name in ["admin", "operator", "reader", "revealer"] {
        let refused = store.refused(role(name, &["allow read:"]));
        assert_reason(&refused, Reason::Invalid, "built in");
    }
    let refused = store.refused(grant("client/bob", &["app"]));
    assert_reason(&refused, Reason::Invalid, "there is no role app");
}

#[test]
fn nobody_outside_gets_a_certificate_of_who_calls_from_within() {
    let mut store = Store::new();
    for local in ["client/embedded", "client/etcd-plaintext"] {
        let issue = store.issue(local);
        assert_reason(&store.refused(issue), Reason::Invalid, "another name");
    }
}

#[test]
fn the_policy_goes_through_an_archive_and_is_part_of_the_hash() {
    let mut store = Store::new();
    let mut hashes = vec![store.state.hash()];
    let issue = store.issue("client/bob");
    for body in [
        role("app", &["allow read,reveal+reason:app/"]),
        role("app", &["allow read,reveal:app/"]),
        role("app", &["deny read,write:app/"]),
        role("app", &["allow read,reveal+reason:app/"]),
        grant("client/bob", &["app"]),
        grant("client/bob", &["app", "reader"]),
        issue,
        revoke("client/eve"),
    ] {
        store.done(body);
        hashes.push(store.state.hash());
        let back = State::from_rows(store.state.rows()).unwrap();
        assert_eq!(back.hash(), store.state.hash());
        assert_eq!(back.access().version(), store.state.access().version());
    }
    let back = State::from_rows(store.state.rows()).unwrap();
    assert!(back.access().is_revoked("client/eve"));
    assert!(may(&back, "client/bob", Capability::Reveal, "app/a"));
    // The fourth is the first again; all others differ.
    assert_eq!(hashes.remove(4), hashes[1]);
    let different: std::collections::BTreeSet<_> =
        hashes.iter().map(|hash| *hash.as_bytes()).collect();
    assert_eq!(different.len(), hashes.len());
}

#[test]
fn a_restored_cluster_has_its_first_operator_back_and_keeps_all_else() {
    let mut store = Store::new();
    store.done(Body::ClusterInit(Box::new(holdfast_core::Founding {
        cluster_id: "c-1".into(),
        cluster_name: "shop".into(),
        founder: holdfast_proto::NodeId(1),
        name: "n1".parse().unwrap(),
        address: "127.0.0.1:7101".into(),
        public_key: Bytes::from_static(b"key"),
    })));
    let issue = store.issue("client/bob");
    store.done(issue);
    store.done(grant("client/bob", &["admin"]));
    store.done(grant("client/eve", &["reader"]));
    store.done(revoke("client/admin"));
    store.done(revoke("client/mallory"));
    let restored = store.state.clone().restored(Restoring {
        cluster_id: "c-2".into(),
        name: "n1".parse().unwrap(),
        address: "127.0.0.1:7201".into(),
        public_key: Bytes::from_static(b"new key"),
    });
    let state = restored.unwrap();
    assert!(may(&state, "client/admin", Capability::Write, "a"));
    assert!(may(&state, "client/eve", Capability::Read, "a"));
    assert!(state.access().is_revoked("client/mallory"));
}

#[test]
fn rules_are_read_as_they_are_written_and_what_makes_no_sense_is_none() {
    for text in [
        "allow read:app/",
        "allow list,read,write,delete:",
        "deny reveal:app/keys/",
        "allow read,reveal+reason:app/",
        "allow admin:members",
        "allow admin:policy,admin:audit",
        "allow admin:*",
        "allow read:a:b",
    ] {
        assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
    }
    for (text, why) in [
        ("read:app/", RuleError::Effect),
        ("allow read", RuleError::NoPrefix),
        ("allow admin:members,read", RuleError::AdminWithKeys),
        ("deny reveal+reason:a", RuleError::ReasonWithoutReveal),
        ("allow read+reason:a", RuleError::ReasonWithoutReveal),
    ] {
        assert_eq!(text.parse::<Rule>(), Err(why), "{text}");
    }
    assert!(matches!(
        "allow reed:app/".parse::<Rule>(),
        Err(RuleError::Capability(_))
    ));
    let long = format!("allow read:{}", "x".repeat(limits::KEY_BYTES + 1));
    assert_eq!(long.parse::<Rule>(), Err(RuleError::PrefixTooLong));
    assert!(Role::new("App", Vec::new()).is_err());
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let keys = proptest::sample::subsequence(&Capability::ALL[..6], 1..=6);
    (any::<bool>(), keys, "[ab/]{0,3}").prop_map(|(deny, capabilities, prefix)| {
        let capabilities: Capabilities = capabilities.into_iter().collect();
        Rule::new(deny, capabilities, prefix.into_bytes().into(), false).unwrap()
    })
}

proptest! {
    /// What may be done to a range may be done to each key of it: no range read shows what a read
    /// of one key would refuse.
    #[test]
    fn a_range_is_never_allowed_where_one_of_its_keys_is_not(
        said in proptest::collection::vec(any_rule(), 0..6),
        (start, end) in ("[ab/]{0,4}", "[ab/]{0,4}"),
        keys in proptest::collection::vec("[ab/]{1,4}", 32),
        what in proptest::sample::select(&Capability::ALL[..6]),
    ) {
        let rights = Rights::of([&Role::new("r", said).unwrap()]);
        let range = KeyRange::from(holdfast_proto::v1::KeyRange {
            key: start.into_bytes().into(),
            end: end.into_bytes().into(),
        });
        if rights.allow(what, Target::Range(&range)) {
            for key in keys.iter().filter(|key| range.contains(key.as_bytes())) {
                prop_assert!(rights.allow(what, Target::Key(key.as_bytes())), "{key}");
            }
        }
    }

    /// The quick answer is the explained one.
    #[test]
    fn what_is_allowed_quickly_is_what_the_decision_says(
        said in proptest::collection::vec(any_rule(), 0..6),
        key in "[ab/]{1,4}",
        what in proptest::sample::select(&Capability::ALL[..]),
    ) {
        let rights = Rights::of([&Role::new("r", said).unwrap()]);
        let target = Target::Key(key.as_bytes());
        prop_assert_eq!(rights.allow(what, target), rights.decide(what, target).allowed);
        if rights.allow(what, target) {
            prop_assert!(rights.has_any([what].into_iter().collect()));
        }
    }

    #[test]
    fn any_text_is_a_rule_or_none_and_a_rule_is_read_back_as_it_was(text in "\\PC{0,40}") {
        for text in [text.clone(), format!("allow {text}"), format!("deny read:{text}")] {
            if let Ok(rule) = text.parse::<Rule>() {
                prop_assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule));
            }
        }
    }
}
