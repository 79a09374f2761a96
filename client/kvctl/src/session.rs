//! From a context to a connected client.

use std::path::PathBuf;

use holdfast_client::{Client, ClientOptions, Context};

use crate::{
    arguments::{Common, Format},
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

    /// The file of the context.
    pub(crate) fn context_file(&self) -> Result<PathBuf, Failure> {
        Ok(match &self.common.context {
            Some(path) => path.clone(),
            None => Context::discover_path()?,
        })
    }

    /// The context that the command works with.
    pub(crate) fn context(&self) -> Result<Context, Failure> {
        Ok(Context::load(self.context_file()?)?)
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
