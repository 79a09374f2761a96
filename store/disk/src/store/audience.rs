//! Who waits for new revisions, in groups.
//!
//! What hundreds of watchers make of one revision keeps a node busy for a while, and each of them sends a
//! message. They are told group by group, so that who is told first can have its message read while the
//! others are still being told. Invariant: each hears of every revision, or of a newer one.

use tokio::sync::watch;

/// So many groups are told one after the other. With fewer, most watchers hear later; with more, the last do.
pub(super) const GROUPS: usize = 8;

/// Everybody who waits.
pub(super) struct Audience([watch::Sender<u64>; GROUPS]);

impl Audience {
    /// Nobody yet; `revision` is known to whoever comes.
    pub(super) fn new(revision: u64) -> Self {
        Self(std::array::from_fn(|_| watch::Sender::new(revision)))
    }

    /// A seat in the group with the fewest.
    pub(super) fn join(&self) -> watch::Receiver<u64> {
        let fewest = self.0.iter().min_by_key(|group| group.receiver_count());
        fewest.unwrap_or(&self.0[0]).subscribe()
    }

    /// Tells one group. Whether anybody was there whom it was new to.
    pub(super) fn tell(&self, group: usize, revision: u64) -> bool {
        let is_new = |known: &mut u64| std::mem::replace(known, revision) != revision;
        let group = &self.0[group];
        group.send_if_modified(is_new) && group.receiver_count() > 0
    }

    /// Wakes everybody, whatever they know.
    pub(super) fn wake(&self, revision: u64) {
        for group in &self.0 {
            group.send_replace(revision);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_joins_the_smallest_group_and_each_group_is_told_by_itself() {
        let audience = Audience::new(7);
        let mut seats: Vec<_> = (0..2 * GROUPS).map(|_| audience.join()).collect();
        for group in 0..GROUPS {
            assert!(audience.tell(group, 8));
            assert!(!audience.tell(group, 8), "they know");
            let told = seats.iter_mut().filter(|seat| *seat.borrow() == 8);
            assert_eq!(told.count(), 2 * (group + 1));
        }
        let left = seats.remove(3);
        let neighbour = seats
            .iter()
            .position(|seat| seat.same_channel(&left))
            .unwrap();
        drop(left);
        let next = audience.join();
        assert!(
            next.same_channel(&seats[neighbour]),
            "where one has gone is room"
        );
    }

    #[test]
    fn a_group_of_nobody_is_told_for_whoever_comes() {
        let audience = Audience::new(7);
        assert!(!audience.tell(0, 8));
        assert_eq!(*audience.join().borrow(), 8);
    }
}
