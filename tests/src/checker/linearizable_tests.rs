use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::check;
use crate::history::{Answer, Call, Change, Operation, Outcome, note};

const KEY: &str = "k";

struct Builder(Vec<Operation>);

impl Builder {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn call(mut self, invoked: u64, returned: u64, call: Call, outcome: Outcome) -> Self {
        let number = self.0.len() as u64 + 1;
        let returned = if matches!(outcome, Outcome::Unknown(_)) {
            u64::MAX
        } else {
            returned
        };
        self.0.push(Operation {
            number,
            process: number,
            call,
            invoked_ns: invoked,
            returned_ns: returned,
            outcome,
        });
        self
    }

    fn put(self, invoked: u64, returned: u64, value: &str) -> Self {
        let call = Call::Put {
            key: KEY.into(),
            value: value.into(),
        };
        self.call(
            invoked,
            returned,
            call,
            Outcome::Ok(Answer::Written { revision: 1 }),
        )
    }

    fn lost_put(self, invoked: u64, value: &str) -> Self {
        let call = Call::Put {
            key: KEY.into(),
            value: value.into(),
        };
        self.call(invoked, 0, call, Outcome::Unknown("timeout".into()))
    }

    fn get(self, invoked: u64, returned: u64, value: Option<&str>) -> Self {
        let value = value.map(str::to_owned);
        let answer = Answer::Read {
            value,
            modified: 0,
            revision: 0,
        };
        self.call(
            invoked,
            returned,
            Call::Get { key: KEY.into() },
            Outcome::Ok(answer),
        )
    }

    fn set(
        self,
        invoked: u64,
        returned: u64,
        expected: Option<&str>,
        value: &str,
        ok: bool,
    ) -> Self {
        let call = Call::CompareAndSet {
            key: KEY.into(),
            expected: expected.map(str::to_owned),
            value: value.into(),
        };
        let answer = if ok {
            Answer::Written { revision: 1 }
        } else {
            Answer::Conflict { found: 0 }
        };
        self.call(invoked, returned, call, Outcome::Ok(answer))
    }

    fn delete(self, invoked: u64, returned: u64, existed: bool) -> Self {
        let answer = Answer::Deleted {
            existed,
            revision: u64::from(existed),
        };
        self.call(
            invoked,
            returned,
            Call::Delete { key: KEY.into() },
            Outcome::Ok(answer),
        )
    }

    fn holds(&self) -> bool {
        check(&self.0, None).is_empty()
    }
}

#[test]
fn an_empty_history_holds() {
    assert!(Builder::new().holds());
}

#[test]
fn overlapping_calls_may_take_effect_in_either_order() {
    let before = Builder::new().put(0, 10, "a").get(5, 15, None);
    let after = Builder::new().put(0, 10, "a").get(5, 15, Some("a"));
    assert!(before.holds() && after.holds());
}

#[test]
fn a_stale_read_is_caught() {
    assert!(
        !Builder::new()
            .put(0, 1, "a")
            .put(2, 3, "b")
            .get(4, 5, Some("a"))
            .holds()
    );
}

#[test]
fn a_lost_write_is_caught() {
    assert!(!Builder::new().put(0, 1, "a").get(2, 3, None).holds());
}

#[test]
fn a_value_that_nobody_wrote_is_caught() {
    assert!(!Builder::new().put(0, 1, "a").get(2, 3, Some("b")).holds());
}

#[test]
fn reads_that_go_back_in_time_are_caught() {
    let history = Builder::new()
        .put(0, 1, "a")
        .put(2, 100, "b")
        .get(10, 11, Some("b"))
        .get(12, 13, Some("a"));
    assert!(!history.holds());
}

#[test]
fn two_readers_that_disagree_on_the_order_of_two_writes_are_caught() {
    let history = Builder::new()
        .put(0, 100, "a")
        .put(0, 100, "b")
        .get(10, 20, Some("a"))
        .get(30, 40, Some("b"))
        .get(50, 60, Some("a"));
    assert!(!history.holds());
}

#[test]
fn an_unknown_write_may_have_happened_late_or_never() {
    let late = Builder::new()
        .lost_put(0, "a")
        .get(5, 6, None)
        .get(7, 8, Some("a"));
    let never = Builder::new()
        .lost_put(0, "a")
        .get(5, 6, None)
        .get(7, 8, None);
    assert!(late.holds() && never.holds());
}

#[test]
fn an_unknown_write_that_comes_and_goes_is_caught() {
    let history = Builder::new()
        .put(0, 1, "a")
        .lost_put(2, "b")
        .get(5, 6, Some("b"))
        .get(7, 8, Some("a"));
    assert!(!history.holds());
}

#[test]
fn an_unknown_write_before_its_invoke_is_caught() {
    assert!(!Builder::new().get(0, 1, Some("a")).lost_put(2, "a").holds());
}

#[test]
fn two_compare_and_sets_that_both_won_are_caught() {
    let history = Builder::new()
        .put(0, 1, "a")
        .set(2, 10, Some("a"), "b", true)
        .set(2, 10, Some("a"), "c", true);
    assert!(!history.holds());
}

#[test]
fn of_two_compare_and_sets_one_wins() {
    let history = Builder::new()
        .put(0, 1, "a")
        .set(2, 10, Some("a"), "b", true)
        .set(2, 10, Some("a"), "c", false)
        .get(11, 12, Some("b"));
    assert!(history.holds());
}

#[test]
fn a_compare_and_set_refused_without_a_reason_is_caught() {
    assert!(
        !Builder::new()
            .put(0, 1, "a")
            .set(2, 3, Some("a"), "b", false)
            .holds()
    );
}

#[test]
fn a_compare_and_set_that_wants_absence_fails_on_a_key_that_is_there() {
    assert!(
        !Builder::new()
            .put(0, 1, "a")
            .set(2, 3, None, "b", true)
            .holds()
    );
    assert!(
        Builder::new()
            .put(0, 1, "a")
            .delete(2, 3, true)
            .set(4, 5, None, "b", true)
            .holds()
    );
}

#[test]
fn a_delete_that_found_nothing_where_something_was_is_caught() {
    assert!(!Builder::new().put(0, 1, "a").delete(2, 3, false).holds());
    assert!(!Builder::new().delete(2, 3, true).holds());
}

#[test]
fn a_deleted_value_that_is_read_again_is_caught() {
    assert!(
        !Builder::new()
            .put(0, 1, "a")
            .delete(2, 3, true)
            .get(4, 5, Some("a"))
            .holds()
    );
}

#[test]
fn the_stores_account_settles_unknown_writes() {
    let history = Builder::new()
        .put(0, 1, "a")
        .lost_put(2, "b")
        .get(5, 6, Some("b"));
    let change = Change {
        revision: 1,
        key: KEY.into(),
        value: Some("a".into()),
        note: note(1),
    };
    let hidden = check(&history.0, Some(std::slice::from_ref(&change)));
    assert_eq!(
        hidden.len(),
        1,
        "a value read that the store says was never written"
    );
    let told = Change {
        revision: 2,
        key: KEY.into(),
        value: Some("b".into()),
        note: note(2),
    };
    assert!(check(&history.0, Some(&[change, told])).is_empty());
}

#[test]
fn a_write_of_several_keys_is_judged_on_each() {
    let many = Call::PutMany {
        keys: vec![KEY.into(), "other".into()],
        value: "a".into(),
    };
    let history = Builder::new()
        .call(0, 1, many, Outcome::Ok(Answer::Written { revision: 1 }))
        .get(2, 3, None);
    assert!(!history.holds());
}

#[test]
fn a_long_history_of_many_clients_is_judged_quickly() {
    let mut history = Builder::new();
    for round in 0..2_000_u64 {
        let at = round * 100;
        for client in 0..8 {
            history = history.put(at + client, at + 50 + client, &format!("{round}-{client}"));
        }
        history = history.get(at + 60, at + 99, Some(&format!("{round}-3")));
    }
    assert!(history.holds());
}

/// One real register, calls at random overlaps: each call takes effect at a moment within it.
fn executions() -> impl Strategy<Value = Vec<(u64, u64, u64, u8)>> {
    let call = (
        0_u64..200,
        0_u64..30,
        0_u64..30,
        prop_oneof![Just(0_u8), Just(1), Just(2), Just(3)],
    );
    proptest::collection::vec(call, 1..40)
}

fn execute(calls: Vec<(u64, u64, u64, u8)>, spoil: Option<usize>) -> (Builder, bool) {
    let mut calls: Vec<_> = calls
        .into_iter()
        .map(|(at, before, after, kind)| (at + 30, before, after, kind))
        .collect();
    calls.sort_unstable();
    let mut register: Option<String> = None;
    let mut history = Builder::new();
    let mut spoiled = false;
    for (place, (at, before, after, kind)) in calls.into_iter().enumerate() {
        let (invoked, returned) = (
            at * 1_000 + place as u64 - before * 1_000,
            (at + after) * 1_000 + place as u64,
        );
        let value = format!("v{place}");
        history = match kind {
            0 => {
                register = Some(value.clone());
                history.put(invoked, returned, &value)
            }
            1 => {
                let existed = register.take().is_some();
                history.delete(invoked, returned, existed)
            }
            2 => {
                let expected = register.replace(value.clone());
                history.set(invoked, returned, expected.as_deref(), &value, true)
            }
            _ if spoil == Some(place) => {
                spoiled = true;
                history.get(invoked, returned, Some("never written"))
            }
            _ => history.get(invoked, returned, register.as_deref()),
        };
    }
    (history, spoiled)
}

proptest! {
    #[test]
    fn what_a_real_register_did_is_accepted(calls in executions()) {
        let (history, _) = execute(calls, None);
        proptest::prop_assert!(history.holds());
    }

    #[test]
    fn a_spoiled_read_is_never_accepted(calls in executions(), place in any::<proptest::sample::Index>()) {
        let place = place.index(calls.len());
        let (history, spoiled) = execute(calls, Some(place));
        proptest::prop_assert_eq!(history.holds(), !spoiled);
    }

    /// Against the naive judge: try every order of a few calls.
    #[test]
    fn the_search_agrees_with_trying_every_order(
        calls in proptest::collection::vec((0_u64..12, 1_u64..8, 0_u8..4, 0_u8..3), 1..6),
    ) {
        let mut history = Builder::new();
        for (invoked, length, kind, value) in calls {
            let returned = invoked + length;
            let text = ["a", "b", "c"][usize::from(value)];
            history = match kind {
                0 => history.put(invoked, returned, text),
                1 => history.get(invoked, returned, (value > 0).then_some(text)),
                2 => history.set(invoked, returned, Some("a"), text, value > 0),
                _ => history.delete(invoked, returned, value > 0),
            };
        }
        proptest::prop_assert_eq!(history.holds(), naive(&history.0, &mut Vec::new(), None));
    }
}

fn naive(all: &[Operation], placed: &mut Vec<usize>, register: Option<String>) -> bool {
    if placed.len() == all.len() {
        return true;
    }
    for next in 0..all.len() {
        let rest = || (0..all.len()).filter(|other| *other != next);
        let is_too_late = rest()
            .any(|other| !placed.contains(&other) && all[other].returned_ns < all[next].invoked_ns);
        if placed.contains(&next) || is_too_late {
            continue;
        }
        let after = match (&all[next].call, &all[next].outcome) {
            (Call::Get { .. }, Outcome::Ok(Answer::Read { value, .. })) => {
                (*value == register).then(|| register.clone())
            }
            (Call::Put { value, .. }, _) => Some(Some(value.clone())),
            (
                Call::CompareAndSet {
                    expected, value, ..
                },
                Outcome::Ok(answer),
            ) => match answer {
                Answer::Written { .. } => (*expected == register).then(|| Some(value.clone())),
                _ => (*expected != register).then(|| register.clone()),
            },
            (Call::Delete { .. }, Outcome::Ok(Answer::Deleted { existed, .. })) => {
                (*existed == register.is_some()).then_some(None)
            }
            _ => None,
        };
        if let Some(after) = after {
            placed.push(next);
            if naive(all, placed, after) {
                return true;
            }
            placed.pop();
        }
    }
    false
}
