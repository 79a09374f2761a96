//! A node's papers: its certificate, and the key of the cluster's authority if it may hold it.
//!
//! Each voter holds the authority's key, lets nodes in and renews its own certificate. A node
//! that joins as a voter gets the key with its certificate; a learner that is promoted asks a voter
//! for it. A learner is never given it, nor is a witness: a voter renews their certificates. Both are asked over
//! the peers' connection, on which each side has shown who it is, and answered by what the members'
//! list says of the caller, never by what it says of itself. How one authority follows another is in
//! [`crate::authority`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use holdfast_core::{Member, Role};
use holdfast_proto::peer::v1::{self as peer, node_client::NodeClient};
use holdfast_raft::PeerNode;
use rustls_pki_types::CertificateDer;
use tonic::{Status, transport::Channel};

use crate::{
    authority::{Rotation, by_number},
    dir::{DirError, NodeDir},
    host::Host,
    identity::{CertificateAuthority, Identity, PublicKey},
    peers::request_within,
    status::{Reason, invalid},
    tls::NodeTls,
};

/// Keeps the papers in order until the node stops.
pub(crate) async fn run(host: Arc<Host>, dir: Arc<NodeDir>, tls: NodeTls) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut next_renewal = Instant::now();
    let mut rotation = Rotation::new(host.clone(), dir.clone(), tls.clone());
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = host.closing.cancelled() => return,
        }
        rotation.look().await;
        if host.authority().is_none() && own_role(&host) == Some(Role::Voter) {
            fetch_authority(&host, &dir).await;
        }
        if Instant::now() >= next_renewal {
            next_renewal = Instant::now()
                + match renew(&host, &dir, &tls).await {
                    Ok(()) => RENEWAL_LOOK,
                    Err(why) => {
                        tracing::warn!(%why, "the node's certificate could not be renewed");
                        RENEWAL_RETRY
                    }
                };
        }
    }
}

/// Hands the authority's key to a member that votes, or is to vote.
pub(crate) async fn authority_key(
    host: &Host,
    caller: Option<&Identity>,
    generation: u64,
    deadline: Instant,
) -> Result<peer::AuthorityKeyResponse, Status> {
    // What an old leader thinks of its members must not decide this.
    host.barrier(deadline).await?;
    let member = member_of(host, caller)?;
    if member.role != Role::Voter {
        return Err(Reason::NotAllowed.status(format!(
            "{} is no voter (a learner can be promoted, a witness never), so it is not trusted with \
             the authority's key",
            member.name
        )));
    }
    let authority = held_by_number(host, generation)?;
    tracing::info!(node = %member.name, "the authority's key was handed to a promoted node");
    Ok(peer::AuthorityKeyResponse {
        ca_key: Bytes::copy_from_slice(&authority.key().to_der()),
    })
}

/// Signs a new certificate for a member, for the key and the address that the cluster knows of it.
pub(crate) async fn renewed_certificate(
    host: &Host,
    caller: Option<&Identity>,
    generation: u64,
    deadline: Instant,
) -> Result<peer::RenewCertificateResponse, Status> {
    host.barrier(deadline).await?;
    let member = member_of(host, caller)?;
    let public_key = PublicKey::from_der(&member.public_key).map_err(invalid)?;
    let certificate = held_by_number(host, generation)?
        .sign_node(&member.name, &public_key, &member.address, host.now())
        .map_err(invalid)?;
    Ok(peer::RenewCertificateResponse {
        certificate: Bytes::copy_from_slice(&certificate),
    })
}

/// The authority that certifies whoever comes new, if this node holds its key: while it is rotated the
/// next one.
pub(crate) fn held(host: &Host) -> Result<Arc<CertificateAuthority>, Status> {
    held_by_number(host, 0)
}

fn held_by_number(host: &Host, generation: u64) -> Result<Arc<CertificateAuthority>, Status> {
    by_number(host, generation).ok_or_else(|| {
        Reason::NoAuthority
            .status("this node does not hold the key of the cluster's authority; ask a voter")
    })
}

/// The member that a connection's certificate belongs to.
fn member_of(host: &Host, caller: Option<&Identity>) -> Result<Arc<Member>, Status> {
    let Some(Identity::Node {
        name, public_key, ..
    }) = caller
    else {
        return Err(Reason::NotAllowed.status("only nodes of the cluster may call this"));
    };
    let is_caller = |member: &&Arc<Member>| {
        !member.removed && member.name == *name && member.public_key == *public_key
    };
    host.read(|state| state.members().find(is_caller).cloned())
        .ok_or_else(|| {
            Reason::NotAllowed.status(format!("{name} is no member of this cluster with that key"))
        })
}

pub(crate) fn own_role(host: &Host) -> Option<Role> {
    host.read(|state| {
        let own = state.member(host.id).filter(|own| !own.removed);
        own.map(|own| own.role)
    })
}

async fn fetch_authority(host: &Host, dir: &Arc<NodeDir>) {
    let generation = generation_in_use(host);
    for mut voter in voters(host) {
        let question = request_within(peer::AuthorityKeyRequest { generation }, ANSWER);
        let key = match voter.authority_key(question).await {
            Ok(answer) => answer.into_inner().ca_key,
            Err(refusal) => {
                tracing::debug!(%refusal, "a voter did not hand the authority's key over");
                continue;
            }
        };
        let kept = {
            let dir = dir.clone();
            tokio::task::spawn_blocking(move || dir.keep_authority(&key)).await
        };
        match kept {
            Ok(Ok(authority)) => {
                host.set_authority(authority);
                tracing::info!("this node votes, and holds the authority's key now");
                return;
            }
            Ok(Err(error)) => tracing::warn!(%error, "the authority's key cannot be kept"),
            Err(error) => tracing::warn!(%error, "the authority's key was not kept"),
        }
    }
}

/// Renews the certificate if that is due: by itself, or through a voter.
async fn renew(host: &Host, dir: &Arc<NodeDir>, tls: &NodeTls) -> Result<(), String> {
    let now = host.now();
    if !tls.is_due(now) {
        return Ok(());
    }
    let said = |error: DirError| error.to_string();
    let (kept_dir, kept_tls) = (dir.clone(), tls.clone());
    if dir.holds_authority() {
        let renewed = tokio::task::spawn_blocking(move || kept_dir.renew_if_due(&kept_tls, now));
        let renewed = renewed.await.map_err(|error| error.to_string())?;
        renewed.map_err(said)?;
    } else {
        let certificate = ask_for_certificate(host).await?;
        let keep = move || kept_dir.replace_certificate(&kept_tls, &certificate, now);
        let kept = tokio::task::spawn_blocking(keep).await;
        kept.map_err(|error| error.to_string())?.map_err(said)?;
    }
    tracing::info!("the node's certificate was renewed");
    Ok(())
}

async fn ask_for_certificate(host: &Host) -> Result<CertificateDer<'static>, String> {
    let mut why = "no voter is known yet".to_owned();
    let generation = generation_in_use(host);
    for mut voter in voters(host) {
        let question = request_within(peer::RenewCertificateRequest { generation }, ANSWER);
        match voter.renew_certificate(question).await {
            Ok(answer) => {
                return Ok(CertificateDer::from(
                    answer.into_inner().certificate.to_vec(),
                ));
            }
            Err(refusal) => why = refusal.message().to_owned(),
        }
    }
    Err(why)
}

/// The number of the authority in this node's folder. 0: there never was another one.
fn generation_in_use(host: &Host) -> u64 {
    let own = host.trust.own();
    host.read(|state| {
        let mut all = state.authorities();
        let found = all.find(|one| one.certificate[..] == own[..]);
        found.map_or(0, |one| one.generation)
    })
}

/// Clients of the other nodes that vote.
pub(crate) fn voters(host: &Host) -> Vec<NodeClient<Channel>> {
    let status = host.replica.status();
    let is_other = |node: &&PeerNode| node.id != host.id && status.voters.contains(&node.id);
    let others = status.nodes.iter().filter(is_other);
    others
        .filter_map(|node| host.peers.client(node).ok())
        .collect()
}

const LOOK: Duration = Duration::from_millis(100);
const RENEWAL_LOOK: Duration = Duration::from_secs(60 * 60);
const RENEWAL_RETRY: Duration = Duration::from_secs(5);
pub(crate) const ANSWER: Duration = Duration::from_secs(2);
