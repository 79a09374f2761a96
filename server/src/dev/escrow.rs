//! Escrow for a local cluster: it takes no secrets before the shares of its recovery key were shown
//! to work, so `kvd dev` and `kvd demo` make shares, keep them in a file, and show that.
//!
//! For development only: whoever has the folder has the shares, and with them every secret.

use std::{fs, path::Path};

use holdfast_client::{Client, NewRecovery};
use holdfast_seal::{
    Check, Epoch, Lineage, OsRandom, RecoveryKey, SecretBytes, SetId, Share, Split,
};

use super::cluster::ClusterError;
use crate::dir::files::{self, Mode};

/// Sees to it that a cluster takes secrets. Does nothing if it does already.
pub(super) async fn begin(client: &Client, dir: &Path) -> Result<(), ClusterError> {
    let keyring = client.keyring();
    let status = keyring.status().await.map_err(request)?;
    if status.accepts_secrets() {
        return Ok(());
    }
    let file = dir.join(SHARES);
    let key = match status.recovery {
        Some(_) => RecoveryKey::combine(read(&file)?).map_err(request)?,
        None => {
            let split = Split::new(3, 2).map_err(request)?;
            let (key, shares) = RecoveryKey::split_new(&mut OsRandom, split);
            write(&file, &shares)?;
            let new = NewRecovery {
                set: SetId::of(key.public()).as_bytes().to_vec().into(),
                public_key: key.public().as_bytes().to_vec().into(),
                shares: split.shares().into(),
                threshold: split.threshold().into(),
                replaces: None,
            };
            keyring.init_recovery(new).await.map_err(request)?;
            // What the file says is what is shown to work.
            RecoveryKey::combine(read(&file)?).map_err(request)?
        }
    };
    let asked = keyring.challenge_recovery().await.map_err(request)?;
    let unreadable = || request("the recovery challenge cannot be read");
    let epoch = key
        .open_epoch(
            &Lineage::new(&asked.lineage).ok_or_else(unreadable)?,
            Epoch::new(asked.epoch).ok_or_else(unreadable)?,
            &asked.recovery_wrap,
            &Check::from_bytes(asked.check[..].try_into().map_err(|_| unreadable())?),
        )
        .map_err(request)?;
    let challenge = asked.challenge[..].try_into().map_err(|_| unreadable())?;
    let proof = epoch.escrow_proof(challenge).as_bytes().to_vec();
    let proven = keyring.verify_recovery(asked.challenge, proof).await;
    proven.map_err(request)
}

fn write(file: &Path, shares: &[Share]) -> Result<(), ClusterError> {
    let mut text = HEADING.as_bytes().to_vec();
    for share in shares {
        text.extend_from_slice(share.to_text().expose());
        text.push(b'\n');
    }
    let text = SecretBytes::new(text);
    Ok(files::write_atomically(file, text.expose(), Mode::Private)?)
}

/// As many shares as make the key.
fn read(file: &Path) -> Result<Vec<Share>, ClusterError> {
    let failed = files::failed("could not read", file);
    let text = SecretBytes::new(fs::read(file).map_err(failed)?);
    let lines = text.expose_text().unwrap_or_default().lines();
    let shares = lines
        .filter(|line| !line.starts_with('#'))
        .map(Share::parse);
    shares.take(2).collect::<Result<_, _>>().map_err(request)
}

fn request(error: impl ToString) -> ClusterError {
    ClusterError::Request(error.to_string())
}

const SHARES: &str = "recovery-shares.txt";
const HEADING: &str = "\
# The recovery shares of a cluster for development: any two of them open all its secrets.
# In earnest each share is somebody else's to keep: kvctl keyring init-recovery --help
";
