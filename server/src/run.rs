//! `kvd run`: one node as a process, from its start to an orderly end.

use std::{io, path::PathBuf, sync::Arc};

use holdfast_raft::let_others_run;

use crate::{
    dir::{DirError, NodeDir, NodeKeyFileError},
    http::{HttpError, HttpServer, NodeVitals},
    keyring,
    node::{Node, StartError},
    orphan,
    signals::StopSignals,
    systemd,
    telemetry::{self, LogFormat, LogLevel, TelemetryError},
};

/// How to run a node.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Its folder.
    pub dir: PathBuf,
    /// Where its HTTP port is, whatever its folder says.
    pub http: Option<String>,
    /// Where etcd's clients are served, whatever its folder says.
    pub etcd: Option<String>,
    /// Whether they are served without TLS, which goes on loopback alone.
    pub etcd_plaintext: bool,
    /// The file descriptor that the passphrase of the node key is read from.
    pub passphrase_fd: Option<u32>,
    /// Worker threads, whatever its folder says.
    pub worker_threads: Option<usize>,
    /// How much is logged.
    pub log: LogLevel,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Whether to end when the parent process does.
    pub follow_parent: bool,
}

/// Why a node did not run, or stopped by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The folder cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// What opens the node key was not given.
    #[error(transparent)]
    NodeKey(#[from] NodeKeyFileError),
    /// Logs or metrics did not start.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The operating system refused a thread or a signal.
    #[error("the process could not be set up")]
    Process(#[from] io::Error),
    /// The node did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The HTTP port did not open.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The node had to stop.
    #[error(transparent)]
    Stopped(#[from] crate::node::Stopped),
}

/// Runs the node until it is told to stop.
pub fn run(options: &RunOptions) -> Result<(), RunError> {
    if options.follow_parent {
        orphan::follow_parent()?;
    }
    telemetry::start_logs(&options.log, options.log_format)?;
    let mut dir = NodeDir::open(&options.dir)?;
    dir.configure(|configuration| {
        configuration.http = options.http.clone().or(configuration.http.take());
        configuration.etcd = options.etcd.clone().or(configuration.etcd.take());
        configuration.etcd_plaintext |= options.etcd_plaintext;
        configuration.worker_threads = options.worker_threads.or(configuration.worker_threads);
    })?;
    forbid_core_dumps()?;
    if !dir.configuration().witness {
        dir.unlock_with(keyring::file::unlock(&dir, options.passphrase_fd)?);
    }
    let threads = dir.configuration().worker_threads;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.unwrap_or_else(half_the_cores))
        .enable_all()
        .thread_name("kvd")
        // Whoever else is ready may bring something to do.
        .on_thread_park(let_others_run)
        .build()?
        .block_on(serve(dir))
}

/// A core dump would hold the keys of the cluster; other processes of the same user may not look
/// into the memory of this one either.
pub(crate) fn forbid_core_dumps() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(rustix::process::setrlimit(
        rustix::process::Resource::Core,
        rustix::process::Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?)
}

/// A node lives beside the service that it serves, and one worker does most of what two do.
fn half_the_cores() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).max(1)
}

async fn serve(dir: NodeDir) -> Result<(), RunError> {
    let name = dir.configuration().name.clone();
    let mut stop = StopSignals::listen()?;
    let http = dir.configuration().http.clone();
    let metrics = telemetry::start_metrics()?;
    let node = Node::start(dir).await?;
    let http = match http {
        Some(address) => {
            let vitals = Arc::new(NodeVitals::of(&node));
            Some(HttpServer::start(&address, vitals, metrics).await?)
        }
        None => None,
    };
    let address = node.address().to_string();
    let serving = async {
        node.ready().await;
        let http = http.as_ref().map(|http| http.address().to_string());
        tracing::info!(%name, %address, http, "the node serves");
        systemd::ready(name.as_str(), &address);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = serving => {}
        stopped = node.wait() => return Err(stopped.into()),
        signal = stop.received() => tracing::info!(signal, "stopping; once more stops at once"),
    }
    systemd::stopping();
    tokio::select! {
        () = node.shutdown() => {}
        _ = stop.received() => tracing::warn!("stopped without waiting for what was begun"),
    }
    Ok(())
}
