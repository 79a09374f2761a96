//! Network namespaces: each node on a network interface of its own, joined by a bridge.
//!
//! This needs root and `ip` of iproute2; where they are missing the tests say so and pass. A
//! direction is cut by a neighbour entry that leads nowhere: packets leave and never arrive, as on
//! a broken link, and no kernel module is needed for it. The kernel's own TCP does the rest.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::bail;

use super::reaper;

/// Namespaces for some nodes, taken down when dropped.
#[derive(Debug)]
pub struct Namespaces {
    /// Part of every name, so that two runs do not meet.
    tag: String,
    /// The third number of the addresses.
    network: u8,
    nodes: usize,
}

impl Namespaces {
    /// Why there can be none here, if so.
    pub fn missing() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("network namespaces need root".into());
        }
        if let Err(error) = ip(&["-V"]) {
            return Some(format!("network namespaces need iproute2: {error}"));
        }
        // The first command of a set-up that is taken down at once.
        Self::create(1)
            .err()
            .map(|error| format!("no network namespaces here: {error}"))
    }

    /// Sets them up.
    pub fn create(nodes: usize) -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let pid = std::process::id();
        let tag = format!(
            "{:x}{:x}",
            pid % 0xf_ffff,
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let network = u8::try_from(16 + pid % 200)?;
        let namespaces = Self {
            tag,
            network,
            nodes,
        };
        reaper::at_end(&namespaces.removal());
        let bridge = namespaces.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"])?;
        ip(&[
            "addr",
            "add",
            &format!("{}/24", namespaces.address(OUTSIDE)),
            "dev",
            &bridge,
        ])?;
        ip(&["link", "set", &bridge, "up"])?;
        for node in 0..nodes {
            let (name, inner, outer) = (
                namespaces.name(node),
                "eth0",
                format!("hf{}v{node}", namespaces.tag),
            );
            ip(&["netns", "add", &name])?;
            ip(&[
                "link", "add", &outer, "type", "veth", "peer", "name", inner, "netns", &name,
            ])?;
            ip(&["link", "set", &outer, "master", &bridge, "up"])?;
            let address = format!("{}/24", namespaces.address(node));
            ip(&["-n", &name, "addr", "add", &address, "dev", inner])?;
            ip(&["-n", &name, "link", "set", inner, "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        Ok(namespaces)
    }

    /// A command that runs `program` in the namespace of a node.
    pub fn command(&self, node: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name(node)])
            .arg(program);
        command
    }

    /// The address of a node.
    pub fn address(&self, node: usize) -> String {
        format!("10.213.{}.{}", self.network, node + 1)
    }

    /// What `from` sends to `to` does not arrive, from now on.
    pub fn cut(&self, from: usize, to: usize) -> anyhow::Result<()> {
        let nowhere = [
            "lladdr",
            "02:00:00:00:00:99",
            "dev",
            "eth0",
            "nud",
            "permanent",
        ];
        let address = self.address(to);
        let name = self.name(from);
        ip(&[&["-n", &name, "neigh", "replace", &address][..], &nowhere].concat())
    }

    /// Everything arrives again.
    pub fn heal(&self) -> anyhow::Result<()> {
        for node in 0..self.nodes {
            ip(&[
                "-n",
                &self.name(node),
                "neigh",
                "flush",
                "all",
                "nud",
                "permanent",
            ])?;
        }
        Ok(())
    }

    /// A share of the packets of each node is lost on the way out, and all are late.
    pub fn spoil(&self, percent: u32, delay_ms: u32) -> anyhow::Result<()> {
        for node in 0..self.nodes {
            let (loss, delay) = (format!("{percent}%"), format!("{delay_ms}ms"));
            let what = [
                "dev", "eth0", "root", "netem", "loss", &loss, "delay", &delay,
            ];
            run(
                "tc",
                &[&["-n", &self.name(node), "qdisc", "replace"][..], &what].concat(),
            )?;
        }
        Ok(())
    }

    fn name(&self, node: usize) -> String {
        format!("hf{}n{node}", self.tag)
    }

    fn bridge(&self) -> String {
        format!("hf{}b", self.tag)
    }

    fn removal(&self) -> String {
        let mut commands = format!("ip link del {}", self.bridge());
        for node in 0..self.nodes {
            commands += &format!("; ip netns del {}", self.name(node));
        }
        commands
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let _ = Command::new("/bin/sh")
            .args(["-c", &self.removal()])
            .output();
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}

/// The place of the test itself on the bridge.
const OUTSIDE: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a connection is refused at once, rather than never answered.
    fn reaches(namespaces: &Namespaces, from: usize, to: usize) -> bool {
        let dial = format!("exec 3<>/dev/tcp/{}/7", namespaces.address(to));
        let output = namespaces
            .command(from, Path::new("timeout"))
            .args(["0.5", "bash", "-c", &dial])
            .output()
            .unwrap();
        output.status.code() != Some(124)
    }

    #[test]
    fn a_direction_is_cut_and_healed() {
        if let Some(why) = Namespaces::missing() {
            eprintln!("skipped: {why}");
            return;
        }
        let namespaces = Namespaces::create(2).unwrap();
        assert!(reaches(&namespaces, 0, 1));
        namespaces.cut(0, 1).unwrap();
        assert!(!reaches(&namespaces, 0, 1));
        assert!(!reaches(&namespaces, 1, 0), "the answers do not arrive");
        namespaces.heal().unwrap();
        assert!(reaches(&namespaces, 0, 1));
    }
}
