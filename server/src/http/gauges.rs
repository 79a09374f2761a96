//! The vitals of a node: what its metrics, health and readiness are taken from.

use holdfast_raft::{Replica, ReplicaRole};
use metrics::gauge;

use super::Vitals;
use crate::node::{Health, Node};

/// A node, as its HTTP port sees it.
pub struct NodeVitals {
    health: Health,
    replica: Replica,
}

impl NodeVitals {
    /// Of this node, for as long as it runs.
    pub fn of(node: &Node) -> Self {
        Self {
            health: node.health(),
            replica: node.replica().clone(),
        }
    }
}

impl Vitals for NodeVitals {
    fn live(&self) -> Result<(), String> {
        self.health.alive()
    }

    fn ready(&self) -> Result<(), String> {
        self.health.ready()?;
        let status = self.replica.status();
        let behind = behind(status.applied, status.committed);
        if behind > FAR_BEHIND {
            return Err(format!("{behind} committed entries are not applied yet"));
        }
        Ok(())
    }

    fn measure(&self) {
        let status = self.replica.status();
        let number = |value: Option<u64>| value.unwrap_or(0) as f64;
        let healthy = self.health.alive().is_ok();
        gauge!("holdfast_node_healthy").set(f64::from(u8::from(healthy)));
        gauge!("holdfast_raft_term").set(status.term as f64);
        let leads = status.role == ReplicaRole::Leader;
        gauge!("holdfast_raft_is_leader").set(f64::from(u8::from(leads)));
        gauge!("holdfast_raft_has_leader").set(f64::from(u8::from(status.leader.is_some())));
        gauge!("holdfast_raft_voters").set(status.voters.len() as f64);
        gauge!("holdfast_raft_learners").set(status.learners.len() as f64);
        gauge!("holdfast_raft_last_log_index").set(number(status.last_log));
        gauge!("holdfast_raft_committed_index").set(number(status.committed));
        gauge!("holdfast_raft_applied_index").set(number(status.applied));
        gauge!("holdfast_raft_archive_index").set(number(status.snapshot));
        gauge!("holdfast_raft_purged_index").set(number(status.purged));
        for peer in &status.peers {
            let lag = behind(peer.matched, status.last_log) as f64;
            gauge!("holdfast_raft_peer_lag_entries", "peer" => peer.id.to_string()).set(lag);
        }
        let (revision, compacted, usage) = self
            .replica
            .store()
            .read(|state| (state.revision(), state.compacted(), state.usage()));
        let (epoch, versions, older) = self.replica.store().read(|state| {
            let newest = state.newest_epoch().map_or(0, |epoch| epoch.epoch);
            let (mut versions, mut older) = (0, 0);
            for (epoch, count) in state.wraps_by_epoch() {
                versions += count;
                older += if epoch < newest { count } else { 0 };
            }
            (newest, versions, older)
        });
        gauge!("holdfast_keyring_epoch").set(epoch as f64);
        gauge!("holdfast_keyring_versions").set(versions as f64);
        gauge!("holdfast_keyring_versions_under_older_epochs").set(older as f64);
        gauge!("holdfast_store_revision").set(revision as f64);
        gauge!("holdfast_store_compacted_revision").set(compacted as f64);
        gauge!("holdfast_store_keys").set(usage.keys as f64);
        gauge!("holdfast_store_state_bytes").set(usage.state_bytes as f64);
        gauge!("holdfast_store_history_bytes").set(usage.history_bytes as f64);
        gauge!("holdfast_store_leases").set(usage.leases as f64);
        gauge!("holdfast_store_fleet_reports").set(usage.fleet_reports as f64);
        gauge!("holdfast_store_sessions").set(usage.sessions as f64);
    }
}

fn behind(done: Option<u64>, goal: Option<u64>) -> u64 {
    goal.unwrap_or(0).saturating_sub(done.unwrap_or(0))
}

/// Entries. A node that has more than this to catch up on should not be sent requests.
const FAR_BEHIND: u64 = 10_000;
