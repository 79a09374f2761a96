//! Hooks that succeed, fail, hang, and signal the wrong process.

use std::time::{Duration, Instant};

use super::*;

fn hook(toml: &str) -> HookSettings {
    toml::from_str(toml).unwrap()
}

fn about() -> About {
    About {
        set: "s".to_owned(),
        folder: Some("/f".into()),
        revision: 7,
    }
}

async fn ran(toml: &str) -> Result<(), String> {
    let ran = run(&hook(toml), &about()).await;
    ran.map_err(|error| crate::failure::chain(&error))
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn a_program_gets_its_words_as_they_are_and_learns_of_the_set() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let script = "printf '%s|%s|%s|%s' \"$1\" \"$HOLDFAST_SET\" \"$HOLDFAST_FOLDER\" \"$HOLDFAST_REVISION\" > \"$2\"";
    let words = [
        "sh",
        "-c",
        script,
        "sh",
        "$(no shell) ; *",
        out.to_str().unwrap(),
    ];
    ran(&format!("exec = {words:?}")).await.unwrap();
    assert_eq!(
        std::fs::read_to_string(out).unwrap(),
        "$(no shell) ; *|s|/f|7"
    );
}

#[tokio::test]
async fn a_failure_says_how_it_ended() {
    let failed = ran("exec = [\"sh\", \"-c\", \"exit 3\"]")
        .await
        .unwrap_err();
    assert!(failed.contains("exit status 3"), "{failed}");
    let killed = ran("exec = [\"sh\", \"-c\", \"kill -9 $$\"]")
        .await
        .unwrap_err();
    assert!(killed.contains("signal 9"), "{killed}");
    let none = ran("exec = [\"/nowhere/program\"]").await.unwrap_err();
    assert!(none.contains("could not be started"), "{none}");
}

#[tokio::test]
async fn one_that_hangs_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("pid");
    let script = "trap '' TERM; (trap '' TERM; sleep 600) & echo $! > \"$1\"; wait; sleep 600";
    let words = ["sh", "-c", script, "sh", out.to_str().unwrap()];
    let failed = ran(&format!("exec = {words:?}\ntimeout = \"300ms\""))
        .await
        .unwrap_err();
    assert!(failed.contains("did not end within 300ms"), "{failed}");
    let pid = std::fs::read_to_string(out).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    until("the grandchild's end", || {
        !std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z"))
    });
}

#[tokio::test]
async fn a_signal_reaches_the_process_of_the_pid_file_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let ready = folder.path().join("ready");
    let script = "trap 'exit 42' HUP; touch \"$1\"; while :; do sleep 0.01; done";
    let mut child = std::process::Command::new("sh")
        .args(["-c", script, "sh", ready.to_str().unwrap()])
        .spawn()
        .unwrap();
    until("the process", || ready.exists());
    let to = |program: &str| {
        format!("signal = {{ pid_file = {pid_file:?}, signal = \"HUP\", program = {program:?} }}")
    };
    for (text, said) in [
        ("", "holds no number"),
        ("-1", "no service's"),
        ("1", "no service's"),
        ("999999999", "no such process"),
        (&child.id().to_string(), "and not \"nginx\""),
    ] {
        std::fs::write(&pid_file, text).unwrap();
        let failed = ran(&to("nginx")).await.unwrap_err();
        assert!(failed.contains(said), "{text:?}: {failed}");
    }
    assert!(child.try_wait().unwrap().is_none());
    ran(&to("sh")).await.unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(42));
    let ended = ran(&to("sh")).await.unwrap_err();
    assert!(ended.contains("no such process"), "{ended}");
}
