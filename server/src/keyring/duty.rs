//! What the keyring needs again and again, on every node that holds keys.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use holdfast_core::{State, VersionId};
use holdfast_proto::{
    limits,
    log::v1::{self as log, command::Body},
};
use holdfast_seal::{
    Context, Epoch, Keyring, Kind, OsRandom, PayloadDigest, PublicKey, Recipient, RewrapPlan,
    envelope,
};

use super::{epochs, lineage};
use crate::host::Host;

/// Keeps the keyring in order until the node stops.
pub(crate) async fn run(host: Arc<Host>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut next_proof = Instant::now();
    let mut next_rewrap = Instant::now();
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = host.closing.cancelled() => return,
            _ = host.fence.raised() => return,
        }
        let state = host.replica.store().view();
        let holds = state
            .member(host.id)
            .is_some_and(|own| !own.removed && own.role.holds_keys());
        if !holds {
            continue;
        }
        tell_node_key(&host, &state).await;
        let newest = state.newest_epoch().map_or(0, |epoch| epoch.epoch);
        if newest == 0 {
            continue;
        }
        if host.keys.epoch() != newest || Instant::now() >= next_proof {
            prove(&host, &state).await;
            next_proof = Instant::now() + PROOF;
        }
        let Ok(keyring) = host.keys.opened(&state) else {
            continue;
        };
        if host.leadership().leader != Some(host.id) {
            continue;
        }
        leave_removed_behind(&host, &state).await;
        wrap_for_new_holders(&host, &state, &keyring).await;
        if Instant::now() >= next_rewrap && !rewrap(&host, &state, &keyring).await {
            next_rewrap = Instant::now() + PROOF;
        }
    }
}

/// The cluster must know the public half of this node's key, for others to wrap for it.
async fn tell_node_key(host: &Host, state: &State) {
    let Some(public) = host.keys.public() else {
        return;
    };
    let protector = host.keys.protector().name();
    let known = state.node_key(host.id).is_some_and(|known| {
        known.public_key[..] == *public.as_bytes() && *known.protector == *protector
    });
    if known {
        return;
    }
    let body = Body::NodeKeySet(log::NodeKeySet {
        member: host.id.0,
        public_key: Bytes::copy_from_slice(public.as_bytes()),
        protector: protector.to_owned(),
    });
    propose(
        host,
        body,
        "this node's key is not known to the cluster yet",
    )
    .await;
}

/// Opens the newest epoch, as any failover would have to, and something that it sealed.
async fn prove(host: &Arc<Host>, state: &State) {
    let host = host.clone();
    let state = state.clone();
    // Opening is work for a processor; requests must not wait for it.
    let proof = tokio::task::spawn_blocking(move || {
        let epochs: Vec<_> = state.epochs().cloned().collect();
        let went = match lineage(&state) {
            Some(lineage) => host.keys.open(host.id, &lineage, &epochs),
            None => Err("the cluster is not formed yet".to_owned()),
        };
        let went = went.and_then(|()| {
            let keyring = host
                .keys
                .opened(&state)
                .map_err(|error| error.message().to_owned())?;
            canary(&keyring)
        });
        // What a failover would find out, found out before it.
        metrics::gauge!("holdfast_keyring_opens").set(f64::from(u8::from(went.is_ok())));
        if host.keys.note(&went, host.replica.now_ms()) {
            let epoch = host.keys.epoch();
            match went {
                Ok(()) => tracing::info!(epoch, "the keyring is open"),
                Err(why) => tracing::warn!(epoch, %why, "the keyring does not open"),
            }
        }
    });
    if let Err(error) = proof.await {
        tracing::warn!(%error, "the proof that the keyring opens did not end");
    }
}

/// Seals a word and opens it again.
fn canary(keyring: &Keyring) -> Result<(), String> {
    let context = Context {
        key: b"canary",
        version: 1,
        kind: Kind::Secret,
    };
    let sealed = envelope::seal(&mut OsRandom, keyring.newest(), &context, CANARY)
        .map_err(|error| error.to_string())?;
    let opened = envelope::open(keyring, &context, &sealed.payload, &sealed.wrap)
        .map_err(|error| error.to_string())?;
    match opened.expose() == CANARY {
        true => Ok(()),
        false => Err("what was sealed opened to something else".to_owned()),
    }
}

/// What is sealed after a member was removed must be under an epoch that it never held. Looked for
/// in the state, so that whoever leads ends what another began.
async fn leave_removed_behind(host: &Host, state: &State) {
    let Some(newest) = state.newest_epoch() else {
        return;
    };
    let held = state
        .members()
        .find(|member| member.removed && newest.wraps.contains_key(&member.id));
    let Some(member) = held else {
        return;
    };
    let reason = format!("member {} was removed", member.name);
    let deadline = Instant::now() + ROTATION;
    match epochs::rotate(host, None, host.author(), &reason, deadline).await {
        Ok(epoch) => tracing::info!(epoch, %reason, "a new epoch has begun"),
        Err(status) => tracing::warn!(%status, %reason, "no new epoch could begin yet"),
    }
}

/// Members that came since the newest epoch began hold no wrap of it yet.
async fn wrap_for_new_holders(host: &Host, state: &State, keyring: &Keyring) {
    let Some(newest) = state.newest_epoch() else {
        return;
    };
    for (member, node_key) in state.key_holders() {
        let has = newest
            .wrap_of(member)
            .is_some_and(|wrap| wrap.public_key == node_key.public_key);
        if has {
            continue;
        }
        let Ok(public) = PublicKey::from_bytes(&node_key.public_key) else {
            tracing::warn!(%member, "a member's node key cannot be wrapped for");
            continue;
        };
        let wrap = keyring
            .newest()
            .wrap_for(&mut OsRandom, Recipient::Member(member.0), &public);
        let body = Body::EpochWrap(log::EpochWrap {
            epoch: newest.epoch,
            member: member.0,
            public_key: node_key.public_key.clone(),
            wrap: wrap.into(),
        });
        propose(host, body, "a member holds no keys yet").await;
    }
}

/// Seals data keys of older epochs with the newest, some each time. What is left is found in the
/// state, so the next leader goes on where this one stopped. False: some do not open; they are
/// tried again, but not at once.
async fn rewrap(host: &Arc<Host>, state: &State, keyring: &Arc<Keyring>) -> bool {
    let newest = keyring.newest().epoch();
    let stale = state
        .wraps_by_epoch()
        .any(|(epoch, _)| epoch < newest.number());
    if !stale {
        return true;
    }
    let (state, keyring) = (state.clone(), keyring.clone());
    let plan = tokio::task::spawn_blocking(move || batches(&state, &keyring, newest));
    let Ok((batches, all_open)) = plan.await else {
        return false;
    };
    for wraps in batches {
        let body = Body::Rewrap(log::Rewrap {
            epoch: newest.number(),
            wraps,
        });
        if !propose(host, body, "secrets are still sealed by an older epoch").await {
            break;
        }
    }
    all_open
}

/// Some commands' worth of data keys under the newest epoch, and whether all that were tried opened.
fn batches(state: &State, keyring: &Keyring, newest: Epoch) -> (Vec<Vec<log::VersionWrap>>, bool) {
    let wraps = state
        .wraps_after(None)
        .filter_map(|(id, wrap)| Some((id.clone(), Epoch::new(wrap.epoch)?)));
    let plan = RewrapPlan::new(newest, limits::REWRAP_WRAPS, wraps);
    let mut all_open = true;
    let mut batches = Vec::new();
    for batch in plan.take(BATCHES_A_LOOK) {
        let mut wraps = Vec::with_capacity(batch.len());
        for (id, _) in batch {
            match again(state, keyring, &id, newest) {
                Some(wrap) => wraps.push(wrap),
                None => {
                    tracing::error!(version = %id, "the data key of a secret does not open");
                    all_open = false;
                }
            }
        }
        if !wraps.is_empty() {
            batches.push(wraps);
        }
    }
    (batches, all_open)
}

fn again(
    state: &State,
    keyring: &Keyring,
    id: &VersionId,
    newest: Epoch,
) -> Option<log::VersionWrap> {
    let wrap = state.wrap(id.key.as_bytes(), id.revision)?;
    let sealed = state.sealed_version(id.key.as_bytes(), id.revision)?;
    let context = Context {
        key: id.key.as_bytes(),
        version: sealed.version,
        kind: Kind::Secret,
    };
    let digest = PayloadDigest::from_bytes(*sealed.digest.as_bytes());
    let wrap = envelope::rewrap(
        &mut OsRandom,
        keyring,
        &context,
        &digest,
        &wrap.wrap,
        newest,
    );
    Some(log::VersionWrap {
        key: id.key.to_bytes(),
        revision: id.revision.get(),
        epoch: newest.number(),
        wrap: wrap.ok()?.into(),
    })
}

async fn propose(host: &Host, body: Body, meanwhile: &'static str) -> bool {
    let deadline = Instant::now() + PROPOSAL;
    let proposed = host
        .propose_own(host.author(), String::new(), body, deadline)
        .await;
    match proposed {
        Ok(_) => true,
        Err(status) => {
            tracing::debug!(%status, "{meanwhile}");
            false
        }
    }
}

const CANARY: &[u8] = b"a canary sings as long as there is air";
const LOOK: Duration = Duration::from_millis(100);
const ROTATION: Duration = Duration::from_secs(5);
const PROOF: Duration = Duration::from_secs(10);
const PROPOSAL: Duration = Duration::from_secs(5);
/// Each look gives way to other work after this many batches.
const BATCHES_A_LOOK: usize = 8;
