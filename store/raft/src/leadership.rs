//! Who leads, told to whoever wants to know; and whether this node had to stop.

use std::sync::Arc;

use holdfast_proto::NodeId;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::sync::watch;

use crate::{
    progress::Progress,
    status::Leadership,
    types::{LogId, Raft, term_of},
};

/// Follows the core until it ends, and then says why it did.
pub(crate) async fn follow(
    raft: Raft,
    progress: Arc<Progress>,
    leadership: watch::Sender<Leadership>,
    failure: watch::Sender<Option<String>>,
) {
    let mut server = raft.server_metrics();
    let mut applied = progress.applied();
    loop {
        let now = {
            let server = server.borrow_and_update();
            let applied = *applied.borrow_and_update();
            let term = server.vote.leader_id.term;
            let leads = server.state.is_leader() && server.current_leader == Some(server.id);
            Leadership {
                term,
                leader: server.current_leader.map(NodeId),
                is_self_ready: leads && applied_own_term(applied, term),
            }
        };
        leadership.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
        let waits_for_own_term = now.leader == Some(NodeId(*raft.node_id())) && !now.is_self_ready;
        tokio::select! {
            changed = server.changed() => if changed.is_err() {
                break;
            },
            // Under load this changes a thousand times a second and says nothing new.
            _ = applied.changed(), if waits_for_own_term => {}
        }
    }
    let why = match &raft.metrics().borrow_watched().running_state {
        Err(fatal) => fatal.to_string(),
        Ok(()) => "consensus ended".to_owned(),
    };
    stop(&leadership, &failure, &why);
}

/// Nobody leads as far as this node knows, and it takes no part any more.
pub(crate) fn stop(
    leadership: &watch::Sender<Leadership>,
    failure: &watch::Sender<Option<String>>,
    why: &str,
) {
    failure.send_if_modified(|known| {
        let is_first = known.is_none();
        known.get_or_insert_with(|| why.to_owned());
        is_first
    });
    leadership.send_modify(|known| {
        known.leader = None;
        known.is_self_ready = false;
    });
}

fn applied_own_term(applied: Option<LogId>, term: u64) -> bool {
    applied.is_some_and(|last| term_of(&last) == term)
}
