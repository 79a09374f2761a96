//! Random operations of every kind, also those that must be refused.
//!
//! Few keys, so that operations meet. Where etcd's own order among equals is accidental (it sorts
//! unstably from thirteen entries on), a range is kept smaller than that.
//!
//! Left out on purpose: a transaction that puts a key and also deletes from some key to the very
//! end. etcd takes the end `\0` of such a deletion for the key `\0`, misses that both touch a key,
//! and changes it twice in one revision; ours refuses it as any other duplicate. And leases between
//! the longest of ours and the 285 years that are etcd's.

use etcd_client::proto::{
    PbCompactionRequest, PbCompare, PbCompareTarget, PbDeleteRequest, PbLeaseGrantRequest,
    PbLeaseKeepAliveRequest, PbLeaseLeasesRequest, PbLeaseRevokeRequest, PbLeaseTimeToLiveRequest,
    PbPutRequest, PbRangeRequest, PbTargetUnion, PbTxnOpRequest, PbTxnRequest, PbTxnRequestOp,
};
use etcd_client::{CompareOp, SortOrder, SortTarget};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::operation::Operation;

/// Makes operations, the same ones for the same seed and the same course of revisions.
pub struct Generator {
    random: StdRng,
    /// How many values were written: each is another.
    values: u64,
    /// Up to where it compacted, relative.
    compacted: i64,
}

impl Generator {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            values: 0,
            compacted: 0,
        }
    }

    /// A few changes, then a burst of reads that may be asked in any order. `now` is the newest
    /// revision, relative.
    pub fn burst(&mut self, now: i64) -> Vec<Operation> {
        let changes = self.random.random_range(1..12);
        let reads = self.random.random_range(4..24);
        let mut burst: Vec<Operation> = (0..changes).map(|_| self.change(now)).collect();
        burst.extend((0..reads).map(|_| self.read(now)));
        burst
    }

    /// A few changes for those who watch, and no compaction. No transaction deletes what it put:
    /// where etcd lets that pass it sends both as events, and our front none.
    pub fn changes(&mut self, now: i64) -> Vec<Operation> {
        let changes = self.random.random_range(1..12);
        (0..changes)
            .map(|_| self.change(now))
            .filter(|operation| match operation {
                Operation::Compact(_) => false,
                Operation::Txn(txn) => !takes_back(txn),
                _ => true,
            })
            .collect()
    }

    fn change(&mut self, now: i64) -> Operation {
        match self.random.random_range(0..1000) {
            0..450 => Operation::Put(self.put()),
            450..600 => Operation::Delete(self.delete_much()),
            600..860 => Operation::Txn(self.txn(now, 2)),
            860..862 => Operation::Txn(self.huge_txn()),
            862..870 => Operation::Compact(self.compaction(now)),
            870..940 => Operation::Grant(self.grant()),
            940..970 => Operation::Revoke(PbLeaseRevokeRequest { id: self.lease() }),
            _ => Operation::KeepAlive(PbLeaseKeepAliveRequest { id: self.lease() }),
        }
    }

    fn read(&mut self, now: i64) -> Operation {
        match self.random.random_range(0..100) {
            0..90 => Operation::Range(self.range(now)),
            90..97 => Operation::TimeToLive(PbLeaseTimeToLiveRequest {
                id: self.lease(),
                keys: self.random.random(),
            }),
            _ => Operation::Leases(PbLeaseLeasesRequest {}),
        }
    }

    fn put(&mut self) -> PbPutRequest {
        let ignore_value = self.once_in(12);
        let ignore_lease = self.once_in(12);
        // Now and then a value in spite of it, which is refused.
        let with_value = !ignore_value || self.once_in(8);
        let with_lease = self.once_in(if ignore_lease { 8 } else { 4 });
        PbPutRequest {
            key: self.key(),
            value: if with_value { self.value() } else { Vec::new() },
            lease: if with_lease { self.lease() } else { 0 },
            prev_kv: self.random.random(),
            ignore_value,
            ignore_lease,
        }
    }

    fn delete_much(&mut self) -> PbDeleteRequest {
        let mut delete = self.delete();
        if self.once_in(50) {
            (delete.key, delete.range_end) = all();
        }
        delete
    }

    fn delete(&mut self) -> PbDeleteRequest {
        let (key, range_end) = match self.random.random_range(0..100) {
            0..70 => (self.key(), Vec::new()),
            _ => self.few(),
        };
        PbDeleteRequest {
            key,
            range_end,
            prev_kv: self.random.random(),
        }
    }

    fn range(&mut self, now: i64) -> PbRangeRequest {
        let sort_target = *[0, 0, 0, 1, 2, 3, 4]
            .choose(&mut self.random)
            .expect("some");
        let few = sort_target != SortTarget::Key as i32;
        let (key, range_end) = match self.random.random_range(0..100) {
            0..30 => (self.key(), Vec::new()),
            _ if few => self.few(),
            30..55 => self.few(),
            55..75 => all(),
            75..85 => (self.key(), b"\0".to_vec()),
            _ => (self.key(), self.key()),
        };
        let sort_order = match self.random.random_range(0..100) {
            0..40 => SortOrder::None as i32,
            40..70 => SortOrder::Ascend as i32,
            70..99 => SortOrder::Descend as i32,
            _ => 7, // there is no such order
        };
        PbRangeRequest {
            key,
            range_end,
            limit: if self.once_in(3) {
                self.random.random_range(1..8)
            } else {
                0
            },
            revision: if self.once_in(3) { self.past(now) } else { 0 },
            sort_order,
            sort_target: if self.once_in(100) { 9 } else { sort_target },
            serializable: self.once_in(4),
            keys_only: self.once_in(5),
            count_only: self.once_in(8),
            min_mod_revision: self.bound(now),
            max_mod_revision: self.bound(now),
            min_create_revision: self.bound(now),
            max_create_revision: self.bound(now),
        }
    }

    fn txn(&mut self, now: i64, depth: u32) -> PbTxnRequest {
        let compares = self.random.random_range(0..4);
        PbTxnRequest {
            compare: (0..compares).map(|_| self.compare(now)).collect(),
            success: self.branch(now, depth),
            failure: self.branch(now, depth),
        }
    }

    fn branch(&mut self, now: i64, depth: u32) -> Vec<PbTxnRequestOp> {
        let count = self.random.random_range(0..5);
        (0..count)
            .map(|_| {
                let request = match self.random.random_range(0..100) {
                    0..45 => PbTxnOpRequest::RequestPut(self.put()),
                    45..65 => PbTxnOpRequest::RequestDeleteRange(self.delete()),
                    65..80 if depth > 0 => PbTxnOpRequest::RequestTxn(self.txn(now, depth - 1)),
                    80..81 => return PbTxnRequestOp { request: None },
                    _ => PbTxnOpRequest::RequestRange(PbRangeRequest {
                        keys_only: false, // see normal.rs
                        ..self.range(now)
                    }),
                };
                PbTxnRequestOp {
                    request: Some(request),
                }
            })
            .collect()
    }

    /// About as many operations as one transaction may have.
    fn huge_txn(&mut self) -> PbTxnRequest {
        let count = self.random.random_range(LARGEST_TXN - 1..=LARGEST_TXN + 1);
        let delete = |number| PbTxnRequestOp {
            request: Some(PbTxnOpRequest::RequestDeleteRange(PbDeleteRequest {
                key: format!("huge/{number}").into_bytes(),
                ..PbDeleteRequest::default()
            })),
        };
        PbTxnRequest {
            success: (0..count).map(delete).collect(),
            ..PbTxnRequest::default()
        }
    }

    fn compare(&mut self, now: i64) -> PbCompare {
        let (target, union) = match self.random.random_range(0..5) {
            0 => {
                let version = self.random.random_range(0..4);
                (PbCompareTarget::Version, PbTargetUnion::Version(version))
            }
            1 => {
                let at = self.maybe_never(now);
                (PbCompareTarget::Create, PbTargetUnion::CreateRevision(at))
            }
            2 => {
                let at = self.maybe_never(now);
                (PbCompareTarget::Mod, PbTargetUnion::ModRevision(at))
            }
            3 => {
                let value = self.value();
                (PbCompareTarget::Value, PbTargetUnion::Value(value))
            }
            _ => {
                let lease = if self.once_in(2) { 0 } else { self.lease() };
                (PbCompareTarget::Lease, PbTargetUnion::Lease(lease))
            }
        };
        let (key, range_end) = match self.random.random_range(0..100) {
            0..70 => (self.key(), Vec::new()),
            70..90 => self.few(),
            _ => (self.key(), b"\0".to_vec()),
        };
        let results = [
            CompareOp::Equal,
            CompareOp::Greater,
            CompareOp::Less,
            CompareOp::NotEqual,
        ];
        let result = *results.choose(&mut self.random).expect("some");
        PbCompare {
            result: result as i32,
            target: target as i32,
            key,
            range_end,
            // Without one, a key is compared with 0 or nothing.
            target_union: (!self.once_in(50)).then_some(union),
        }
    }

    fn compaction(&mut self, now: i64) -> PbCompactionRequest {
        let revision = match self.random.random_range(0..10) {
            0 => self.compacted, // already
            1 => now + 100,      // not yet
            _ => (self.compacted + now) / 2,
        };
        if revision <= now {
            self.compacted = self.compacted.max(revision);
        }
        PbCompactionRequest {
            revision,
            physical: self.random.random(),
        }
    }

    fn grant(&mut self) -> PbLeaseGrantRequest {
        PbLeaseGrantRequest {
            ttl: match self.random.random_range(0..20) {
                0 => LONGEST_SECONDS + 1,
                _ => self.random.random_range(1_000..100_000),
            },
            id: if self.once_in(20) { 0 } else { self.lease() },
        }
    }

    fn lease(&mut self) -> i64 {
        self.random.random_range(1..15)
    }

    /// Mostly one of forty in four folders, so that they meet; now and then an odd one or none.
    fn key(&mut self) -> Vec<u8> {
        match self.random.random_range(0..100) {
            0..94 => {
                let folder = self.random.random_range(0..4);
                let key = self.random.random_range(0..10);
                format!("d{folder}/k{key}").into_bytes()
            }
            94..99 => self.odd(),
            _ => Vec::new(),
        }
    }

    fn odd(&mut self) -> Vec<u8> {
        let odd: [&[u8]; 6] = [
            b"\x01",
            b"\xff",
            b"d1",
            b"d1/",
            b"d1/k1/deeper",
            b"\xfe\x00\xff",
        ];
        odd.choose(&mut self.random).expect("some").to_vec()
    }

    /// A folder, which has at most twelve keys.
    fn few(&mut self) -> (Vec<u8>, Vec<u8>) {
        let folder = self.random.random_range(0..4);
        let key = format!("d{folder}/").into_bytes();
        let end = format!("d{folder}0").into_bytes();
        (key, end)
    }

    fn value(&mut self) -> Vec<u8> {
        self.values += 1;
        match self.random.random_range(0..20) {
            0 => Vec::new(),
            1 => vec![0xff, 0, self.random.random()],
            2 => vec![b'x'; self.random.random_range(1_000..4_000)],
            _ => format!("value {}", self.values % 40).into_bytes(),
        }
    }

    /// A revision to read at: mostly one that is kept.
    fn past(&mut self, now: i64) -> i64 {
        match self.random.random_range(0..20) {
            0 => -1,                 // compacted, since the comparison began
            1 => now + 1_000,        // not yet made
            2 => self.compacted - 1, // just gone
            _ => self
                .random
                .random_range(self.compacted..=now.max(self.compacted)),
        }
    }

    fn bound(&mut self, now: i64) -> i64 {
        if self.once_in(10) {
            self.random.random_range(0..=now)
        } else {
            0
        }
    }

    fn maybe_never(&mut self, now: i64) -> i64 {
        if self.once_in(2) {
            0
        } else {
            self.random.random_range(0..=now)
        }
    }

    fn once_in(&mut self, count: u32) -> bool {
        self.random.random_range(0..count) == 0
    }
}

/// Whether some deletion of a transaction, with all nested ones, meets a key that it puts.
fn takes_back(txn: &PbTxnRequest) -> bool {
    fn gather<'a>(
        txn: &'a PbTxnRequest,
        puts: &mut Vec<&'a [u8]>,
        deletions: &mut Vec<&'a PbDeleteRequest>,
    ) {
        for operation in txn.success.iter().chain(&txn.failure) {
            match &operation.request {
                Some(PbTxnOpRequest::RequestPut(put)) => puts.push(&put.key),
                Some(PbTxnOpRequest::RequestDeleteRange(deletion)) => deletions.push(deletion),
                Some(PbTxnOpRequest::RequestTxn(nested)) => gather(nested, puts, deletions),
                _ => {}
            }
        }
    }
    let (mut puts, mut deletions) = (Vec::new(), Vec::new());
    gather(txn, &mut puts, &mut deletions);
    let meet = |key: &[u8], deletion: &PbDeleteRequest| match &deletion.range_end[..] {
        [] => key == deletion.key,
        [0] => key >= &deletion.key[..],
        end => key >= &deletion.key[..] && key < end,
    };
    let met = |key: &&[u8]| deletions.iter().any(|deletion| meet(key, deletion));
    puts.iter().any(met)
}

/// A key and the end of the range: everything.
fn all() -> (Vec<u8>, Vec<u8>) {
    (vec![0], vec![0])
}

/// The most operations in a list of a transaction, by etcd's default.
const LARGEST_TXN: usize = 128;
/// The longest lease that etcd grants.
const LONGEST_SECONDS: i64 = 9_000_000_000;
