//! `keyring verify-recovery`: shows that the shares work, without showing one.

use std::path::PathBuf;

use holdfast_client::{Client, RecoveryChallenge};
use holdfast_seal::{Check, Epoch, EscrowProof, Lineage, RecoveryKey, Split};
use serde_json::json;

use super::shares;
use crate::{failure::Failure, session::Session, terminal::Person};

/// Show that the recovery shares work; from then on secrets are accepted
///
/// As many shares as recover the keyring are put together on this machine, and open the newest
/// epoch here. The cluster gets a proof of that, which is good once; no share leaves this machine.
/// Worth repeating from time to time: a share that is lost is found out only so.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyRecovery {
    /// A file with a share; give as many as recover the keyring. Without, they are asked for and not
    /// shown
    #[arg(long = "share", value_name = "FILE", num_args = 1..)]
    files: Vec<PathBuf>,
}

impl VerifyRecovery {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let client = session.connect().await?;
        let key = match self.files.as_slice() {
            [] => ask(&client).await?,
            files => shares::gather_files(files)?,
        };
        // Only now: a challenge is good for some minutes, and shares are long.
        let asked = client.keyring().challenge_recovery().await?;
        let proof = prove(&key, &asked)?;
        drop(key);
        client
            .keyring()
            .verify_recovery(asked.challenge.clone(), proof.as_bytes().to_vec())
            .await?;
        let set = shares::set_name(&asked.recovery.set);
        if session.is_json() {
            return session
                .output
                .json(&json!({ "set": set, "epoch": asked.epoch }));
        }
        session.output.remark(format_args!(
            "the shares of set {set} open epoch {}: secrets are accepted",
            asked.epoch
        ));
        Ok(())
    }
}

/// Asks for as many shares as the cluster's recovery key wants.
async fn ask(client: &Client) -> Result<RecoveryKey, Failure> {
    let Some(person) = Person::present() else {
        return Err(Failure::usage(
            "there is no terminal to ask for the shares at; nothing was proven, give --share FILE \
             for each",
        ));
    };
    let recovery = client.keyring().status().await?.recovery;
    let recovery = recovery.ok_or_else(|| {
        Failure::refused(
            "there is no recovery key yet; make one with `kvctl keyring init-recovery`",
        )
    })?;
    let number = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    let split = Split::new(number(recovery.shares), number(recovery.threshold))
        .map_err(|error| Failure::refused(error.to_string()))?;
    shares::gather_typed(person, split)
}

/// Opens the epoch of the challenge, and shows that.
fn prove(key: &RecoveryKey, asked: &RecoveryChallenge) -> Result<EscrowProof, Failure> {
    if asked.recovery.set != key.set().as_bytes().as_slice() {
        return Err(Failure::refused(format!(
            "the shares are of set {}, and the cluster's recovery key of set {}; nothing was proven, \
             take the shares of that one",
            key.set(),
            shares::set_name(&asked.recovery.set)
        )));
    }
    let unusable = || {
        Failure::refused(
            "the server's challenge cannot be used; it may be newer than this program, update it",
        )
    };
    let lineage = Lineage::new(&asked.lineage).ok_or_else(unusable)?;
    let epoch = Epoch::new(asked.epoch).ok_or_else(unusable)?;
    let check = asked.check.as_ref().try_into().map_err(|_| unusable())?;
    let challenge = asked
        .challenge
        .as_ref()
        .try_into()
        .map_err(|_| unusable())?;
    key.open_epoch(
        &lineage,
        epoch,
        &asked.recovery_wrap,
        &Check::from_bytes(check),
    )
    .map(|epoch| epoch.escrow_proof(challenge))
    .map_err(|error| {
        Failure::refused(format!(
            "{error}; nothing was proven, and the recovery key of set {} would not recover the \
             cluster: make another with `kvctl keyring init-recovery --replace`",
            key.set()
        ))
    })
}

#[cfg(test)]
mod tests {
    use holdfast_client::{RecoveryKey as Known, Timestamp};
    use holdfast_seal::{EpochKey, OsRandom, Recipient};

    use super::*;

    fn asked(key: &RecoveryKey, epoch: &EpochKey) -> RecoveryChallenge {
        let wrap = epoch.wrap_for(&mut OsRandom, Recipient::Recovery, key.public());
        RecoveryChallenge {
            challenge: vec![7; 32].into(),
            lineage: epoch.lineage().as_str().to_owned(),
            epoch: epoch.epoch().number(),
            recovery_wrap: wrap.into(),
            check: epoch.check().as_bytes().to_vec().into(),
            recovery: Known {
                set: key.set().as_bytes().to_vec().into(),
                public_key: Default::default(),
                shares: 3,
                threshold: 2,
                at: Timestamp::default(),
                verified_at: None,
                author: String::new(),
            },
        }
    }

    #[test]
    fn the_right_key_proves_itself_and_another_or_a_spoilt_wrap_does_not() {
        let split = Split::new(3, 2).unwrap();
        let (key, _) = RecoveryKey::split_new(&mut OsRandom, split);
        let (other, _) = RecoveryKey::split_new(&mut OsRandom, split);
        let lineage = Lineage::new("home").unwrap();
        let epoch = EpochKey::generate(&mut OsRandom, &lineage, Epoch::FIRST);
        let question = asked(&key, &epoch);
        let proof = prove(&key, &question).unwrap();
        assert!(epoch.verify_escrow(&[7; 32], &proof));
        assert!(!epoch.verify_escrow(&[8; 32], &proof));

        let failure = format!("{:?}", prove(&other, &question).unwrap_err());
        assert!(failure.contains("take the shares of that one"), "{failure}");
        let mut spoilt = question.recovery_wrap.to_vec();
        *spoilt.last_mut().unwrap() ^= 1;
        let spoilt = RecoveryChallenge {
            recovery_wrap: spoilt.into(),
            ..question.clone()
        };
        let failure = format!("{:?}", prove(&key, &spoilt).unwrap_err());
        assert!(
            failure.contains("would not recover the cluster"),
            "{failure}"
        );
        let short = RecoveryChallenge {
            check: Default::default(),
            ..question
        };
        assert!(prove(&key, &short).is_err());
    }
}
