//! The connections to one node, and which of them a call takes.
//!
//! One connection serves many calls, but at some dozens at once it is a point of contention. So
//! calls share the first as long as it is not busy, and the next is only made when it is needed: a
//! client that makes one call at a time has one connection to each node and not more.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tonic::transport::Channel;

/// All connections to one node.
pub(crate) struct Lanes(Box<[Lane]>);

struct Lane {
    channel: Channel,
    /// Calls under way.
    calls: AtomicUsize,
}

impl Lanes {
    /// At least one.
    pub(crate) fn new(channels: impl IntoIterator<Item = Channel>) -> Self {
        let lane = |channel| Lane {
            channel,
            calls: AtomicUsize::new(0),
        };
        Self(channels.into_iter().map(lane).collect())
    }

    /// Takes a lane for one call; give it back with [`Lanes::leave`].
    pub(crate) fn enter(&self) -> usize {
        let calls = |lane: &Lane| lane.calls.load(Relaxed);
        let place = self.0.iter().position(|lane| calls(lane) < BUSY);
        let place = place.unwrap_or_else(|| {
            let idlest = self
                .0
                .iter()
                .enumerate()
                .min_by_key(|(_, lane)| calls(lane));
            idlest.map_or(0, |(place, _)| place)
        });
        self.0[place].calls.fetch_add(1, Relaxed);
        place
    }

    /// The call is over.
    pub(crate) fn leave(&self, place: usize) {
        self.0[place].calls.fetch_sub(1, Relaxed);
    }

    /// The connection of a lane.
    pub(crate) fn channel(&self, place: usize) -> Channel {
        self.0[place].channel.clone()
    }
}

/// A connection with so many calls under way leaves further ones to the next.
const BUSY: usize = 16;

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;

    #[tokio::test]
    async fn calls_share_the_first_connection_until_it_is_busy_then_the_idlest() {
        let channel = || Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let lanes = Lanes::new([channel(), channel()]);
        for _ in 0..100 {
            assert_eq!(lanes.enter(), 0);
            lanes.leave(0);
        }
        let taken: Vec<_> = (0..BUSY * 4).map(|_| lanes.enter()).collect();
        assert!(taken[..BUSY].iter().all(|place| *place == 0));
        assert!(taken[BUSY..2 * BUSY].iter().all(|place| *place == 1));
        let first = taken.iter().filter(|place| **place == 0).count();
        assert_eq!(first, BUSY * 2, "then evenly");
        taken.into_iter().for_each(|place| lanes.leave(place));
        assert_eq!(lanes.enter(), 0);
    }
}
