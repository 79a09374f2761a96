//! What the nodes say of themselves, and waiting until they say the right thing.

use std::collections::BTreeSet;

use anyhow::Context as _;
use holdfast_client::{Client, ClientOptions, Member, MemberStatus, NodeId, Role, Status};
use parking_lot::Mutex;

use super::{Cluster, SETTLE};
use crate::harness::wait;

impl Cluster {
    /// What each running node says of itself; none of one that does not answer.
    pub async fn statuses(&self, client: &Client) -> Vec<(usize, Option<Status>)> {
        let asking = self.running().into_iter().map(|node| async move {
            (
                node,
                client.cluster().status_local(self.address(node)).await.ok(),
            )
        });
        futures::future::join_all(asking).await
    }

    /// The place of the leader, once a majority of the nodes agrees on it.
    pub async fn leader(&self, client: &Client) -> anyhow::Result<usize> {
        wait::until("a leader", SETTLE, || async {
            let statuses = self.statuses(client).await;
            let leaders = || {
                statuses
                    .iter()
                    .filter_map(|(_, status)| status.as_ref()?.leader)
            };
            let id = leaders()
                .find(|id| leaders().filter(|other| other == id).count() * 2 > self.len())?;
            statuses
                .iter()
                .find(|(_, status)| status.as_ref().is_some_and(|status| status.node == id))
                .map(|(place, _)| *place)
        })
        .await
    }

    /// The number under which the cluster knows a node.
    pub async fn id(&self, client: &Client, place: usize) -> anyhow::Result<NodeId> {
        let members = client.cluster().member_list().await?.members;
        let named = |one: &&Member| one.name == self.name(place);
        let member = members
            .iter()
            .find(named)
            .context("a member of that name")?;
        Ok(member.id)
    }

    /// Some node that is not the leader.
    pub async fn follower(&self, client: &Client) -> anyhow::Result<usize> {
        let leader = self.leader(client).await?;
        self.running()
            .into_iter()
            .find(|node| *node != leader)
            .context("a follower")
    }

    /// Waits until every node runs and votes, all agree on a leader, and all have applied the same,
    /// with the same state hash.
    pub async fn wait_until_whole(&self) -> anyhow::Result<()> {
        let client = Client::lazy(&self.context()?, ClientOptions::default())?;
        let seen = Mutex::new(None);
        let whole = wait::until("all nodes to agree", SETTLE, || async {
            let place = self.common_place(&client).await;
            // Twice the same: between the two halves of a change of voters all may look well.
            let before = std::mem::replace(&mut *seen.lock(), place.clone());
            (place.is_some() && place == before).then_some(())
        })
        .await;
        match whole {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(format!("{:#?}", self.statuses(&client).await))),
        }
    }

    /// Leader, applied index and state hash, if all nodes run, vote and have the same.
    async fn common_place(&self, client: &Client) -> Option<(NodeId, u64, Vec<u8>)> {
        let statuses = self.statuses(client).await;
        let mut places = BTreeSet::new();
        for (_, status) in &statuses {
            let status = status.as_ref()?;
            let own = own(status).filter(|own| own.member.role != Role::Learner)?;
            places.insert((status.leader?, own.applied, own.state_hash.clone()));
        }
        let place = places.pop_first()?;
        (places.is_empty() && statuses.len() == self.len()).then_some(place)
    }

    /// Waits until every node runs, answers, and is at most a few entries behind: as whole as a
    /// cluster under load can be.
    pub async fn wait_until_whole_but_busy(&self, client: &Client) -> anyhow::Result<()> {
        let kept_up = wait::until("all nodes to keep up", SETTLE, || async {
            // A list of members from a node that lags may have made the client forget one that joined.
            client.cluster().member_list().await.ok();
            let statuses = self.statuses(client).await;
            let keeps_up = statuses.len() == self.len()
                && statuses.iter().all(|(_, status)| {
                    status.as_ref().is_some_and(|status| {
                        status.leader.is_some() && own(status).is_some_and(|own| own.lag < KEEPS_UP)
                    })
                });
            keeps_up.then_some(())
        })
        .await;
        match kept_up {
            Ok(()) => Ok(()),
            Err(error) => {
                let known = client.endpoints();
                let mut told = Vec::new();
                for node in self.running() {
                    let status = client.cluster().status_local(self.address(node)).await;
                    told.push(match status {
                        Ok(status) => {
                            format!("{}: lag {:?}", node, own(&status).map(|own| own.lag))
                        }
                        Err(error) => format!("{node}: {error}"),
                    });
                }
                Err(error.context(format!("the client knows {known:?}; {told:?}")))
            }
        }
    }
}

/// What a node says of itself in its own status.
pub(super) fn own(status: &Status) -> Option<&MemberStatus> {
    status
        .members
        .iter()
        .find(|one| one.member.id == status.node)
}

/// Entries behind the leader's last.
const KEEPS_UP: u64 = 100;
