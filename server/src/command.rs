//! The command line of `kvd`.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage. Errors go to standard error, with what
//! happened and what to do; what a command has to say goes to standard output.

mod backup;

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::{Args, Parser, Subcommand};
use holdfast_proto::NodeName;
use holdfast_seal::Protector;

use self::backup::{RestoreArguments, VerifyArguments};
use crate::{
    configuration::is_wildcard,
    demo,
    dev::{self, DevOptions},
    dir::NodeDir,
    identity::{JoinToken, authority::host_of},
    init::{InitOptions, init},
    join::{JoinOptions, join},
    run::{self, RunOptions},
    telemetry::{LogFormat, LogLevel},
};

/// Runs nodes of a Holdfast cluster: replicated parameters that survive the loss of a node.
///
/// New here? `kvd demo` tells the story in half a minute; `kvd dev` gives you a cluster to play with.
#[derive(Debug, Parser)]
#[command(
    name = "kvd",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new cluster of one node
    ///
    /// Writes the node's folder, with the cluster's own certificate authority and a context for its
    /// first operator. Nothing is started: `kvd run` does that.
    Init(InitArguments),
    /// Make a new node of a cluster that runs
    ///
    /// The token comes from `kvctl member token`. It lets one node in, once, and tells where the
    /// cluster is and how to know that it is the right one.
    Join(JoinArguments),
    /// Make a new cluster of one node out of a backup
    ///
    /// For blank hosts, after all nodes were lost. The new cluster has the keys, their history and the
    /// sealed secrets of the old one, and an id, an authority and an operator's context of its own: nodes
    /// and clients of the old cluster are not let in. Nothing is started: `kvd run` does that, and
    /// further nodes join as usual.
    Restore(RestoreArguments),
    /// Check a backup, whole
    ///
    /// Its signature, every byte of it, and that its rows make the state that it promises. Needs no
    /// cluster.
    VerifyBackup(VerifyArguments),
    /// Run the node of a folder
    Run(RunArguments),
    /// Run a local cluster until ctrl-c, one process a node
    Dev(DevArguments),
    /// See a cluster lose its leader and nothing else
    ///
    /// Starts three nodes in a temporary folder, imports a real service's settings, kills the leader
    /// while that service reads and writes, and counts what was lost. Exits with 0 only if every
    /// promise held; leaves nothing behind.
    Demo,
}

#[derive(Debug, Args)]
struct InitArguments {
    /// Folder of the node; new or empty
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Name of the node, unique in its cluster
    #[arg(long, default_value = "n1")]
    name: NodeName,
    /// What people call the cluster
    #[arg(long, value_name = "NAME", default_value = "holdfast")]
    cluster: String,
    /// Where it listens for clients and peers
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7101", value_parser = address)]
    listen: String,
    #[command(flatten)]
    addresses: Addresses,
}

#[derive(Debug, Args)]
struct JoinArguments {
    /// Folder of the node; new or empty
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Name of the node, new in the cluster
    #[arg(long)]
    name: NodeName,
    /// The token, as `kvctl member token` printed it
    #[arg(long, env = "HOLDFAST_TOKEN", hide_env_values = true)]
    token: JoinToken,
    /// Where it listens for clients and peers
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    listen: String,
    #[command(flatten)]
    addresses: Addresses,
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Folder of the node, as `kvd init` or `kvd join` made it
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Serve /metrics, /healthz and /readyz here, whatever node.toml says
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    http: Option<String>,
    /// Serve etcd's clients here, whatever node.toml says
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    etcd_listen: Option<String>,
    /// Serve etcd's clients without TLS; only on loopback, where whoever is on this machine may then
    /// read and write everything
    #[arg(long)]
    etcd_plaintext: bool,
    /// Read the passphrase of the node key from this file descriptor, not from $HOLDFAST_PASSPHRASE
    /// or a prompt
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
    /// Threads that do the work; more help only with cores to spare [default: half the cores]
    #[arg(long, value_name = "N", env = "HOLDFAST_WORKER_THREADS")]
    worker_threads: Option<std::num::NonZeroUsize>,
    /// How much to log: error, warn, info, debug, or rules like info,holdfast_raft=debug
    #[arg(
        long,
        value_name = "LEVEL",
        env = "HOLDFAST_LOG",
        default_value = "info"
    )]
    log: LogLevel,
    /// How log lines look
    #[arg(
        long,
        value_name = "FORMAT",
        env = "HOLDFAST_LOG_FORMAT",
        default_value = "human"
    )]
    log_format: LogFormat,
    /// End when the process that started this one does, which holds the other end of our input
    #[arg(long, hide = true)]
    follow_parent: bool,
}

#[derive(Debug, Args)]
struct DevArguments {
    /// Keep the cluster here, and go on with the one that is here [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// First port; nodes take the next ones. Their HTTP ports begin 100 above, those for etcd's
    /// clients 200 above. 0: free ones
    #[arg(long, value_name = "PORT", default_value_t = 7101, value_parser = base_port)]
    base_port: u16,
    /// Serve etcd's clients without TLS, on loopback: whoever is on this machine may then read and
    /// write everything
    #[arg(long)]
    etcd_plaintext: bool,
}

#[derive(Debug, Args)]
struct Addresses {
    /// Where clients and peers reach it, if not where it listens
    #[arg(long, value_name = "HOST:PORT", value_parser = reachable)]
    advertise: Option<String>,
    /// Serve /metrics, /healthz and /readyz here, in plain HTTP
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    http: Option<String>,
    /// Serve etcd's clients here, with the same certificates
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    etcd_listen: Option<String>,
    /// What keeps the node key on its disk from a thief: file (its mode alone), passphrase (asked for
    /// at each start) or systemd (a credential named holdfast-node-key)
    #[arg(long, value_name = "HOW", default_value = "file", value_parser = protector)]
    key_protector: Protector,
}

impl Arguments {
    /// Does what was asked for, and says how that went.
    pub fn execute(self) -> ExitCode {
        let done: Result<(), Box<dyn Error>> = match self.command {
            Command::Init(arguments) => arguments.execute().map_err(Into::into),
            Command::Join(arguments) => arguments.execute(),
            Command::Restore(arguments) => arguments.execute(),
            Command::VerifyBackup(arguments) => arguments.execute(),
            Command::Run(arguments) => run::run(&arguments.options()).map_err(Into::into),
            Command::Dev(arguments) => dev::run(&arguments.options()).map_err(Into::into),
            Command::Demo => match demo::run() {
                Ok(true) => Ok(()),
                Ok(false) => return ExitCode::FAILURE,
                Err(error) => Err(error.into()),
            },
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                anstream::eprintln!("{}", in_words(error.as_ref()));
                ExitCode::FAILURE
            }
        }
    }
}

impl InitArguments {
    fn execute(self) -> Result<(), crate::init::InitError> {
        let options = InitOptions {
            dir: self.dir,
            name: self.name,
            cluster_name: self.cluster,
            listen: self.listen,
            advertise: self.addresses.advertise,
            http: self.addresses.http,
            etcd: self.addresses.etcd_listen,
            key_protector: self.addresses.key_protector,
        };
        let dir = init(&options, SystemTime::now())?;
        let configuration = dir.configuration();
        anstream::println!(
            "Cluster {} has its first node, {}, in {}.\n",
            configuration.cluster_name,
            configuration.name,
            dir.path().display()
        );
        say_how_to_run(&dir);
        if let Some(context) = dir.context() {
            anstream::println!(
                "  export HOLDFAST_CONTEXT={}\n  kvctl status",
                absolute(&context).display()
            );
        }
        Ok(())
    }
}

impl JoinArguments {
    fn execute(self) -> Result<(), Box<dyn Error>> {
        let options = JoinOptions {
            dir: self.dir,
            name: self.name,
            listen: self.listen,
            advertise: self.addresses.advertise,
            http: self.addresses.http,
            etcd: self.addresses.etcd_listen,
            key_protector: self.addresses.key_protector,
            token: self.token,
            patience: JOIN_PATIENCE,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let dir = runtime.block_on(join(&options, SystemTime::now()))?;
        let configuration = dir.configuration();
        anstream::println!(
            "{} was let in as node {} of cluster {}.\n",
            configuration.name,
            configuration.id,
            configuration.cluster_id
        );
        say_how_to_run(&dir);
        Ok(())
    }
}

impl RunArguments {
    fn options(self) -> RunOptions {
        RunOptions {
            dir: self.dir,
            http: self.http,
            etcd: self.etcd_listen,
            etcd_plaintext: self.etcd_plaintext,
            passphrase_fd: self.passphrase_fd,
            worker_threads: self.worker_threads.map(usize::from),
            log: self.log,
            log_format: self.log_format,
            follow_parent: self.follow_parent,
        }
    }
}

impl DevArguments {
    fn options(self) -> DevOptions {
        DevOptions {
            dir: self.dir,
            nodes: usize::from(self.nodes),
            base_port: (self.base_port != 0).then_some(self.base_port),
            etcd_plaintext: self.etcd_plaintext,
        }
    }
}

fn say_how_to_run(dir: &NodeDir) {
    anstream::println!(
        "Next:\n\n  kvd run --dir {}",
        absolute(dir.path()).display()
    );
}

/// An error and what led to it, each once.
fn in_words(error: &dyn Error) -> String {
    let style = anstyle::Style::new()
        .bold()
        .fg_color(Some(anstyle::AnsiColor::Red.into()));
    let mut text = format!("{style}error:{style:#} {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text.push_str(&format!("\n  because: {words}"));
        }
        source = cause.source();
    }
    text
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn address(text: &str) -> Result<String, String> {
    match host_of(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("write HOST:PORT, like 10.0.0.7:7101 or db-1.example:7101".to_owned()),
    }
}

fn reachable(text: &str) -> Result<String, String> {
    let text = address(text)?;
    if is_wildcard(&text) {
        return Err("nobody can connect to that; name the address that others use".to_owned());
    }
    Ok(text)
}

fn protector(text: &str) -> Result<Protector, String> {
    Protector::from_name(text).ok_or_else(|| "file, passphrase or systemd".to_owned())
}

fn base_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port @ (0 | 1024..=65000)) => Ok(port),
        _ => Err("a port from 1024 to 65000, or 0 for free ones".to_owned()),
    }
}

const JOIN_PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn refused(line: &str) -> String {
        let error = Arguments::try_parse_from(line.split(' ')).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        error.to_string()
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_exit_code_2_and_says_what_would_be_right() {
        assert!(refused("kvd init").contains("--dir"));
        assert!(refused("kvd init --dir d --listen 7101").contains("HOST:PORT"));
        assert!(refused("kvd init --dir d --name N_1").contains("a-z"));
        assert!(refused("kvd init --dir d --advertise 0.0.0.0:1").contains("nobody can connect"));
        assert!(refused("kvd join --dir d --name n2 --listen h:1 --token x").contains("hf1-"));
        assert!(refused("kvd dev --nodes 0").contains("1..=9"));
        assert!(refused("kvd dev --base-port 80").contains("1024"));
        assert!(refused("kvd run --dir d --worker-threads 0").contains("worker-threads"));
        assert!(refused("kvd run --dir d --log holdfast_raft=loud").contains("--log"));
        assert!(refused("kvd fly").contains("fly"));
    }

    #[test]
    fn an_error_is_told_with_its_cause_and_nothing_twice() {
        let error = std::io::Error::other("the disk is full");
        let error = crate::dir::DirError::Io {
            what: "could not write",
            path: "node.toml".into(),
            source: error,
        };
        let text = anstream::adapter::strip_str(&in_words(&error)).to_string();
        assert_eq!(
            text,
            "error: could not write node.toml\n  because: the disk is full"
        );
    }
}
