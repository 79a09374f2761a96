//! Values that tests make, without a cluster.

use holdfast_client::{Revision, Timestamp};

use super::*;

/// Of plain values.
pub(crate) fn values(prefix: &str, given: &[(&str, Value)]) -> Values {
    let mut values = Values::new(Place::default().node("db7").role("web"), 7, true);
    values.prefixes.push(prefix.to_owned());
    for (key, value) in given {
        let revision = Revision::new(5).unwrap();
        let entry = Entry {
            key: (*key).try_into().unwrap(),
            value: Some(value.clone()),
            created: revision,
            modified: revision,
            version: 1,
            lease: None,
            author: String::new(),
            note: String::new(),
            at: Timestamp::default(),
        };
        let key = (*key).to_owned();
        values.keys.insert(key, Held::Plain(Arc::new(entry)));
    }
    values.newest = 5;
    values
}

/// Of one secret that was not opened.
pub(crate) fn closed(prefix: &str, key: &str) -> Values {
    let mut values = values(prefix, &[]);
    values.keys.insert(key.to_owned(), Held::Closed);
    values
}

#[test]
fn what_is_under_no_prefix_of_the_set_is_not_had() {
    let values = values("web/", &[("web/a", Value::Integer(1))]);
    assert_eq!(values.plain("web/a"), Ok(Some(&Value::Integer(1))));
    assert_eq!(values.plain("web/b"), Ok(None));
    assert_eq!(
        values.plain("other/a"),
        Err(Missing::Prefix("other/a".to_owned()))
    );
    assert!(values.under("we").is_err());
}
