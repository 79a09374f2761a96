//! `kvd restore` and `kvd verify-backup`.

use std::{
    error::Error,
    io::IsTerminal as _,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use clap::Args;
use holdfast_proto::NodeName;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use super::{Addresses, absolute, address, say_how_to_run};
use crate::{
    backup::{self, BackupReader, Lock, Trust},
    keyring,
    restore::{Holder, RestoreOptions, restore},
    run::forbid_core_dumps,
};

/// What a backup is checked against, and opened with.
#[derive(Debug, Args)]
struct BackupKey {
    /// Take only a backup of the cluster with this authority: its ca.crt
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// A file with the recovery shares, one a line; - for standard input. Without it, and at a terminal,
    /// they are asked for if they are needed
    #[arg(long, value_name = "FILE", conflicts_with = "node_dir")]
    shares_file: Option<PathBuf>,
    /// Instead of shares: the folder of a node that was a member when the backup was made
    #[arg(long, value_name = "DIR")]
    node_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArguments {
    /// The backup
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Folder of the node; new or empty
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Name of the node
    #[arg(long, default_value = "n1")]
    name: NodeName,
    #[command(flatten)]
    key: BackupKey,
    /// Where it listens for clients and peers
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7101", value_parser = address)]
    listen: String,
    #[command(flatten)]
    addresses: Addresses,
    /// Read the passphrase of the new node key from this file descriptor, not from
    /// $HOLDFAST_PASSPHRASE or a prompt
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    key: BackupKey,
    /// Also restore it into a temporary folder, and compare what a store makes of it
    #[arg(long)]
    drill: bool,
}

impl RestoreArguments {
    pub(super) fn execute(self) -> Result<(), Box<dyn Error>> {
        forbid_core_dumps()?;
        let protector = self.addresses.key_protector;
        let options = RestoreOptions {
            trust: self.key.trust()?,
            holder: self.key.holder(&self.from)?,
            key_protector: protector,
            unlock: keyring::file::unlock_as(protector, true, self.passphrase_fd)?,
            from: self.from,
            dir: self.dir,
            name: self.name,
            listen: self.listen,
            advertise: self.addresses.advertise,
            http: self.addresses.http,
            etcd: self.addresses.etcd_listen,
        };
        let is_checked = self.key.authority.is_some();
        let restored = restore(&options, SystemTime::now())?;
        let configuration = restored.dir.configuration();
        anstream::println!(
            "Cluster {} was restored as a new cluster, {}.\n\
             Its first node is {} in {}.\n\
             {} keys with {} older values are there, as of revision {} of cluster {}; of secrets, \
             versions that open: {}.\n\
             Revisions go on after {}. Nodes and contexts of the old cluster are not let in.",
            configuration.cluster_name,
            configuration.cluster_id,
            configuration.name,
            restored.dir.path().display(),
            restored.keys,
            restored.past_rows,
            restored.old_revision,
            restored.old_cluster,
            restored.secrets,
            restored.revision,
        );
        if !is_checked {
            anstream::println!(
                "Who made the backup was not checked: --authority takes the ca.crt of the old cluster."
            );
        }
        anstream::println!();
        say_how_to_run(&restored.dir);
        if let Some(context) = restored.dir.context() {
            anstream::println!(
                "  export HOLDFAST_CONTEXT={}\n  kvctl status",
                absolute(&context).display()
            );
        }
        Ok(())
    }
}

impl VerifyArguments {
    pub(super) fn execute(self) -> Result<(), Box<dyn Error>> {
        forbid_core_dumps()?;
        let trust = self.key.trust()?;
        let holder = self.key.holder(&self.file)?;
        let lock = || match &holder {
            Some(holder) => Lock::Key(holder.unlock()),
            None => Lock::None,
        };
        let begun = Instant::now();
        let backup = BackupReader::open(&self.file)?;
        let header = backup.header().clone();
        let contents = backup::verify(backup, &trust, &lock())?;
        anstream::println!(
            "{} is whole: cluster {} ({}) at revision {}, log index {}, made by {}.\n\
             {} keys, {} older values; state hash {}; checked in {:?}.",
            self.file.display(),
            header.cluster_name,
            header.cluster_id,
            header.revision,
            header.index,
            header.member_name,
            header.keys,
            contents.past_rows,
            hex::encode(&header.state_hash),
            begun.elapsed(),
        );
        if self.drill {
            let (begun, scratch) = (Instant::now(), tempfile::tempdir()?);
            let backup = BackupReader::open(&self.file)?;
            let drilled = backup::drill(backup, &trust, &lock(), scratch.path())?;
            anstream::println!(
                "Restored for a trial: {} keys, {} older values, state hash {}; {:?}. Nothing is left of it.",
                drilled.keys,
                drilled.past_rows,
                hex::encode(drilled.state_hash),
                begun.elapsed(),
            );
        }
        Ok(())
    }
}

impl BackupKey {
    /// Whose backups are taken.
    fn trust(&self) -> Result<Trust, Box<dyn Error>> {
        let Some(path) = &self.authority else {
            return Ok(Trust::AsItSays);
        };
        let certificate = CertificateDer::from_pem_file(path)
            .map_err(|error| format!("{} is no certificate: {error}", path.display()))?;
        Ok(Trust::Authority(certificate))
    }

    /// Who opens the backup; asked for at a terminal if it is sealed and nothing was said.
    fn holder(&self, backup: &Path) -> Result<Option<Holder>, Box<dyn Error>> {
        if let Some(path) = &self.node_dir {
            return Ok(Some(Holder::of_folder(path)?));
        }
        match &self.shares_file {
            Some(path) => Ok(Some(Holder::of_shares_file(path)?)),
            None if BackupReader::open(backup)?.is_sealed() && std::io::stdin().is_terminal() => {
                Ok(Some(Holder::of_typed_shares()?))
            }
            None => Ok(None),
        }
    }
}
