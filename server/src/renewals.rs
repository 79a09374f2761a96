//! The leader's clock over leases: who renewed when, and which lease has run out.
//!
//! Nothing of this is replicated. Invariants:
//!
//! 1. Only monotonic time counts; a wall clock that jumps expires nothing.
//! 2. A new leader gives every lease its full time to live from its takeover, so a renewal that
//!    the old leader acknowledged is never cut short.
//! 3. From the moment a lease is named in an expiry proposal, it cannot be renewed until the
//!    outcome is known: nobody is told "renewed" about a lease that is already on its way out.
//! 4. A pause of the whole process is not held against the leases: their owners could not reach it.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use holdfast_core::Lease;
use holdfast_proto::{LeaseId, Timestamp};
use parking_lot::Mutex;

/// The renewal clock of one node. Runs only while the node leads.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    term: u64,
    leases: HashMap<LeaseId, Known>,
    /// Of the leases that are not expiring.
    deadlines: BTreeSet<(Instant, LeaseId)>,
}

/// One grant of a lease. An id that was revoked may be granted again: that is another grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) ttl: Duration,
    pub(crate) at: Timestamp,
}

impl Grant {
    pub(crate) fn of(lease: &Lease) -> Self {
        Self {
            ttl: Duration::from_millis(lease.ttl_ms),
            at: lease.granted_at,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Known {
    grant: Grant,
    clock: Clock,
}

#[derive(Clone, Copy, Debug)]
enum Clock {
    Until(Instant),
    Expiring,
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// It counts from now on.
    Renewed,
    /// Its end has been proposed: wait for the outcome, then look again.
    Expiring,
    /// This node's clock does not run: it does not lead, or not yet.
    NotRunning,
}

impl Renewals {
    /// Starts the clock in `term`: every lease has its whole time to live again.
    pub(crate) fn take_over(
        &self,
        term: u64,
        leases: impl Iterator<Item = (LeaseId, Grant)>,
        now: Instant,
    ) {
        let mut running = Running {
            term,
            leases: HashMap::new(),
            deadlines: BTreeSet::new(),
        };
        for (lease, grant) in leases {
            running.set(lease, grant, now + grant.ttl);
        }
        *self.running.lock() = Some(running);
    }

    /// Stops the clock.
    pub(crate) fn step_down(&self) {
        *self.running.lock() = None;
    }

    /// The term in which the clock runs.
    pub(crate) fn term(&self) -> Option<u64> {
        self.running.lock().as_ref().map(|running| running.term)
    }

    /// Takes in leases granted since, and forgets those that are gone.
    pub(crate) fn reconcile(&self, leases: &HashMap<LeaseId, Grant>, now: Instant) {
        let mut guard = self.running.lock();
        let Some(running) = guard.as_mut() else {
            return;
        };
        let gone: Vec<LeaseId> = running
            .leases
            .keys()
            .filter(|lease| !leases.contains_key(lease))
            .copied()
            .collect();
        for lease in gone {
            running.forget(lease);
        }
        for (&lease, &grant) in leases {
            let known = running.leases.get(&lease);
            if known.is_none_or(|known| known.grant != grant) {
                running.set(lease, grant, now + grant.ttl);
            }
        }
    }

    /// Renews `lease` for its whole time from `now` on.
    pub(crate) fn renew(&self, lease: LeaseId, grant: Grant, now: Instant) -> Renewal {
        let mut guard = self.running.lock();
        let Some(running) = guard.as_mut() else {
            return Renewal::NotRunning;
        };
        let known = running.leases.get(&lease);
        if known.is_some_and(|known| known.grant == grant && matches!(known.clock, Clock::Expiring))
        {
            return Renewal::Expiring;
        }
        running.set(lease, grant, now + grant.ttl);
        Renewal::Renewed
    }

    /// Takes out the leases that have run out, with the term to propose their end in.
    pub(crate) fn due(&self, now: Instant, most: usize) -> Option<(u64, Vec<(LeaseId, Grant)>)> {
        let mut guard = self.running.lock();
        let running = guard.as_mut()?;
        let mut due = Vec::new();
        while due.len() < most
            && let Some(&(deadline, lease)) = running.deadlines.first()
            && deadline <= now
        {
            running.deadlines.pop_first();
            if let Some(known) = running.leases.get_mut(&lease) {
                known.clock = Clock::Expiring;
                due.push((lease, known.grant));
            }
        }
        (!due.is_empty()).then_some((running.term, due))
    }

    /// The end of `leases` was applied (or refused): forget them. One that lives on is found again
    /// by [`Renewals::reconcile`], with its whole time to live.
    pub(crate) fn settled(&self, term: u64, leases: &[(LeaseId, Grant)]) {
        if let Some(running) = self.running.lock().as_mut()
            && running.term == term
        {
            for (lease, grant) in leases {
                if running
                    .leases
                    .get(lease)
                    .is_some_and(|known| known.grant == *grant)
                {
                    running.forget(*lease);
                }
            }
        }
    }

    /// How long `lease` has left. `None`: the clock does not run, or does not know this grant yet.
    pub(crate) fn remaining(&self, lease: LeaseId, grant: Grant, now: Instant) -> Option<Duration> {
        let guard = self.running.lock();
        let known = guard.as_ref()?.leases.get(&lease)?;
        if known.grant != grant {
            return None;
        }
        match known.clock {
            Clock::Until(deadline) => Some(deadline.saturating_duration_since(now)),
            Clock::Expiring => Some(Duration::ZERO),
        }
    }

    /// Moves every deadline on: this process stood still for `pause`.
    pub(crate) fn postpone(&self, pause: Duration) {
        if let Some(running) = self.running.lock().as_mut() {
            let moved: Vec<_> = running.deadlines.iter().copied().collect();
            for (deadline, lease) in moved {
                if let Some(known) = running.leases.get(&lease).copied() {
                    running.set(lease, known.grant, deadline + pause);
                }
            }
        }
    }
}

impl Running {
    fn set(&mut self, lease: LeaseId, grant: Grant, deadline: Instant) {
        self.forget(lease);
        let clock = Clock::Until(deadline);
        self.leases.insert(lease, Known { grant, clock });
        self.deadlines.insert((deadline, lease));
    }

    fn forget(&mut self, lease: LeaseId) {
        if let Some(Known {
            clock: Clock::Until(before),
            ..
        }) = self.leases.remove(&lease)
        {
            self.deadlines.remove(&(before, lease));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn grant() -> Grant {
        granted_at(1)
    }

    fn granted_at(ms: u64) -> Grant {
        Grant {
            ttl: TTL,
            at: Timestamp::from_millis(ms),
        }
    }

    fn lease(number: u64) -> LeaseId {
        LeaseId::new(number).unwrap()
    }

    #[test]
    fn a_new_leader_gives_every_lease_its_whole_time() {
        let renewals = Renewals::default();
        let start = Instant::now();
        renewals.take_over(3, [(lease(1), grant())].into_iter(), start);
        let late = start + TTL - Duration::from_millis(1);
        assert_eq!(renewals.due(late, 10), None);
        renewals.take_over(4, [(lease(1), grant())].into_iter(), late);
        assert_eq!(renewals.due(start + TTL, 10), None);
        assert_eq!(
            renewals.due(late + TTL, 10),
            Some((4, vec![(lease(1), grant())]))
        );
    }

    #[test]
    fn a_renewal_counts_from_when_it_came() {
        let renewals = Renewals::default();
        let start = Instant::now();
        renewals.take_over(1, [(lease(1), grant())].into_iter(), start);
        let half = start + TTL / 2;
        assert_eq!(renewals.renew(lease(1), grant(), half), Renewal::Renewed);
        assert_eq!(renewals.due(start + TTL, 10), None);
        assert_eq!(
            renewals.remaining(lease(1), grant(), start + TTL),
            Some(TTL / 2)
        );
    }

    #[test]
    fn a_lease_on_its_way_out_cannot_be_renewed() {
        let renewals = Renewals::default();
        let start = Instant::now();
        renewals.take_over(1, [(lease(1), grant())].into_iter(), start);
        assert!(renewals.due(start + TTL, 10).is_some());
        assert_eq!(
            renewals.renew(lease(1), grant(), start + TTL),
            Renewal::Expiring
        );
        assert_eq!(renewals.due(start + TTL, 10), None, "proposed once");
        renewals.settled(1, &[(lease(1), grant())]);
        assert_eq!(
            renewals.renew(lease(1), grant(), start + TTL),
            Renewal::Renewed
        );
    }

    #[test]
    fn who_does_not_lead_renews_nothing() {
        let renewals = Renewals::default();
        let now = Instant::now();
        assert_eq!(renewals.renew(lease(1), grant(), now), Renewal::NotRunning);
        renewals.take_over(1, std::iter::empty(), now);
        renewals.step_down();
        assert_eq!(renewals.renew(lease(1), grant(), now), Renewal::NotRunning);
        assert_eq!(renewals.term(), None);
    }

    #[test]
    fn granted_leases_are_taken_in_and_revoked_ones_forgotten() {
        let renewals = Renewals::default();
        let now = Instant::now();
        renewals.take_over(1, [(lease(1), grant())].into_iter(), now);
        renewals.reconcile(&HashMap::from([(lease(2), grant())]), now);
        assert_eq!(
            renewals.due(now + TTL, 10),
            Some((1, vec![(lease(2), grant())]))
        );
    }

    #[test]
    fn an_id_that_is_granted_again_has_its_whole_time() {
        let renewals = Renewals::default();
        let start = Instant::now();
        renewals.take_over(1, [(lease(1), grant())].into_iter(), start);
        let half = start + TTL / 2;
        let again = granted_at(2);
        assert_eq!(renewals.remaining(lease(1), again, half), None);
        renewals.reconcile(&HashMap::from([(lease(1), again)]), half);
        assert_eq!(renewals.due(start + TTL, 10), None);
        assert_eq!(renewals.remaining(lease(1), again, half), Some(TTL));
    }

    #[test]
    fn a_pause_of_the_process_is_not_held_against_leases() {
        let renewals = Renewals::default();
        let start = Instant::now();
        renewals.take_over(1, [(lease(1), grant())].into_iter(), start);
        renewals.postpone(Duration::from_secs(5));
        assert_eq!(renewals.due(start + TTL, 10), None);
        assert!(
            renewals
                .due(start + TTL + Duration::from_secs(5), 10)
                .is_some()
        );
    }
}
