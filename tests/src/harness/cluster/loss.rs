//! The loss of everything, and a new beginning with a backup.

use std::fs;

use anyhow::Context as _;
use holdfast_client::Role;

use super::{Cluster, succeed};

impl Cluster {
    /// All nodes die at the same moment, and their folders with them.
    pub fn lose_everything(&mut self) -> anyhow::Result<()> {
        self.kill_all();
        for node in &self.nodes {
            fs::remove_dir_all(&node.dir)
                .with_context(|| format!("deleting {}", node.dir.display()))?;
        }
        Ok(())
    }

    /// `kvd restore` with these arguments makes the first node again, at its address, and it runs then.
    /// The others are gone: [`Cluster::grow`] brings new ones.
    pub async fn restore(&mut self, arguments: &[&str]) -> anyhow::Result<String> {
        self.nodes.truncate(1);
        let mut command = self.kvd(0);
        let node = &self.nodes[0];
        command
            .arg("restore")
            .arg("--dir")
            .arg(&node.dir)
            .args(["--name", &node.name, "--listen", &node.listen])
            .args(["--advertise", &node.advertise, "--http", &node.http])
            .args(arguments);
        let said = succeed(&mut command)?;
        self.begin(0, Role::Voter).await?;
        Ok(said)
    }
}
