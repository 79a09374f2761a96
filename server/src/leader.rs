//! Asking the leader for what only it can do.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use holdfast_proto::peer::v1::node_client::NodeClient;
use tonic::{Code, Status, transport::Channel};

use crate::{
    host::{self, Host},
    status::Reason,
};

/// Where the leader is.
pub(crate) enum Leader {
    /// This node leads.
    Here,
    /// Another node does.
    There(NodeClient<Channel>),
}

/// Asks the leader, and again while it changes, until `deadline`. Only for what may be repeated.
pub(crate) async fn at_leader<'a, R>(
    host: &Host,
    deadline: Instant,
    ask: impl Fn(Leader) -> BoxFuture<'a, Result<R, Status>>,
) -> Result<R, Status> {
    let mut leaderships = host.replica.leadership();
    loop {
        let leadership = *leaderships.borrow_and_update();
        let leader = match leadership.leader {
            Some(leader) if leader == host.id => leadership.is_self_ready.then_some(Leader::Here),
            Some(leader) => match host.peer(leader) {
                Some(peer) => Some(Leader::There(host.peers.client(&peer)?)),
                None => None,
            },
            None => None,
        };
        if let Some(leader) = leader {
            match ask(leader).await {
                Err(status) if status.code() == Code::Unavailable => {}
                answer => return answer,
            }
        }
        if Instant::now() >= deadline {
            return Err(Reason::NoQuorum
                .status("no leader answered in time; try again, or look at `kvctl status`"));
        }
        tokio::select! {
            _ = leaderships.changed() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = host.closing.cancelled() => return Err(host::closing()),
        }
    }
}

/// What a node that does not lead answers.
pub(crate) fn not_leader() -> Status {
    Reason::NotLeader.status("this node does not lead; ask the leader")
}

const LOOK_AGAIN: Duration = Duration::from_millis(20);
