//! The commands, as programs and pipes use them.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
    time::{Duration, Instant},
};

use crate::{fake::Manner, home::Home};

#[test]
fn a_secret_is_put_opened_listed_and_told_of() {
    let home = Home::new();
    let put = home.kvctl_with(
        &[
            "-o", "json", "secret", "put", "svc/db", "-", "--note", "first",
        ],
        b"hunter1\n",
    );
    let put: serde_json::Value = serde_json::from_slice(&put.succeeds()).unwrap();
    assert_eq!(
        (&put["key"], &put["version"]),
        (&"svc/db".into(), &1.into())
    );
    let file = home.folder.path().join("file");
    fs::write(&file, b"\0\xffhunter2").unwrap();
    let file = file.to_str().unwrap();
    home.kvctl(&[
        "secret",
        "put",
        "svc/db",
        "--file",
        file,
        "--if-revision",
        "1",
    ])
    .succeeds();
    home.kvctl(&[
        "secret",
        "put",
        "svc/db",
        "--file",
        file,
        "--if-revision",
        "1",
    ])
    .fails(1, &["is at revision 2, not at revision 1"]);
    home.kvctl(&["secret", "put", "svc/api", "--insecure-argv", "-hunter3"])
        .succeeds();
    home.kvctl(&["put", "svc/plain", "1"]).succeeds();

    for output in ["table", "raw"] {
        let opened = home.kvctl(&["-o", output, "secret", "get", "svc/db"]);
        assert_eq!(opened.succeeds(), b"\0\xffhunter2");
    }
    let older = home.kvctl(&["secret", "get", "svc/db", "--revision", "1"]);
    assert_eq!(older.succeeds(), b"hunter1\n");
    let opened = home.json(&["secret", "get", "svc/api"]);
    assert_eq!(
        (&opened["type"], &opened["value"]),
        (&"text".into(), &"-hunter3".into())
    );
    let opened = home.json(&["secret", "get", "svc/db"]);
    assert_eq!(
        (&opened["type"], &opened["value"]),
        (&"bytes".into(), &"AP9odW50ZXIy".into())
    );
    let kept = home.folder.path().join("kept");
    let kept_path = kept.to_str().unwrap();
    home.kvctl(&["secret", "get", "svc/api", "--file", kept_path])
        .succeeds();
    assert_eq!(fs::read(&kept).unwrap(), b"-hunter3");
    assert_eq!(
        fs::metadata(&kept).unwrap().permissions().mode() & 0o777,
        0o600
    );
    home.kvctl(&["secret", "get", "svc/api", "--file", kept_path])
        .fails(1, &["could not be written"]);

    let listed = home.json(&["secret", "list", "svc/"]);
    let keys: Vec<_> = listed["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["key"])
        .collect();
    assert_eq!(keys, ["svc/api", "svc/db"]);
    let history = home.json(&["secret", "history", "svc/db"]);
    let whats: Vec<_> = history["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["what"])
        .collect();
    assert_eq!(whats, ["secret", "secret"]);
    for arguments in [
        &["secret", "list"][..],
        &["secret", "history", "svc/db"],
        &["list"],
        &["history", "svc/db"],
        &["-o", "json", "list"],
        &["-o", "raw", "list"],
    ] {
        let shown = String::from_utf8(home.kvctl(arguments).succeeds()).unwrap();
        assert!(shown.contains("svc") || shown.contains("secret"), "{shown}");
        assert!(
            !shown.contains("hunter") && !shown.contains("payload"),
            "{shown}"
        );
    }
    home.kvctl(&["secret", "history", "svc/plain"])
        .fails(1, &["no version of svc/plain is a secret"]);

    home.kvctl(&["secret", "destroy", "svc/db", "--yes", "--revision", "1"])
        .succeeds();
    assert_eq!(
        home.json(&["secret", "destroy", "svc/db", "--yes"])["destroyed"],
        1
    );
    home.kvctl(&["secret", "get", "svc/db"])
        .fails(1, &["there is no such secret"]);
}

#[test]
fn a_newline_that_echo_wrote_is_kept_and_remarked_on() {
    let home = Home::new();
    let put = home.kvctl_with(&["secret", "put", "svc/db", "-"], b"hunter2\n");
    assert!(put.err.contains("printf %s"), "{}", put.err);
    put.succeeds();
    let put = home.kvctl_with(&["secret", "put", "svc/key", "-"], b"-----BEGIN\nhunter2\n");
    assert!(!put.err.contains("printf"), "{}", put.err);
}

#[test]
fn a_generated_secret_is_shown_only_when_that_is_asked_for() {
    let home = Home::new();
    let quiet = home.kvctl(&["secret", "generate", "svc/a", "--length", "40"]);
    assert!(quiet.out.is_empty());
    let opened = home.kvctl(&["secret", "get", "svc/a"]).succeeds();
    assert_eq!(opened.len(), 40);
    assert!(!quiet.err.contains(std::str::from_utf8(&opened).unwrap()));
    let shown = home.kvctl(&["secret", "generate", "svc/b", "--alphabet", "hex", "--show"]);
    let shown = shown.succeeds();
    assert_eq!(home.kvctl(&["secret", "get", "svc/b"]).succeeds(), shown);
    assert!(shown.len() == 32 && shown.iter().all(u8::is_ascii_hexdigit));
    let weak = home.kvctl(&[
        "secret",
        "generate",
        "svc/pin",
        "--alphabet",
        "digits",
        "--length",
        "4",
    ]);
    assert!(weak.err.contains("13 bits of chance"), "{}", weak.err);
    home.kvctl(&["secret", "generate", "svc/a", "--if-revision", "0"])
        .fails(1, &["not absent"]);
}

#[test]
fn commands_for_plain_values_keep_off_secrets() {
    let home = Home::new();
    home.kvctl_with(&["secret", "put", "svc/db", "-"], b"hunter2")
        .succeeds();
    for output in ["table", "json", "raw"] {
        home.kvctl(&["-o", output, "get", "svc/db"])
            .fails(1, &["kvctl secret get svc/db"]);
    }
    home.kvctl(&["put", "svc/db", "plain"])
        .fails(1, &["--replace-secret", "nothing was written"]);
    home.kvctl(&["export", "svc", "--format", "env"])
        .fails(1, &["only secrets lie under svc/"]);
    home.kvctl(&["put", "svc/name", "billing"]).succeeds();
    let file = home.folder.path().join("svc.env");
    let file = file.to_str().unwrap();
    let exported = home.kvctl(&["-q", "export", "svc", "--format", "env", "--file", file]);
    assert!(
        exported.err.contains("1 secret left out"),
        "{}",
        exported.err
    );
    assert_eq!(fs::read_to_string(file).unwrap(), "name=billing\n");
    fs::write(file, "db=plain\n").unwrap();
    home.kvctl(&["import", file, "--prefix", "svc"])
        .fails(1, &["svc/db is a secret"]);
    home.kvctl(&["put", "svc/db", "plain", "--replace-secret"])
        .succeeds();
    assert_eq!(
        home.kvctl(&["-o", "raw", "get", "svc/db"]).succeeds(),
        b"plain"
    );
}

#[test]
fn no_secret_is_in_the_arguments_or_the_environment_of_a_running_kvctl() {
    let home = Home::new();
    home.cluster.all(Manner::Silent);
    let mut kvctl = home
        .command(&["secret", "put", "svc/db", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = kvctl.stdin.take().unwrap();
    input.write_all(b"hunter2").unwrap();
    drop(input);
    // It connects once it has read all of it.
    let deadline = Instant::now() + PATIENCE;
    let socket = || {
        let open = fs::read_dir(format!("/proc/{}/fd", kvctl.id())).unwrap();
        open.filter_map(|one| fs::read_link(one.ok()?.path()).ok())
            .any(|target| target.to_string_lossy().starts_with("socket:"))
    };
    while !socket() {
        assert!(Instant::now() < deadline, "it never connected");
        std::thread::sleep(Duration::from_millis(2));
    }
    let holds = |name: &str, word: &[u8]| {
        let bytes = fs::read(format!("/proc/{}/{name}", kvctl.id())).unwrap();
        bytes.windows(word.len()).any(|window| window == word)
    };
    assert!(holds("cmdline", b"svc/db") && holds("environ", b"HOLDFAST_CONTEXT"));
    assert!(!holds("cmdline", b"hunter2") && !holds("environ", b"hunter2"));
    home.cluster.all(Manner::Well);
    assert!(kvctl.wait().unwrap().success());
    let mut said = String::new();
    kvctl.stderr.unwrap().read_to_string(&mut said).unwrap();
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn an_unknown_outcome_and_no_answer_have_their_exit_codes() {
    let home = Home::new();
    home.kvctl_with(&["secret", "put", "svc/db", "-"], b"hunter1")
        .succeeds();
    home.cluster.all(Manner::Forgetful);
    let put = ["secret", "put", "svc/db", "-", "--timeout", "500ms"];
    home.kvctl_with(&put, b"hunter2")
        .fails(3, &["may or may not have happened"]);
    home.cluster.all(Manner::CutOff);
    home.kvctl(&["secret", "get", "svc/db", "--timeout", "500ms"])
        .fails(4, &["no server gave an answer"]);
}

const PATIENCE: Duration = Duration::from_secs(20);
