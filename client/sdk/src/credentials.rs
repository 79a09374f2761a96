//! What a client proves itself with, fresh for each connection.
//!
//! A context that was read from a file is read again when one of its files has changed: a renewed
//! certificate, or another authority, is used from the next connection on, and what is open stays open.
//! Files that cannot be read, or do not fit together, leave what there was in use.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ClientConfig;

use crate::{ConnectError, Context, tls};

/// The TLS side of a context, for as long as a client lives.
pub(crate) struct Credentials {
    config: ArcSwap<ClientConfig>,
    /// `None`: the context is not from a file.
    watched: Option<Watched>,
}

struct Watched {
    context: PathBuf,
    seen: Mutex<Stamp>,
}

/// When each file was written, and how long it is; `None`: it could not be looked at.
type Stamp = Vec<Option<(SystemTime, u64)>>;

impl Credentials {
    pub(crate) fn new(context: &Context) -> Result<Arc<Self>, ConnectError> {
        let watched = context.file.as_ref().map(|file| Watched {
            context: file.clone(),
            // Not as it is now: it may have changed since the context was read.
            seen: Mutex::default(),
        });
        Ok(Arc::new(Self {
            config: ArcSwap::new(tls::client_config(context)?),
            watched,
        }))
    }

    /// What the next connection is made with.
    pub(crate) fn current(&self) -> Arc<ClientConfig> {
        if let Some(watched) = &self.watched {
            let now = stamp(&watched.context);
            let mut seen = watched.seen.lock();
            if *seen != now {
                match self.read_again(watched) {
                    Ok(()) => *seen = now,
                    // Perhaps half written: looked at again with the next connection.
                    Err(why) => tracing::warn!(%why, "the changed context cannot be used"),
                }
            }
        }
        self.config.load_full()
    }

    fn read_again(&self, watched: &Watched) -> Result<(), String> {
        let context = Context::load(&watched.context).map_err(|error| error.to_string())?;
        let config = tls::client_config(&context).map_err(|error| error.to_string())?;
        self.config.store(config);
        Ok(())
    }
}

fn stamp(context: &std::path::Path) -> Stamp {
    let files = Context::files(context).unwrap_or_default();
    let look = |file: &PathBuf| {
        let meta = std::fs::metadata(file).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    };
    files.iter().map(look).collect()
}
