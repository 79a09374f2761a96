//! Whom something is for: names of users and groups as numbers.

use nix::unistd::{Group, User};

/// A user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    /// By name or number; the agent's own where nothing is said.
    pub(crate) fn of(user: Option<&str>, group: Option<&str>) -> Result<Self, &'static str> {
        let uid = match user {
            None => rustix::process::geteuid().as_raw(),
            Some(name) => number_or(name, |name| Some(User::from_name(name).ok()??.uid.as_raw()))
                .ok_or(
                "is meant for a user that this system does not have; make it, or name another one",
            )?,
        };
        let gid = match group {
            None => rustix::process::getegid().as_raw(),
            Some(name) => number_or(name, |name| {
                Some(Group::from_name(name).ok()??.gid.as_raw())
            })
            .ok_or(
                "is meant for a group that this system does not have; make it, or name another one",
            )?,
        };
        Ok(Self { uid, gid })
    }
}

fn number_or(name: &str, find: impl FnOnce(&str) -> Option<u32>) -> Option<u32> {
    // The largest number means "leave it" to the system.
    match name.parse::<u32>() {
        Ok(number) => (number != u32::MAX).then_some(number),
        Err(_) => find(name),
    }
}
