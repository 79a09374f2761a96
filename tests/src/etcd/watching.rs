//! The same watches on two stores while the same changes are made to both: they must see the same.

use anyhow::bail;
use etcd_client::{WatchFilterType, proto::PbPutRequest};
use futures::future::try_join;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{
    Endpoints,
    differential::Pair,
    generate::Generator,
    operation::Operation,
    readable::readable,
    watchers::{Seen, Spec, Watchers},
};

/// Plays `rounds` rounds of changes, with watches that are opened in the past, in the future, at
/// what is compacted, broken off, resumed and ended meanwhile. After each all must have seen the
/// same. Returns how many events that were.
pub async fn compare(
    pair: &mut Pair,
    endpoints: [&Endpoints; 2],
    seed: u64,
    rounds: usize,
) -> anyhow::Result<usize> {
    let bases = pair.begin_anew().await?;
    let mut play = Play {
        random: StdRng::seed_from_u64(seed),
        generator: Generator::new(seed),
        now: 0,
        compacted: 0,
        furthest: 0,
        opened: STREAMS,
        connections: 0,
    };
    let [left, right] = endpoints;
    let all = Spec {
        key: vec![0],
        range_end: vec![0],
        start: 0,
        filters: Vec::new(),
        prev_kv: true,
        fragment: false,
        id: FIRST_ID,
    };
    let (mut left, mut right) = try_join(
        Watchers::open(left, bases[0], STREAMS, &all),
        Watchers::open(right, bases[1], STREAMS, &all),
    )
    .await?;
    for round in 0..rounds {
        play.round(pair, &mut left, &mut right).await?;
        let (one, other) = (left.seen(), right.seen());
        for (number, seen) in &one {
            if let Some(difference) = difference(seen, &other[number]) {
                bail!("seed {seed}, round {round}: watch {number} {difference}");
            }
        }
    }
    Ok(left.seen().values().map(|seen| seen.events.len()).sum())
}

/// What two watchers saw differently, and what they saw just before.
fn difference(one: &Seen, other: &Seen) -> Option<String> {
    if one == other {
        return None;
    }
    let shared = one.events.iter().zip(&other.events);
    let alike = shared.take_while(|(one, other)| one == other).count();
    let show = |seen: &Seen| {
        let events: Vec<_> = seen
            .events
            .iter()
            .skip(alike.saturating_sub(1))
            .take(3)
            .collect();
        readable(&(events, &seen.ended))
    };
    Some(format!(
        "saw {} events and {}, alike up to the {alike}th; from that on\n  {}\n  {}",
        one.events.len(),
        other.events.len(),
        show(one),
        show(other),
    ))
}

struct Play {
    random: StdRng,
    generator: Generator,
    now: i64,
    compacted: i64,
    /// The latest beginning of a watch.
    furthest: i64,
    opened: usize,
    connections: usize,
}

impl Play {
    async fn round(
        &mut self,
        pair: &mut Pair,
        left: &mut Watchers,
        right: &mut Watchers,
    ) -> anyhow::Result<()> {
        for _ in 0..self.random.random_range(1..4) {
            let changes = self.generator.changes(self.now);
            self.now = self.now.max(pair.change(&changes).await?);
            match self.random.random_range(0..10) {
                0..6 => {
                    let (number, stream) = (self.opened, self.opened % STREAMS);
                    let spec = self.spec(number);
                    self.furthest = self.furthest.max(spec.start);
                    self.opened += 1;
                    try_join(
                        left.watch(number, stream, &spec),
                        right.watch(number, stream, &spec),
                    )
                    .await?;
                }
                6..9 => {
                    let stream = self.random.random_range(0..STREAMS);
                    self.connections += 1;
                    try_join(
                        left.reconnect(stream, self.connections),
                        right.reconnect(stream, self.connections),
                    )
                    .await?;
                    self.furthest = self.furthest.max(self.now + 1);
                }
                _ => {}
            }
        }
        // etcd tells no progress of a stream with a watch whose beginning is yet to come.
        while self.now < self.furthest {
            let put = Operation::Put(PbPutRequest {
                key: b"d0/k0".to_vec(),
                ..PbPutRequest::default()
            });
            self.now = pair.change(&[put]).await?;
        }
        try_join(left.catch_up(self.now), right.catch_up(self.now)).await?;
        if self.random.random() {
            // Never the first ones: a stream without a watch tells no progress.
            let mut living = left.living();
            living.retain(|number| *number >= STREAMS);
            if let Some(&number) = living.choose(&mut self.random) {
                try_join(left.cancel(number), right.cancel(number)).await?;
            }
        }
        if self.random.random_range(0..4) == 0 {
            // While everybody has all: what was there before an event may be compacted with it.
            let revision = self.random.random_range(self.compacted..=self.now);
            pair.compact(revision).await?;
            self.compacted = self.compacted.max(revision);
        }
        Ok(())
    }

    fn spec(&mut self, number: usize) -> Spec {
        let (key, range_end) = match self.random.random_range(0..10) {
            0..2 => (vec![0], vec![0]),
            2..6 => {
                let folder = self.random.random_range(0..4);
                (
                    format!("d{folder}/").into_bytes(),
                    format!("d{folder}0").into_bytes(),
                )
            }
            6 => (b"d2".to_vec(), vec![0]),
            _ => {
                let folder = self.random.random_range(0..4);
                let key = self.random.random_range(0..10);
                (format!("d{folder}/k{key}").into_bytes(), Vec::new())
            }
        };
        let start = match self.random.random_range(0..10) {
            0..4 => 0,
            4..8 => self
                .random
                .random_range(self.compacted + 1..=self.now.max(self.compacted + 1)),
            8 => (self.compacted - 1).max(-1), // gone, if there is such a revision
            _ => self.now + 7,
        };
        let filters = match self.random.random_range(0..8) {
            0 => vec![WatchFilterType::NoPut],
            1 => vec![WatchFilterType::NoDelete],
            2 => vec![WatchFilterType::NoPut, WatchFilterType::NoDelete],
            _ => Vec::new(),
        };
        let named = i64::try_from(number).unwrap_or(0) + FIRST_ID;
        Spec {
            key,
            range_end,
            start,
            filters,
            prev_kv: self.random.random(),
            fragment: self.random.random(),
            id: match self.random.random_range(0..10) {
                0..5 => 0,
                5 => FIRST_ID, // taken
                _ => named,
            },
        }
    }
}

/// The id of the first watch of each stream, which lives as long as the comparison.
const FIRST_ID: i64 = 1_000;
/// Of each side.
const STREAMS: usize = 3;
