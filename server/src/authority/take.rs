//! Taking the next authority: its key, a certificate of it, and at the end the place of the old one.

use std::sync::Arc;

use holdfast_core::{Authority, Role, State};
use holdfast_proto::{
    log::v1::{self as log, command::Body},
    peer::v1 as peer,
};
use rustls_pki_types::CertificateDer;

use super::{Next, Rotation};
use crate::{
    dir::{DirError, NodeDir},
    host::Host,
    identity::{CertificateAuthority, NodeKey},
    papers::{ANSWER, own_role, voters},
    peers::request_within,
    tls::NodeTls,
};

impl Rotation {
    /// Takes the newest authority as far as that can be done now.
    pub(super) async fn take(&mut self, state: &State, newest: &Authority) -> Result<(), String> {
        let generation = newest.generation;
        let certificate = newest.certificate.clone();
        self.on_disk(move |dir| match dir.has_next(&certificate) {
            true => Ok(()),
            false => dir.keep_next(&certificate),
        })
        .await?;
        let votes = own_role(&self.host) == Some(Role::Voter);
        if votes && self.held(generation).await?.is_none() {
            match ask_for_key(&self.host, generation).await {
                Some(key) => self.keep_key(generation, key).await?,
                None => return self.make_again(newest).await,
            }
        }
        let tls = self.certified(generation).await?;
        self.tls.show_next(&tls);
        if !newest.taken.contains(&self.host.id) {
            self.propose(Body::AuthorityTaken(log::AuthorityTaken {
                generation,
                certificate: newest.certificate.clone(),
                member: self.host.id.0,
            }))
            .await?;
            tracing::info!(generation, "this node has taken the next authority");
        }
        if state.next_authority().is_none() {
            self.settle(&tls).await?;
            tracing::info!(generation, "the authority before is trusted no more");
        }
        Ok(())
    }

    /// The authority with its key, if this node has it.
    async fn held(&self, generation: u64) -> Result<Option<Arc<Next>>, String> {
        if let Some(next) = self.host.next_authority(generation) {
            return Ok(Some(next));
        }
        let kept = self.on_disk(|dir| dir.next_authority()).await?;
        Ok(kept.map(|authority| self.host.set_next_authority(generation, authority)))
    }

    async fn keep_key(&self, generation: u64, key: NodeKey) -> Result<(), String> {
        let authority = self.on_disk(move |dir| dir.keep_next_key(&key)).await?;
        self.host.set_next_authority(generation, authority);
        Ok(())
    }

    /// This node's TLS by the next authority.
    async fn certified(&self, generation: u64) -> Result<NodeTls, String> {
        let now = self.host.now();
        if let Some(tls) = self.on_disk(move |dir| dir.next_tls(now)).await? {
            return Ok(tls);
        }
        let certificate = match self.host.next_authority(generation) {
            Some(next) => {
                self.on_disk(move |dir| dir.sign_next(&next.authority, now))
                    .await?
            }
            None => ask_for_certificate(&self.host, generation).await?,
        };
        self.on_disk(move |dir| dir.keep_next_certificate(&certificate, now))
            .await
    }

    async fn settle(&self, tls: &NodeTls) -> Result<(), String> {
        self.on_disk(|dir| dir.settle()).await?;
        self.tls.settle(tls);
        self.host.settle_authority();
        Ok(())
    }

    async fn on_disk<R: Send + 'static>(
        &self,
        act: impl FnOnce(&NodeDir) -> Result<R, DirError> + Send + 'static,
    ) -> Result<R, String> {
        let dir = self.dir.clone();
        let done = tokio::task::spawn_blocking(move || act(&dir)).await;
        done.map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())
    }
}

async fn ask_for_key(host: &Host, generation: u64) -> Option<NodeKey> {
    for mut voter in voters(host) {
        let question = request_within(peer::AuthorityKeyRequest { generation }, ANSWER);
        match voter.authority_key(question).await {
            Ok(answer) => match NodeKey::from_der(&answer.into_inner().ca_key) {
                Ok(key) => return Some(key),
                Err(error) => tracing::warn!(%error, "what a voter handed over is no key"),
            },
            Err(refusal) => tracing::debug!(%refusal, "a voter has no key of it to hand over"),
        }
    }
    None
}

async fn ask_for_certificate(
    host: &Host,
    generation: u64,
) -> Result<CertificateDer<'static>, String> {
    let mut why = "no voter is known yet".to_owned();
    for mut voter in voters(host) {
        let question = request_within(peer::RenewCertificateRequest { generation }, ANSWER);
        match voter.renew_certificate(question).await {
            Ok(answer) => {
                let der = answer.into_inner().certificate.to_vec();
                return Ok(CertificateDer::from(der));
            }
            Err(refusal) => why = refusal.message().to_owned(),
        }
    }
    Err(why)
}

/// The authority of this number, as a voter hands it out or signs with it. 0: the newest there is.
pub(crate) fn by_number(host: &Host, generation: u64) -> Option<Arc<CertificateAuthority>> {
    if generation == 0 {
        let next = host.next_authority.load_full();
        return next
            .map(|next| next.authority.clone())
            .or_else(|| host.authority());
    }
    if let Some(next) = host.next_authority(generation) {
        return Some(next.authority.clone());
    }
    let known = host.read(|state| {
        let mut all = state.authorities();
        let found = all.find(|one| one.generation == generation);
        found.map(|one| one.certificate.clone())
    })?;
    let in_use = host.authority()?;
    (in_use.certificate()[..] == known[..]).then_some(in_use)
}
