//! Letting a new node in: tokens, and what a node gets for one.

use std::time::Instant;

use bytes::Bytes;
use holdfast_core::TokenDigest;
use holdfast_proto::{
    NodeName, limits,
    log::v1::{self as log, command::Body, reply},
    v1,
};
use http::Extensions;
use tonic::Status;

use super::{ClusterService, members};
use crate::{
    audit::Entry,
    host::Host,
    identity::{JoinToken, PublicKey},
    papers,
    status::{Reason, invalid},
};

/// `Cluster.CreateToken`.
pub(super) async fn create_token(
    service: &ClusterService,
    request: v1::CreateTokenRequest,
    author: String,
    deadline: Instant,
) -> Result<v1::CreateTokenResponse, Status> {
    let host = &service.host;
    if !request.name.is_empty() {
        parse_name(&request.name)?;
    }
    let ttl_ms = match request.ttl_ms {
        0 => DEFAULT_TTL_MS,
        ttl if ttl > limits::TOKEN_TTL_MS => {
            return Err(Reason::TooLarge.status("a join token lives for seven days at most"));
        }
        ttl => ttl,
    };
    let role = match v1::Role::try_from(request.role) {
        Ok(v1::Role::Unspecified) => v1::Role::Voter,
        Ok(role) => role,
        Err(_) => return Err(invalid("a node joins as a voter, a learner or a witness")),
    };
    host.barrier(deadline).await?;
    check_no_rotation(host)?;
    // A witness lets nobody in.
    let admits = |member: &v1::Member| member.role() != v1::Role::Witness;
    let members = host.read(members).into_iter().filter(admits);
    let endpoints = members.map(|member| member.address).collect();
    let token = JoinToken::generate(&host.cluster, papers::held(host)?.pin(), endpoints);
    let expires_at_ms = host.replica.now_ms() + ttl_ms;
    let body = Body::TokenCreate(log::TokenCreate {
        digest: Bytes::copy_from_slice(&token.digest()),
        role: role.into(),
        expires_at_ms,
        name: request.name,
    });
    // Not under the caller's request id: a repeat makes another token, and the first answer's
    // digest would not be that token's.
    host.propose_own(author, String::new(), body, deadline)
        .await?;
    Ok(v1::CreateTokenResponse {
        header: host.header_now(),
        token: token.reveal().to_string(),
        expires_at_ms,
    })
}

/// `Cluster.Join`. The caller has no certificate yet: everything it says is checked here or where
/// the token is used up.
pub(super) async fn join(
    service: &ClusterService,
    request: v1::JoinRequest,
    caller: &Extensions,
    deadline: Instant,
) -> Result<v1::JoinResponse, Status> {
    let host = &service.host;
    let authority = papers::held(host)?;
    let token: JoinToken =
        request
            .token
            .parse()
            .map_err(|error: crate::identity::TokenError| {
                Reason::TokenInvalid.status(error.to_string())
            })?;
    if token.cluster_id() != &*host.cluster {
        return Err(Reason::WrongCluster.status(format!(
            "the token is for cluster {}, this node belongs to {}; ask a node of that cluster",
            token.cluster_id(),
            host.cluster
        )));
    }
    check_clock(request.node_time_ms, host.replica.now_ms())?;
    let name = parse_name(&request.name)?;
    let public_key = PublicKey::from_request(&request.certificate_request).map_err(invalid)?;
    // Signed first, so that a bad address is found before the token is used up. It is worth
    // nothing before the node is a member.
    let certificate = authority
        .sign_node(&name, &public_key, &request.address, host.now())
        .map_err(invalid)?;
    let body = Body::MemberAdmit(log::MemberAdmit {
        token_digest: Bytes::copy_from_slice(&token.digest()),
        name: request.name,
        address: request.address.clone(),
        public_key: public_key.der().clone(),
    });
    let author = format!("node/{name}");
    // Anybody can call this: only who shows a token that is good for something may write here.
    host.barrier(deadline).await?;
    check_no_rotation(host)?;
    let digest = TokenDigest::from_bytes(token.digest());
    if host.read(|state| state.token(digest).is_some()) {
        let entry = Entry::by_caller(caller, "holdfast.v1.Cluster/Join")
            .target(format!("{name} at {}", request.address))
            .allowed("holds a join token")
            .request(request.request.as_ref());
        host.audit.record(entry).await?;
    }
    let reply = service
        .propose(request.request, author, body, deadline)
        .await?;
    let Some(reply::Body::Admitted(admitted)) = reply.body else {
        return Err(invalid(
            "this request id was used before, for another kind of request",
        ));
    };
    tracing::info!(node = %name, id = admitted.id, address = %request.address, "a node joined");
    // Every voter can let nodes in; a learner or a witness is not trusted with that.
    let ca_key = match admitted.role == i32::from(v1::Role::Voter) {
        true => Bytes::copy_from_slice(&authority.key().to_der()),
        false => Bytes::new(),
    };
    Ok(v1::JoinResponse {
        header: host.header(reply.revision),
        id: admitted.id,
        certificate: Bytes::copy_from_slice(&certificate),
        ca_certificate: Bytes::copy_from_slice(authority.certificate()),
        ca_key,
        members: host.read(members),
        cluster_id: host.cluster.to_string(),
        role: admitted.role,
    })
}

/// A new node would have to meet both authorities at once.
fn check_no_rotation(host: &Host) -> Result<(), Status> {
    if host.read(|state| state.next_authority().is_none()) {
        return Ok(());
    }
    Err(Reason::NotPossible.status(
        "the cluster's authority is being replaced, so no node can join until that has ended; end it \
         with `kvctl member remove NODE --compromised`, then make a token",
    ))
}

fn check_clock(node_time_ms: u64, cluster_time_ms: u64) -> Result<(), Status> {
    let apart = cluster_time_ms.abs_diff(node_time_ms);
    if apart <= limits::CLOCK_APART_MS {
        return Ok(());
    }
    let side = if node_time_ms < cluster_time_ms {
        "behind"
    } else {
        "ahead of"
    };
    Err(Reason::ClockOff.status(format!(
        "the new node's clock is {} s {side} the cluster's; at most {} s are allowed; \
         set it (for instance with chrony) and join again",
        apart / 1_000,
        limits::CLOCK_APART_MS / 1_000
    )))
}

fn parse_name(name: &str) -> Result<NodeName, Status> {
    name.parse()
        .map_err(|error: holdfast_proto::member::NodeNameError| invalid(error))
}

const DEFAULT_TTL_MS: u64 = 60 * 60 * 1_000;
