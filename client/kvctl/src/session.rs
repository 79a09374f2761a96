//! From a context to a connected client.

use std::{path::PathBuf, time::Duration};

use holdfast_client::{Client, ClientOptions, Context, Origin};

use crate::{
    arguments::{Common, Format},
    duration,
    failure::Failure,
    output::Output,
};

/// What a command works with.
pub(crate) struct Session {
    pub(crate) common: Common,
    pub(crate) output: Output,
}

impl Session {
    pub(crate) fn new(common: Common) -> Self {
        let output = Output::new(common.output, common.quiet);
        Self { common, output }
    }

    /// Connects to the cluster that the context names; a server has answered then.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::with_options(&self.context()?, self.options()).await?)
    }

    /// A client that has asked no server yet.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::lazy(&self.context()?, self.options())?)
    }

    pub(crate) fn is_json(&self) -> bool {
        self.common.output == Format::Json
    }

    /// The file of the context, for what takes a certificate or addresses of one's own.
    pub(crate) fn context_file(&self) -> Result<PathBuf, Failure> {
        match (&self.common.context, self.agent()) {
            // One before the command and the other behind it: nobody else looks at that.
            (Some(_), Some(_)) => Err(Failure::usage(
                "--agent and --context say two ways to the cluster; name one of them",
            )),
            (Some(path), None) => Ok(path.clone()),
            (None, Some(_)) => Err(Failure::usage(
                "this takes a certificate and addresses of your own, which an agent has not; name a \
                 context with --context",
            )),
            (None, None) => Ok(Context::discover_path()?),
        }
    }

    /// The context of the caller's own.
    pub(crate) fn own_context(&self) -> Result<Context, Failure> {
        let file = self.context_file()?;
        let context = Context::load(&file)?;
        match context.agent {
            None => Ok(context),
            Some(_) => Err(Failure::usage(format!(
                "this takes a certificate and addresses of your own, and {} goes through an agent; \
                 name another context with --context",
                file.display()
            ))),
        }
    }

    /// What the command works with.
    fn context(&self) -> Result<Context, Failure> {
        let context = match self.agent() {
            Some(socket) if self.common.context.is_none() => Context::through_agent("", socket),
            _ => Context::load(self.context_file()?)?,
        };
        // The client would wait for it, as a service should; whoever mistyped it need not.
        if let Some(socket) = &context.agent
            && let Err(error) = socket.metadata()
        {
            return Err(Failure::unreachable(format!(
                "there is no agent at {}: {error}; check that kvagent runs here and that its settings \
                 have this [socket]",
                socket.display()
            )));
        }
        Ok(context)
    }

    /// The agent to go through; a context that is named goes before one that is in the environment.
    fn agent(&self) -> Option<PathBuf> {
        let named = self.common.agent.clone();
        named.or_else(|| match self.common.context {
            Some(_) => None,
            None => std::env::var_os(AGENT)
                .filter(|socket| !socket.is_empty())
                .map(PathBuf::from),
        })
    }

    /// Says how old an answer is that no server gave.
    pub(crate) fn tell_age(&self, origin: Origin, age: Duration) {
        let from = match origin {
            Origin::Cache => "memory",
            Origin::Disk => "disk",
            _ => return,
        };
        let age = match age {
            Duration::MAX => "an unknown time".to_owned(),
            age => duration::show(age),
        };
        self.output.warn(format_args!(
            "no server answers: this is from the {from} of the agent of this node, current {age} ago"
        ));
    }

    fn options(&self) -> ClientOptions {
        let defaults = ClientOptions::default();
        ClientOptions {
            request_timeout: self.common.timeout,
            attempt_timeout: defaults.attempt_timeout.min(self.common.timeout),
            connections_per_endpoint: 1,
            ..defaults
        }
    }
}

/// Names the socket of the agent to go through.
const AGENT: &str = "HOLDFAST_AGENT";
