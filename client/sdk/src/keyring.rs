//! The keyring: which key secrets are sealed under, who holds it, and how it would be recovered.
//!
//! Only the public half of a recovery key comes here. Its private half, and the shares of it, stay
//! with the caller.

use bytes::Bytes;
use holdfast_proto::{NodeId, Timestamp, v1};

use crate::{Client, ReadError, WriteError};

/// What is done with the keyring. From [`Client::keyring`].
#[derive(Clone, Debug)]
pub struct KeyringClient {
    client: Client,
}

/// How the keyring is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyringStatus {
    /// The newest epoch; 0: there is no keyring yet.
    pub epoch: u64,
    /// Oldest first.
    pub epochs: Vec<EpochStatus>,
    /// How it would be recovered; `None`: it could not be.
    pub recovery: Option<RecoveryKey>,
    /// The members' hold on it.
    pub holders: Vec<HolderStatus>,
    /// Versions that can be opened.
    pub secrets: u64,
    /// Of them under the newest epoch.
    pub rewrapped: u64,
    /// What is wrong, in words, worst first.
    pub problems: Vec<String>,
}

/// One epoch: a key that other keys are wrapped with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochStatus {
    /// Its number.
    pub epoch: u64,
    /// When it began, in cluster time.
    pub at: Timestamp,
    /// Who began it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Versions whose key it wraps now.
    pub secrets: u64,
    /// Members that it was wrapped for.
    pub holders: Vec<NodeId>,
}

/// A recovery key, as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryKey {
    /// Names the set of its shares.
    pub set: Bytes,
    /// Its public half.
    pub public_key: Bytes,
    /// How many shares there are.
    pub shares: u32,
    /// How many of them recover it.
    pub threshold: u32,
    /// When it was made known, in cluster time.
    pub at: Timestamp,
    /// When its shares were shown to work; `None`: not yet, and no secret is accepted.
    pub verified_at: Option<Timestamp>,
    /// Who made it.
    pub author: String,
}

/// One member's hold on the keyring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderStatus {
    /// Who.
    pub member: NodeId,
    /// Its name.
    pub name: String,
    /// Whether the newest epoch is wrapped for it.
    pub wrapped: bool,
    /// Whether it showed lately that it opens it.
    pub opens: bool,
    /// When it did, in cluster time; `None`: never.
    pub opened_at: Option<Timestamp>,
    /// What keeps its own key: `file`, `passphrase`, `systemd`.
    pub protector: String,
    /// What that does and does not keep a thief from.
    pub protects: String,
    /// What is wrong, in words; empty: nothing.
    pub problem: String,
}

/// A recovery key that the caller made, without its private half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecovery {
    /// Names the set of its shares.
    pub set: Bytes,
    /// Its public half.
    pub public_key: Bytes,
    /// How many shares were made.
    pub shares: u32,
    /// How many of them recover it.
    pub threshold: u32,
    /// The set that this one replaces; `None`: there must be none yet.
    pub replaces: Option<Bytes>,
}

/// What a holder of shares answers to show that they work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryChallenge {
    /// Random, and good for some minutes.
    pub challenge: Bytes,
    /// What envelopes of this cluster are bound to.
    pub lineage: String,
    /// The epoch whose key is wrapped below.
    pub epoch: u64,
    /// That key, for the recovery key.
    pub recovery_wrap: Bytes,
    /// Tells whether a key is that epoch's.
    pub check: Bytes,
    /// The recovery key.
    pub recovery: RecoveryKey,
}

impl Client {
    /// What is done with the keyring.
    pub fn keyring(&self) -> KeyringClient {
        KeyringClient {
            client: self.clone(),
        }
    }
}

impl KeyringClient {
    /// How the keyring is.
    pub async fn status(&self) -> Result<KeyringStatus, ReadError> {
        let answer = self
            .client
            .call(self.client.reading(), |attempt| {
                let request = attempt.request(v1::KeyringStatusRequest {});
                async move { attempt.keyring().status(request).await }
            })
            .await?
            .message;
        Ok(KeyringStatus {
            epoch: answer.epoch,
            epochs: answer.epochs.into_iter().map(epoch).collect(),
            recovery: answer.recovery.map(recovery),
            holders: answer.holders.into_iter().map(holder).collect(),
            secrets: answer.secrets,
            rewrapped: answer.rewrapped,
            problems: answer.problems,
        })
    }

    /// Makes a recovery key known, and begins a new epoch that is wrapped for it. Returns the
    /// epoch.
    pub async fn init_recovery(&self, new: NewRecovery) -> Result<u64, WriteError> {
        let write = self.client.begin_write();
        let request = v1::InitRecoveryRequest {
            request: Some(write.id().into()),
            set: new.set,
            public_key: new.public_key,
            shares: new.shares,
            threshold: new.threshold,
            replaces: new.replaces,
        };
        let answer = self
            .client
            .call(self.client.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.keyring().init_recovery(request).await }
            })
            .await?;
        Ok(answer.message.epoch)
    }

    /// What a holder of shares answers to show that they work.
    pub async fn challenge_recovery(&self) -> Result<RecoveryChallenge, ReadError> {
        // Asked where the answer will go: it may be known there alone.
        let answer = self
            .client
            .call(self.client.writing(), |attempt| {
                let request = attempt.request(v1::ChallengeRecoveryRequest {});
                async move { attempt.keyring().challenge_recovery(request).await }
            })
            .await?
            .message;
        Ok(RecoveryChallenge {
            challenge: answer.challenge,
            lineage: answer.lineage,
            epoch: answer.epoch,
            recovery_wrap: answer.recovery_wrap,
            check: answer.check,
            recovery: recovery(answer.recovery.unwrap_or_default()),
        })
    }

    /// Answers a challenge: from then on secrets are accepted.
    pub async fn verify_recovery(
        &self,
        challenge: impl Into<Bytes>,
        proof: impl Into<Bytes>,
    ) -> Result<(), WriteError> {
        let write = self.client.begin_write();
        let request = v1::VerifyRecoveryRequest {
            request: Some(write.id().into()),
            challenge: challenge.into(),
            proof: proof.into(),
        };
        self.client
            .call(self.client.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.keyring().verify_recovery(request).await }
            })
            .await?;
        Ok(())
    }

    /// Begins a new epoch; what was sealed before is rewrapped in the background, see
    /// [`KeyringClient::status`]. Returns the epoch.
    pub async fn rotate(&self, reason: impl Into<String>) -> Result<u64, WriteError> {
        let write = self.client.begin_write();
        let request = v1::RotateRequest {
            request: Some(write.id().into()),
            reason: reason.into(),
        };
        let answer = self
            .client
            .call(self.client.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.keyring().rotate(request).await }
            })
            .await?;
        Ok(answer.message.epoch)
    }
}

impl KeyringStatus {
    /// Whether secrets are accepted: there is a keyring, and its recovery was shown to work.
    pub fn accepts_secrets(&self) -> bool {
        let verified = |recovery: &RecoveryKey| recovery.verified_at.is_some();
        self.epoch > 0 && self.recovery.as_ref().is_some_and(verified)
    }

    /// Whether versions are still under an older epoch than the newest.
    pub fn is_rotating(&self) -> bool {
        self.rewrapped < self.secrets
    }
}

fn epoch(wire: v1::EpochStatus) -> EpochStatus {
    EpochStatus {
        epoch: wire.epoch,
        at: Timestamp::from_millis(wire.at_ms),
        author: wire.author,
        reason: wire.reason,
        secrets: wire.secrets,
        holders: wire.holders.into_iter().map(NodeId).collect(),
    }
}

fn recovery(wire: v1::Recovery) -> RecoveryKey {
    RecoveryKey {
        set: wire.set,
        public_key: wire.public_key,
        shares: wire.shares,
        threshold: wire.threshold,
        at: Timestamp::from_millis(wire.at_ms),
        verified_at: time(wire.verified_at_ms),
        author: wire.author,
    }
}

fn holder(wire: v1::HolderStatus) -> HolderStatus {
    HolderStatus {
        member: NodeId(wire.member),
        name: wire.name,
        wrapped: wire.wrapped,
        opens: wire.opens,
        opened_at: time(wire.opened_at_ms),
        protector: wire.protector,
        protects: wire.protects,
        problem: wire.problem,
    }
}

/// 0 stands for never.
fn time(millis: u64) -> Option<Timestamp> {
    (millis != 0).then(|| Timestamp::from_millis(millis))
}
