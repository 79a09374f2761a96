//! etcd's Cluster service: who the members are. Changing them is the matter of `kvctl`.

use std::sync::Arc;

use holdfast_proto::etcd::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse, cluster_server::Cluster,
};
use tonic::{Request, Response, Status};

use super::{Front, error};
use crate::deadline;

/// `etcdserverpb.Cluster` of one node.
pub(super) struct ClusterService(pub(super) Arc<Front>);

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        if request.into_inner().linearizable {
            self.0.barrier(deadline).await?;
        }
        let members = self.0.members().await;
        Ok(Response::new(MemberListResponse {
            header: self.0.header_now(),
            members,
        }))
    }

    async fn member_add(
        &self,
        _: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        Err(error::unimplemented(
            "members join by token here: `kvctl member token`, then `kvd join` on the new node",
        ))
    }

    async fn member_remove(
        &self,
        _: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        Err(error::unimplemented(
            "members are removed with `kvctl member remove`, which also ends their certificates",
        ))
    }

    async fn member_update(
        &self,
        _: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        Err(error::unimplemented(
            "a member tells its address itself: change `advertise` in its node.toml and start it again",
        ))
    }

    async fn member_promote(
        &self,
        _: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        Err(error::unimplemented(
            "learners are promoted with `kvctl member promote`",
        ))
    }
}

impl Front {
    async fn members(&self) -> Vec<Member> {
        let voters = self.host.replica.status().voters;
        let fronts = self.addresses.of_all(&self.host).await;
        self.host.read(|state| {
            let present = state.members().filter(|member| !member.removed);
            present
                .map(|member| Member {
                    id: member.id.0,
                    name: member.name.to_string(),
                    peer_ur_ls: vec![format!("https://{}", member.address)],
                    client_ur_ls: fronts
                        .get(&member.id)
                        .filter(|url| !url.is_empty())
                        .map(|url| url.to_string())
                        .into_iter()
                        .collect(),
                    is_learner: !voters.contains(&member.id),
                })
                .collect()
        })
    }
}
