//! Prompts: what is shown, what is not, and how the terminal is left.

use crate::{home::Home, person::Person};

impl Home {
    fn person(&self, arguments: &[&str]) -> Person {
        Person::runs(self.command(arguments))
    }
}

#[test]
fn a_secret_is_asked_for_twice_and_never_shown() {
    let home = Home::new();
    let mut person = home.person(&["secret", "put", "svc/db"]);
    person.sees("secret for svc/db");
    person.sees("(not shown): ");
    assert!(!person.echoes(), "what is typed would be shown");
    person.types(b"hunter2\n");
    person.sees("once more: ");
    person.types(b"hunter3\n");
    let (code, seen, echoes) = person.leaves();
    assert_eq!(code, 1, "{seen}");
    assert!(
        seen.contains("the two are not the same; nothing was put"),
        "{seen}"
    );
    assert!(!seen.contains("hunter"), "{seen}");
    assert!(echoes, "the terminal was left as it should not be");
    home.kvctl(&["secret", "get", "svc/db"])
        .fails(1, &["kvctl secret list"]);
}

#[test]
fn a_secret_that_is_typed_twice_is_put_as_it_was_typed() {
    let home = Home::new();
    let mut person = home.person(&["secret", "put", "svc/db"]);
    person.sees("(not shown): ");
    // Typed ahead, as a paste does.
    person.types("pä\tsswort\x7fd\nbeside\x15pä\tsswort\x7fd\r".as_bytes());
    let (code, seen, echoes) = person.leaves();
    assert_eq!(code, 0, "{seen}");
    assert!(
        seen.contains("svc/db is at revision 1, version 1"),
        "{seen}"
    );
    assert!(!seen.contains("sswor"), "{seen}");
    assert!(echoes);
    let opened = home.kvctl(&["secret", "get", "svc/db"]).succeeds();
    assert_eq!(opened, "pä\tssword".as_bytes());
}

#[test]
fn a_terminal_is_not_read_as_a_pipe_for_it_shows_what_is_typed() {
    let home = Home::new();
    let (code, seen, _) = home.person(&["secret", "put", "svc/db", "-"]).leaves();
    assert_eq!(code, 2, "{seen}");
    assert!(seen.contains("leave the - out"), "{seen}");
}

#[test]
fn ctrl_c_and_an_arrow_key_end_the_asking_and_leave_the_terminal_well() {
    let home = Home::new();
    for (keys, words) in [
        (&b"hunter2\x03"[..], "interrupted; nothing was done"),
        (b"hunter2\x1b[A", "a control character"),
        (b"\x04", "interrupted; nothing was done"),
    ] {
        let mut person = home.person(&["secret", "put", "svc/db"]);
        person.sees("(not shown): ");
        person.types(keys);
        let (code, seen, echoes) = person.leaves();
        assert_eq!(code, 1, "{seen}");
        assert!(seen.contains(words), "{seen}");
        assert!(!seen.contains("hunter2"), "{seen}");
        assert!(echoes);
    }
    assert!(home.cluster.shared.world().entries.is_empty());
}

#[test]
fn destroying_is_explained_and_asked_for() {
    let home = Home::new();
    home.kvctl_with(&["secret", "put", "svc/db", "-"], b"hunter2")
        .succeeds();
    for (answer, code, words) in [
        (&b"\n"[..], 1, "nothing was destroyed"),
        (b"yess\n", 1, "nothing was destroyed"),
        (b"y\n", 0, "1 version of svc/db destroyed"),
    ] {
        let mut person = home.person(&["secret", "destroy", "svc/db"]);
        person.sees("[y/N] ");
        person.types(answer);
        let (ended, seen, _) = person.leaves();
        assert_eq!(ended, code, "{seen}");
        for words in [
            "every version of svc/db, and the key",
            "thrown away on every node",
            "Backups made before",
            words,
        ] {
            assert!(seen.contains(words), "{words:?} is not in {seen}");
        }
    }
}

#[test]
fn a_reason_is_asked_for_where_the_policy_wants_one() {
    let home = Home::new();
    home.kvctl_with(&["secret", "put", "svc/db", "-"], b"hunter2")
        .succeeds();
    home.cluster.shared.world().wants_reason = true;
    home.kvctl(&["secret", "get", "svc/db"])
        .fails(1, &["the policy wants a reason", "--reason WHY"]);
    let mut person = home.person(&["secret", "get", "svc/db"]);
    person.sees("Why is svc/db opened? ");
    person.types(b" a look \n");
    let (code, seen, _) = person.leaves();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("hunter2\r\n"), "{seen}");
    let given = home.kvctl(&["secret", "get", "svc/db", "--reason", "another"]);
    assert_eq!(given.succeeds(), b"hunter2");
    let world = home.cluster.shared.world();
    let reasons: Vec<_> = world.reveals.iter().map(|one| one.2.as_str()).collect();
    assert_eq!(reasons, ["a look", "another"]);
}

#[test]
fn what_is_no_text_is_not_printed_to_a_terminal_unless_told() {
    let home = Home::new();
    home.kvctl_with(&["secret", "put", "svc/db", "-"], b"\x1b[31mhunter2")
        .succeeds();
    let (code, seen, _) = home.person(&["secret", "get", "svc/db"]).leaves();
    assert_eq!(code, 1, "{seen}");
    assert!(
        seen.contains("--binary") && !seen.contains("hunter2"),
        "{seen}"
    );
    let (code, seen, _) = home
        .person(&["secret", "get", "svc/db", "--binary"])
        .leaves();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("\x1b[31mhunter2"), "{seen}");
}
