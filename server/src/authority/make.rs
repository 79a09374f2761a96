//! Making the next authority, at the leader.

use std::time::{Duration, Instant};

use bytes::Bytes;
use holdfast_core::{Authority, Role};
use holdfast_proto::log::v1::{self as log, command::Body};

use super::Rotation;
use crate::{identity::CertificateAuthority, papers::own_role};

/// Since when this leader has found nobody who holds the key of an authority that nobody took.
#[derive(Default)]
pub(super) struct Lost(Option<(Bytes, Instant)>);

impl Lost {
    /// Whether that is long enough for taking it for lost.
    fn is_lost(&mut self, certificate: &Bytes) -> bool {
        match &self.0 {
            Some((known, since)) if known == certificate => since.elapsed() >= LOST_AFTER,
            _ => {
                self.0 = Some((certificate.clone(), Instant::now()));
                false
            }
        }
    }
}

impl Rotation {
    /// Makes the authority that is wanted, if this node leads and may hold its key.
    pub(super) async fn make(&self, wanted: &Authority) -> Result<(), String> {
        if !self.leads() {
            return Ok(());
        }
        let (dir, host) = (self.dir.clone(), self.host.clone());
        let generation = wanted.generation;
        let replaces = wanted.certificate.clone();
        let made = tokio::task::spawn_blocking(move || {
            let authority =
                CertificateAuthority::create_next(&host.cluster, generation, host.now())
                    .map_err(|error| error.to_string())?;
            let certificate = Bytes::copy_from_slice(authority.certificate());
            // On disk before anybody hears of it: this node alone has the key.
            dir.keep_next(&certificate)
                .and_then(|()| dir.keep_next_key(authority.key()))
                .map_err(|error| error.to_string())?;
            Ok::<_, String>(certificate)
        });
        let certificate = made.await.map_err(|error| error.to_string())??;
        let body = Body::AuthorityBegin(log::AuthorityBegin {
            generation,
            certificate,
            replaces,
        });
        self.propose(body).await?;
        tracing::info!(generation, "the next authority was made");
        Ok(())
    }

    /// Makes another authority in the place of one whose key nobody has, if that is so.
    pub(super) async fn make_again(&mut self, lost: &Authority) -> Result<(), String> {
        if !self.leads() || !lost.taken.is_empty() || !self.lost.is_lost(&lost.certificate) {
            return Err("no voter that answers holds its key yet".to_owned());
        }
        tracing::warn!(
            generation = lost.generation,
            "the key of the next authority is lost with the node that made it; another is made"
        );
        self.make(lost).await
    }

    fn leads(&self) -> bool {
        self.host.leadership().is_self_ready && own_role(&self.host) == Some(Role::Voter)
    }

    pub(super) async fn propose(&self, body: Body) -> Result<(), String> {
        let deadline = Instant::now() + PROPOSAL;
        let host = &self.host;
        let proposed = host.propose_own(host.author(), String::new(), body, deadline);
        match proposed.await {
            Ok(_) => Ok(()),
            Err(status) => Err(status.message().to_owned()),
        }
    }
}

const PROPOSAL: Duration = Duration::from_secs(5);
/// The maker may only be starting again.
const LOST_AFTER: Duration = Duration::from_secs(5);
