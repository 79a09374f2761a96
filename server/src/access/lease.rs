//! Whose a lease is: of those who may write the keys that live under it.
//!
//! A lease itself is no key and has no owner. Who keeps it alive, ends it or hangs one more key on it
//! decides over its keys, so he must have a right to each of them; else whoever may write anything
//! could keep another's lock from ever ending, or end it.

use holdfast_core::{
    State,
    access::{Capability, Target},
};
use holdfast_proto::{Key, KeyRange, LeaseId};

use super::{Denied, Permit};

impl Permit {
    /// Keeping a lease alive, or hanging a key on it. 0 and what is not there are nobody's.
    pub(crate) fn use_lease(&self, state: &State, lease: u64) -> Result<(), Denied> {
        self.each_key(state, lease, Capability::Write)
    }

    /// Ending a lease, and its keys with it.
    pub(crate) fn end_lease(&self, state: &State, lease: u64) -> Result<(), Denied> {
        self.each_key(state, lease, Capability::Delete)
    }

    /// Seeing which keys a lease has.
    pub(crate) fn list_lease(&self, state: &State, lease: LeaseId) -> Result<(), Denied> {
        let Some(lease) = state.lease(lease) else {
            return Ok(());
        };
        let mut keys = lease.keys.iter();
        keys.try_for_each(|key| self.list(&KeyRange::single(key)))
    }

    /// Giving up a place before a lock by its key, as etcd's clients do.
    pub(crate) fn leave_lock(&self, state: &State, key: &[u8]) -> Result<(), Denied> {
        let is_place = match state.get(key) {
            Some(entry) => entry
                .meta
                .lease
                .is_some_and(|lease| is_contender(key, lease)),
            // Its lease has ended: there is nothing to give up.
            None => true,
        };
        if is_place && self.allows(Capability::Lock, Target::Key(key)) {
            return Ok(());
        }
        self.check(Capability::Delete, Target::Key(key))
    }

    /// Saying something from a place in an election, by its key, as etcd's clients do.
    pub(crate) fn proclaim(&self, state: &State, key: &[u8]) -> Result<(), Denied> {
        let lease = state.get(key).and_then(|entry| entry.meta.lease);
        let is_place = lease.is_some_and(|lease| is_contender(key, lease));
        if is_place && self.allows(Capability::Lock, Target::Key(key)) {
            return Ok(());
        }
        self.write(key)
    }

    fn each_key(&self, state: &State, number: u64, capability: Capability) -> Result<(), Denied> {
        let Some((id, lease)) = LeaseId::new(number).and_then(|id| Some((id, state.lease(id)?)))
        else {
            return Ok(());
        };
        let mut keys = lease.keys.iter().map(Key::as_bytes);
        keys.try_for_each(|key| {
            let target = Target::Key(key);
            if is_contender(key, id) && self.allows(Capability::Lock, target) {
                return Ok(());
            }
            self.check(capability, target)
        })
    }
}

/// Whether a key is a place before a lock: it is called after its lease, as both fronts write it.
fn is_contender(key: &[u8], lease: LeaseId) -> bool {
    let last = key.rsplit(|&byte| byte == b'/').next().unwrap_or(key);
    let number = format!("{lease}");
    last == number.as_bytes() || last == number.trim_start_matches('0').as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_before_a_lock_is_called_after_its_lease() {
        let lease = LeaseId::new(0xabc).unwrap();
        assert!(is_contender(b"locks/a/0000000000000abc", lease));
        assert!(is_contender(b"locks/a/abc", lease));
        for other in [
            &b"locks/a/abd"[..],
            b"locks/a",
            b"",
            b"locks/a/abc/",
            b"0abc",
        ] {
            assert!(!is_contender(other, lease), "{other:?}");
        }
    }
}
