//! Who is at the other end: the user, as the system says it. All that is Unix alone about it is here.

use std::{ffi::CString, fmt};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

/// The user behind a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    uid: u32,
    /// The user's name, if the system has one.
    name: Option<String>,
    /// The process' own group, and all of the user's by the system's books.
    groups: Vec<u32>,
}

impl Peer {
    /// Of the numbers that the system gives (`SO_PEERCRED`). Asks the system's books, which may be far
    /// away: blocks.
    pub(super) fn of(uid: u32, gid: u32) -> Self {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let mut groups = vec![gid];
        if let Some(user) = &user
            && let Ok(name) = CString::new(user.name.as_str())
            && let Ok(listed) = getgrouplist(&name, user.gid)
        {
            groups.extend(listed.into_iter().map(Gid::as_raw));
        }
        Self {
            uid,
            name: user.map(|user| user.name),
            groups,
        }
    }

    #[cfg(test)]
    pub(super) fn named(uid: u32, name: &str, groups: &[u32]) -> Self {
        Self {
            uid,
            name: Some(name.to_owned()),
            groups: groups.to_vec(),
        }
    }

    /// Whether it is this user, by name or number. Blocks, as above.
    pub(super) fn is_user(&self, user: &str) -> bool {
        match user.parse::<u32>() {
            Ok(uid) => self.uid == uid,
            Err(_) if self.name.as_deref() == Some(user) => true,
            Err(_) => {
                let found = User::from_name(user).ok().flatten();
                found.is_some_and(|found| found.uid.as_raw() == self.uid)
            }
        }
    }

    /// Whether it is in this group, by name or number. Blocks, as above.
    pub(super) fn is_in_group(&self, group: &str) -> bool {
        let gid = match group.parse::<u32>() {
            Ok(gid) => Some(gid),
            Err(_) => {
                let found = Group::from_name(group).ok().flatten();
                found.map(|found| found.gid.as_raw())
            }
        };
        gid.is_some_and(|gid| self.groups.contains(&gid))
    }

    /// What names it in the settings.
    pub(super) fn as_setting(&self) -> String {
        match &self.name {
            Some(name) => format!("user = \"{name}\""),
            None => format!("user = {}", self.uid),
        }
    }
}

/// `uid 1001 (billing)`
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "uid {} ({name})", self.uid),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_books_name_the_user_and_all_its_groups() {
        let root = Peer::of(0, 0);
        assert_eq!(root.to_string(), "uid 0 (root)");
        assert!(root.is_user("root") && root.is_user("0") && !root.is_user("1"));
        assert!(root.is_in_group("root") && root.is_in_group("0"));
        assert!(!root.is_in_group("no-such-group"));
        // One whom nobody knows has the group of its process and no other.
        let nobody = Peer::of(4_000_000_001, 7);
        assert_eq!(nobody.to_string(), "uid 4000000001");
        assert!(nobody.is_in_group("7") && !nobody.is_in_group("0"));
        assert!(!nobody.is_user("root"));
    }
}
