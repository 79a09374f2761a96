//! Nothing outlives a test, not even one that is killed.
//!
//! A small shell waits at the other end of a pipe that only this process holds open. When the
//! process ends, however it ends, the pipe closes, and the shell kills what it was told of.

use std::{
    io::Write,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use parking_lot::Mutex;

/// Kill this process when we are gone.
pub fn guard(pid: u32) {
    tell(&format!("+ {pid}"));
}

/// It has ended and been waited for: its number may be another's from now on.
pub fn release(pid: u32) {
    tell(&format!("- {pid}"));
}

/// Run this shell command when we are gone. It must do no harm if it is not needed any more.
pub fn at_end(command: &str) {
    tell(&format!("! {command}"));
}

fn tell(line: &str) {
    static REAPER: OnceLock<Mutex<Child>> = OnceLock::new();
    let reaper = REAPER.get_or_init(|| {
        let child = Command::new("/bin/sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        Mutex::new(child)
    });
    let mut reaper = reaper.lock();
    let pipe = reaper.stdin.as_mut().expect("its standard input is a pipe");
    writeln!(pipe, "{line}").expect("the reaper lives as long as we do");
}

/// It must not die of the ctrl-c that ends us.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=' '
last=''
while read -r what rest; do
    case $what in
        +) pids="$pids$rest " ;;
        -) pids="${pids%% $rest *} ${pids#* $rest }" ;;
        !) last="$last
$rest" ;;
    esac
done
for pid in $pids; do kill -9 "$pid"; done
eval "$last"
"#;

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::SCRIPT;
    use crate::harness::{process::is_running, wait};

    #[tokio::test]
    async fn what_was_told_dies_with_the_pipe_and_what_was_taken_back_lives() {
        let sleeper = || Command::new("sleep").arg("100").spawn().unwrap();
        let (mut doomed, mut spared) = (sleeper(), sleeper());
        let script = format!(
            "printf '+ {0}\\n+ {1}\\n- {1}\\n' | sh -c '{2}'",
            doomed.id(),
            spared.id(),
            SCRIPT.replace('\'', "'\\''"),
        );
        Command::new("/bin/sh")
            .args(["-c", &script])
            .status()
            .unwrap();
        let pid = doomed.id();
        let at_most = Duration::from_secs(5);
        wait::until_true("the doomed to die", at_most, || !is_running(pid))
            .await
            .unwrap();
        assert!(is_running(spared.id()));
        spared.kill().unwrap();
        spared.wait().unwrap();
        doomed.wait().unwrap();
    }
}
