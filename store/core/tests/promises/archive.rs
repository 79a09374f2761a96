//! Rows that are not a state are refused, by what is wrong with them.

use holdfast_core::{Limits, RowError, State};
use holdfast_proto::log::v1::{StateRow, state_row::Row};

use crate::store::{Store, asked, grant, put, put_under, request};

fn rows() -> Vec<StateRow> {
    let mut store = Store::new();
    store.done(grant(1));
    store.done(put_under("a", 1));
    store.apply(asked(request(1, 1, 1), put("b", "1")));
    store.put("b", "2");
    store.delete("b");
    store.state.rows().collect()
}

fn without(matches: fn(&Row) -> bool) -> Result<State, RowError> {
    let mut rows = rows();
    let before = rows.len();
    rows.retain(|row| !row.row.as_ref().is_some_and(matches));
    assert!(rows.len() < before);
    State::from_rows(rows)
}

#[test]
fn rows_make_the_same_state_again() {
    let state = State::from_rows(rows()).unwrap();
    assert!(state.rows().eq(rows()));
    assert_eq!(*state.limits(), Limits::default());
}

#[test]
fn rows_without_a_head_or_with_two_are_refused() {
    assert!(matches!(
        without(|row| matches!(row, Row::Head(_))),
        Err(RowError::Head)
    ));
    let mut twice = rows();
    twice.push(twice[0].clone());
    assert!(matches!(State::from_rows(twice), Err(RowError::Head)));
    assert!(matches!(State::from_rows([]), Err(RowError::Head)));
}

#[test]
fn rows_that_contradict_each_other_are_refused() {
    for result in [
        without(|row| matches!(row, Row::Lease(_))),
        without(|row| matches!(row, Row::Session(_))),
        without(|row| matches!(row, Row::Version(version) if version.kind.is_empty())),
    ] {
        assert!(
            matches!(result, Err(RowError::Contradiction(_))),
            "{result:?}"
        );
    }
    let mut twice = rows();
    let entry = twice
        .iter()
        .find(|row| matches!(row.row, Some(Row::Entry(_))))
        .cloned();
    twice.extend(entry);
    assert!(matches!(
        State::from_rows(twice),
        Err(RowError::Contradiction(_))
    ));
}

#[test]
fn a_row_of_an_unknown_kind_is_refused_as_newer() {
    let mut rows = rows();
    rows.push(StateRow { row: None });
    let error = State::from_rows(rows).unwrap_err();
    assert!(error.to_string().contains("newer version"));
}

#[test]
fn damaged_fields_are_refused() {
    let damage: [fn(&mut Row); 4] = [
        |row| {
            if let Row::Version(version) = row {
                version.digest.truncate(31)
            }
        },
        |row| {
            if let Row::Version(version) = row {
                version.revision = 0
            }
        },
        |row| {
            if let Row::Entry(entry) = row {
                entry.value = None
            }
        },
        |row| {
            if let Row::Entry(entry) = row {
                entry.modified = 1_000
            }
        },
    ];
    for damage in damage {
        let mut rows = rows();
        rows.iter_mut()
            .filter_map(|row| row.row.as_mut())
            .for_each(damage);
        assert!(State::from_rows(rows).is_err());
    }
}
