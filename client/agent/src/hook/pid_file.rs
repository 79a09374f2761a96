//! A signal to the process that a pid file names, if it still is that process.

use std::{
    fs::OpenOptions,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal},
};

use super::HookError;
use crate::settings::SignalTo;

pub(super) fn signal(to: &SignalTo) -> Result<(), HookError> {
    let refused = |why: String| HookError::PidFile {
        path: to.pid_file.clone(),
        why,
    };
    let pid = read(&to.pid_file).map_err(refused)?;
    let gone = || {
        refused(format!(
            "names {pid}, and no such process runs: it is an old one"
        ))
    };
    let process = Pid::from_raw(pid).ok_or_else(gone)?;
    // Held from here on: the number cannot become somebody else's before the signal is sent.
    let process = match pidfd_open(process, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Err(gone()),
        Err(errno) => {
            return Err(refused(format!(
                "names {pid}, which cannot be held: {errno}"
            )));
        }
    };
    let name = name_of(pid).ok_or_else(gone)?;
    if let Some(program) = &to.program
        && !is_called(&name, program)
    {
        return Err(refused(format!(
            "names {pid}, which is {name:?} and not {program:?}: it is an old one"
        )));
    }
    match pidfd_send_signal(&process, to.signal.get()) {
        Ok(()) => Ok(()),
        Err(Errno::SRCH) => Err(gone()),
        Err(errno) => Err(refused(format!(
            "names {pid}, which could not be sent {}: {errno}",
            to.signal
        ))),
    }
}

/// The number in it. What everyone could have written is not trusted.
fn read(path: &Path) -> Result<i32, String> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let file = opened.map_err(|error| format!("cannot be read: {error}"))?;
    let about = file
        .metadata()
        .map_err(|error| format!("cannot be read: {error}"))?;
    if !about.is_file() {
        return Err("is no file".to_owned());
    }
    if about.mode() & 0o002 != 0 {
        return Err("can be written by everyone, so it is not trusted; chmod o-w it".to_owned());
    }
    let mut text = String::new();
    let read = file.take(LONGEST).read_to_string(&mut text);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    let own = rustix::process::getpid().as_raw_nonzero().get();
    match text.trim().parse::<i32>() {
        Ok(pid) if pid > 1 && pid != own => Ok(pid),
        Ok(pid) => Err(format!("names {pid}, which is no service's")),
        Err(_) => Err("holds no number of a process".to_owned()),
    }
}

/// What a running process is called. `None`: it has ended.
fn name_of(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let (before, after) = stat.rsplit_once(") ")?;
    let (_, name) = before.split_once('(')?;
    (!after.starts_with(['Z', 'X'])).then(|| name.to_owned())
}

/// The system cuts names to 15 bytes.
fn is_called(name: &str, program: &str) -> bool {
    name == program || (name.len() == 15 && program.starts_with(name))
}

const LONGEST: u64 = 64;
