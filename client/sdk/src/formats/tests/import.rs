use super::{
    super::{Current, Format, ImportPlan, PlanError, import_prefix, read},
    text,
};
use crate::{Key, Value, limits};

fn current(key: &str, value: Value, modified: u64) -> Current {
    Current {
        key: Key::try_from(key).unwrap(),
        modified,
        value,
    }
}

fn plan(file: &str, format: Format, prefix: &str, now: Vec<Current>) -> ImportPlan {
    ImportPlan::new(&read(file.as_bytes(), format).unwrap(), prefix, now).unwrap()
}

#[test]
fn only_what_differs_is_written_and_only_if_nobody_came_between() {
    let now = vec![
        current("p/a", text("1"), 4),
        current("p/b", text("old"), 7),
        current("p/other", text("stays"), 9),
    ];
    let plan = plan("a='1'\nb=new\nc=3\n", Format::Env, "p", now);
    assert_eq!(plan.unchanged(), 1);
    let changes: Vec<_> = plan
        .changes()
        .iter()
        .map(|change| {
            (
                change.key.to_string(),
                change.before.is_some(),
                change.after.is_some(),
            )
        })
        .collect();
    assert_eq!(
        changes,
        [("p/b".into(), true, true), ("p/c".into(), false, true)]
    );
    let transactions = plan.transactions();
    assert_eq!(transactions.len(), 1);
    let expected: Vec<_> = transactions[0]
        .clone()
        .into_wire()
        .compare
        .into_iter()
        .map(|compare| compare.target)
        .collect();
    use holdfast_proto::v1::compare::Target;
    assert_eq!(
        expected,
        [Some(Target::Modified(7)), Some(Target::Modified(0))]
    );
}

#[test]
fn a_file_that_deletes_takes_only_what_it_does_not_set() {
    let file = "Windows Registry Editor Version 5.00\n\n[HKEY_A\\T]\n\"gone\"=-\n\"never was\"=-\n\
                [-HKEY_A\\T\\Old]\n[HKEY_A\\T\\Old]\n\"kept\"=dword:1\n";
    let now = vec![
        current("p/gone", text("x"), 1),
        current("p/Old/a", text("x"), 1),
        current("p/Old/kept", Value::Integer(1), 1),
        current("p/Older", text("x"), 1),
    ];
    let plan = plan(file, Format::Reg, "p/", now);
    let changes: Vec<_> = plan
        .changes()
        .iter()
        .map(|change| (change.key.to_string(), change.after.is_some()))
        .collect();
    assert_eq!(
        changes,
        [("p/Old/a".into(), false), ("p/gone".into(), false)]
    );
    assert_eq!(plan.unchanged(), 1);
}

#[test]
fn a_transaction_holds_at_most_512_keys_and_fits_a_request() {
    let lines: String = (0..1200).map(|number| format!("K{number}=x\n")).collect();
    let sizes = |plan: ImportPlan| -> Vec<_> {
        plan.transactions()
            .iter()
            .map(|transaction| transaction.operations())
            .collect()
    };
    assert_eq!(
        sizes(plan(&lines, Format::Env, "", Vec::new())),
        [512, 512, 176]
    );
    let large = "v".repeat(limits::VALUE_BYTES);
    let lines: String = (0..5)
        .map(|number| format!("K{number}={large}\n"))
        .collect();
    assert_eq!(sizes(plan(&lines, Format::Env, "", Vec::new())), [3, 2]);
}

#[test]
fn a_prefix_ends_where_the_names_begin() {
    assert_eq!(import_prefix("config/am"), "config/am/");
    assert_eq!(import_prefix("config/am/"), "config/am/");
    assert_eq!(import_prefix(""), "");
}

#[test]
fn a_prefix_that_makes_keys_too_long_is_refused_by_name() {
    let document = read(b"NAME=1", Format::Env).unwrap();
    let prefix = "p".repeat(limits::KEY_BYTES);
    let error = ImportPlan::new(&document, &prefix, Vec::new()).unwrap_err();
    assert!(matches!(&error, PlanError::Key { name, .. } if name == "NAME"));
    assert!(error.to_string().contains("shorter prefix"), "{error}");
}

#[test]
fn a_plain_value_never_replaces_a_secret() {
    let secret = || current("p/password", Value::Sealed(Default::default()), 1);
    let document = read(b"password=hunter2\n", Format::Env).unwrap();
    let error = ImportPlan::new(&document, "p", [secret()]).unwrap_err();
    assert!(matches!(&error, PlanError::Secret { key } if key.to_string() == "p/password"));
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let other = plan("user=admin\n", Format::Env, "p", vec![secret()]);
    assert_eq!(other.changes().len(), 1, "beside a secret all is as ever");
}
