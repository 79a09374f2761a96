//! `holdfast.v1.Access`: roles, grants and identities, and what would be decided.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use holdfast_core::{
    State,
    access::{Capability, Decision, Rights, Role, Target, check_identity},
    lock,
};
use holdfast_proto::{
    Key, KeyRange,
    log::v1::{self as log, command::Body},
    v1::{self, access_server::Access},
};
use tonic::{Request, Response, Status};

use super::Required;
use crate::{
    caller::Caller,
    convert, deadline,
    host::{Host, Proposal},
    identity::{PublicKey, is_client_name},
    papers,
    status::invalid,
};

/// `holdfast.v1.Access` of one node.
pub(crate) struct AccessService {
    host: Arc<Host>,
}

impl AccessService {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self { host }
    }

    /// Has the policy changed; answers the head of the answer.
    async fn change(
        &self,
        caller: &Caller,
        id: Option<v1::RequestId>,
        body: Body,
        deadline: std::time::Instant,
    ) -> Result<Option<v1::Header>, Status> {
        let proposal = Proposal {
            request: id,
            author: caller.author().to_string(),
            note: String::new(),
            body,
        };
        let reply = self.host.propose(proposal, deadline).await?;
        Ok(self.host.header(reply.revision))
    }

    /// The state with every change that was acknowledged before the call.
    async fn newest<T>(&self, request: &Request<T>) -> Result<State, Status> {
        self.host.barrier(deadline::of(request.metadata())).await?;
        Ok(self.host.replica.store().view())
    }
}

#[tonic::async_trait]
impl Access for AccessService {
    async fn role_set(
        &self,
        request: Request<v1::RoleSetRequest>,
    ) -> Result<Response<v1::RoleSetResponse>, Status> {
        let (deadline, caller) = (deadline::of(request.metadata()), Caller::of(&request));
        let request = request.into_inner();
        let role = request.role.unwrap_or_default();
        let role = Role::try_from(role).map_err(invalid)?;
        let body = Body::RoleSet(role.to_wire());
        let header = self
            .change(&caller, request.request, body, deadline)
            .await?;
        Ok(Response::new(v1::RoleSetResponse { header }))
    }

    async fn role_remove(
        &self,
        request: Request<v1::RoleRemoveRequest>,
    ) -> Result<Response<v1::RoleRemoveResponse>, Status> {
        let (deadline, caller) = (deadline::of(request.metadata()), Caller::of(&request));
        let request = request.into_inner();
        let body = Body::RoleRemove(log::RoleRemove { name: request.name });
        let header = self
            .change(&caller, request.request, body, deadline)
            .await?;
        Ok(Response::new(v1::RoleRemoveResponse { header }))
    }

    async fn role_list(
        &self,
        request: Request<v1::RoleListRequest>,
    ) -> Result<Response<v1::RoleListResponse>, Status> {
        let state = self.newest(&request).await?;
        let roles = state.access().roles().map(|role| role.to_wire());
        Ok(Response::new(v1::RoleListResponse {
            header: self.host.header(state.revision()),
            roles: roles.collect(),
        }))
    }

    async fn grant_change(
        &self,
        request: Request<v1::GrantChangeRequest>,
    ) -> Result<Response<v1::GrantChangeResponse>, Status> {
        let (deadline, caller) = (deadline::of(request.metadata()), Caller::of(&request));
        let request = request.into_inner();
        let body = Body::GrantChange(log::GrantChange {
            identity: request.identity,
            add: request.add,
            remove: request.remove,
        });
        let header = self
            .change(&caller, request.request, body, deadline)
            .await?;
        Ok(Response::new(v1::GrantChangeResponse { header }))
    }

    async fn grant_list(
        &self,
        request: Request<v1::GrantListRequest>,
    ) -> Result<Response<v1::GrantListResponse>, Status> {
        let state = self.newest(&request).await?;
        let grants = state.access().grants().into_iter();
        let grants = grants.map(|(identity, roles)| v1::AccessGrant {
            identity: identity.to_string(),
            roles: roles.iter().map(ToString::to_string).collect(),
        });
        Ok(Response::new(v1::GrantListResponse {
            header: self.host.header(state.revision()),
            grants: grants.collect(),
        }))
    }

    async fn identity_issue(
        &self,
        request: Request<v1::IdentityIssueRequest>,
    ) -> Result<Response<v1::IdentityIssueResponse>, Status> {
        let (deadline, caller) = (deadline::of(request.metadata()), Caller::of(&request));
        let request = request.into_inner();
        if !is_client_name(&request.name) {
            return Err(invalid(
                "an identity is called by 1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-'",
            ));
        }
        let validity = validity(request.validity_ms)?;
        let public_key = PublicKey::from_request(&request.certificate_request).map_err(invalid)?;
        let authority = papers::held(&self.host)?;
        let now = self.host.now();
        // Signed first, and given out only once the cluster knows of it.
        let certificate = authority
            .sign_client_for(&request.name, &public_key, now, validity)
            .map_err(invalid)?;
        let ends = now + validity;
        let expires_at_ms = ends
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64);
        let body = Body::IdentityIssued(log::IdentityIssued {
            identity: format!("client/{}", request.name),
            expires_at_ms,
        });
        let header = self
            .change(&caller, request.request, body, deadline)
            .await?;
        Ok(Response::new(v1::IdentityIssueResponse {
            header,
            certificate: Bytes::copy_from_slice(&certificate),
            authority: Bytes::copy_from_slice(authority.certificate()),
            expires_at_ms,
        }))
    }

    async fn identity_revoke(
        &self,
        request: Request<v1::IdentityRevokeRequest>,
    ) -> Result<Response<v1::IdentityRevokeResponse>, Status> {
        let (deadline, caller) = (deadline::of(request.metadata()), Caller::of(&request));
        let request = request.into_inner();
        let body = Body::IdentityRevoke(log::IdentityRevoke {
            identity: request.identity,
        });
        let header = self
            .change(&caller, request.request, body, deadline)
            .await?;
        Ok(Response::new(v1::IdentityRevokeResponse { header }))
    }

    async fn identity_list(
        &self,
        request: Request<v1::IdentityListRequest>,
    ) -> Result<Response<v1::IdentityListResponse>, Status> {
        let state = self.newest(&request).await?;
        let identities = state.access().identities();
        let identities = identities.map(|(identity, known)| known.to_wire(identity));
        Ok(Response::new(v1::IdentityListResponse {
            header: self.host.header(state.revision()),
            identities: identities.collect(),
        }))
    }

    async fn can(
        &self,
        request: Request<v1::CanRequest>,
    ) -> Result<Response<v1::CanResponse>, Status> {
        let state = self.newest(&request).await?;
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let identity = match request.identity.as_str() {
            "" => &**caller.author(),
            other => other,
        };
        if *identity != **caller.author() {
            let permit = caller.permit(&state);
            permit.meets(Required::Cluster(Capability::AdminPolicy))?;
            check_identity(identity).map_err(invalid)?;
        }
        let capability = v1::Capability::try_from(request.capability).ok();
        let capability = capability
            .and_then(Capability::from_wire)
            .ok_or_else(|| invalid("the question names no capability; name what is to be done"))?;
        let range = match (capability.is_admin(), request.range) {
            (true, None) => None,
            (true, Some(_)) => {
                return Err(invalid(format!(
                    "{capability} is not about keys; name none"
                )));
            }
            (false, range) => Some(asked(capability, convert::range(range)?)?),
        };
        let rights = state.access().rights(identity);
        let decision = decide(&rights, capability, range.as_ref());
        Ok(Response::new(v1::CanResponse {
            header: self.host.header(state.revision()),
            allowed: decision.allowed,
            role: decision
                .by
                .map_or_else(String::new, |by| by.role.to_string()),
            rule: decision.by.map_or(0, |by| by.index as u32),
            text: decision
                .by
                .map_or_else(String::new, |by| by.rule.to_string()),
            reason_required: decision.reason_required,
            revoked: rights.is_revoked(),
            identity: identity.to_owned(),
        }))
    }
}

/// As the services ask: a lock is the range of its contenders.
fn asked(capability: Capability, range: KeyRange) -> Result<KeyRange, Status> {
    match (capability, range.as_single()) {
        (Capability::Lock, Some(name)) => {
            let name = Key::new(name.clone()).map_err(invalid)?;
            Ok(lock::contenders(&name))
        }
        _ => Ok(range),
    }
}

/// As [`super::Permit`] does.
fn decide<'a>(
    rights: &'a Rights,
    capability: Capability,
    range: Option<&KeyRange>,
) -> Decision<'a> {
    let Some(range) = range else {
        return rights.decide(capability, Target::Cluster);
    };
    if let Some(key) = range.as_single() {
        return rights.decide(capability, Target::Key(key));
    }
    let decision = rights.decide(capability, Target::Range(range));
    if capability == Capability::Read && decision.allowed {
        let listing = rights.decide(Capability::List, Target::Range(range));
        if !listing.allowed {
            return listing;
        }
    }
    decision
}

fn validity(ms: u64) -> Result<Duration, Status> {
    let validity = match ms {
        0 => DEFAULT_VALIDITY,
        ms => Duration::from_millis(ms),
    };
    if !(SHORTEST_VALIDITY..=LONGEST_VALIDITY).contains(&validity) {
        return Err(invalid(
            "a certificate is good for one minute at least and ten years at most",
        ));
    }
    Ok(validity)
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_VALIDITY: Duration = DAY.saturating_mul(365);
const SHORTEST_VALIDITY: Duration = Duration::from_secs(60);
const LONGEST_VALIDITY: Duration = DAY.saturating_mul(3_650);
