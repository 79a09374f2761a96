//! A sidecar that a test starts, kills and starts again.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Cluster, Process, binaries, program::Ran};

/// The folder of an agent: its settings, its templates, what it installs and what it says.
#[derive(Debug)]
pub struct Agent {
    folder: PathBuf,
    process: Option<Process>,
}

impl Agent {
    /// In a folder of its own beside the cluster. `settings` are those of its sets; relative paths in
    /// them are in that folder, and `@DIR@` stands for it.
    pub fn new(cluster: &Cluster, name: &str, settings: &str) -> anyhow::Result<Self> {
        let folder = cluster.folder().join(name);
        fs::create_dir(&folder)?;
        // Where temporary folders are may be behind a link, and the agent follows none.
        let folder = folder.canonicalize()?;
        let this = Self {
            folder,
            process: None,
        };
        this.set(&cluster.context_file(), settings)?;
        Ok(this)
    }

    /// Gives it other settings; they count from its next start on.
    pub fn set(&self, context: &Path, settings: &str) -> anyhow::Result<()> {
        let head =
            format!("context = {context:?}\nstate = \"state\"\nnode = \"n1\"\nroles = [\"web\"]\n");
        let text = settings.replace("@DIR@", &self.folder.to_string_lossy());
        fs::write(self.config(), head + &text)?;
        Ok(())
    }

    /// Its settings.
    pub fn config(&self) -> PathBuf {
        self.join("kvagent.toml")
    }

    /// Something in its folder.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes something into its folder.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text)?;
        Ok(())
    }

    /// Writes a program into its folder.
    pub fn write_script(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.write(name, &format!("#!/bin/sh\n{text}\n"))?;
        fs::set_permissions(self.join(name), fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// What a file in its folder holds; nothing if it is not there.
    pub fn read(&self, name: impl AsRef<Path>) -> String {
        fs::read_to_string(self.join(name)).unwrap_or_default()
    }

    /// What it has said.
    pub fn said(&self) -> String {
        self.read("agent.log")
    }

    /// Starts it, and ends the one that runs.
    pub fn start(&mut self) -> anyhow::Result<&mut Process> {
        self.start_with(&[])
    }

    /// The same, with something in its environment.
    pub fn start_with(&mut self, environment: &[(&str, &str)]) -> anyhow::Result<&mut Process> {
        self.kill();
        let mut command = Command::new(binaries::kvagent());
        command
            .arg("run")
            .arg("--config")
            .arg(self.config())
            .env_remove("HOLDFAST_LOG")
            .envs(environment.iter().copied());
        let process = Process::spawn(&mut command, &self.join("agent.log"))?;
        Ok(self.process.insert(process))
    }

    /// The one that runs.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the agent runs")
    }

    /// SIGKILL, if one runs.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Whether a hook, or another program of this agent's folder, runs: also one that outlived the agent.
    pub fn has_programs(&self) -> bool {
        let folder = self.join("").into_os_string().into_encoded_bytes();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let lines =
            processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        let mut lines = lines.into_iter();
        lines.any(|line| line.windows(folder.len()).any(|part| part == folder))
    }

    /// Runs `kvagent render` to its end.
    pub async fn render(&self, arguments: &[&str]) -> Ran {
        let mut command = tokio::process::Command::new(binaries::kvagent());
        command.arg("render").arg("--config").arg(self.config());
        super::program::run(command.args(arguments)).await
    }
}
