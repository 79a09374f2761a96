//! The socket: the SDK's own interface (`holdfast.v1`) for the services of this node.
//!
//! A service that goes through here needs no certificate and no address: the system says who asks
//! (the peer's user), the settings say what that user may do, and the agent asks the servers in its own
//! name. What holds:
//!
//! * **Denied by default.** Whoever is in no entry may do nothing, and what no entry covers is refused, in
//!   one sentence that says what to add. What was checked is what is passed on, byte for byte; a message
//!   with parts that this agent does not know is refused.
//! * **A write is applied at most once**: it is passed on under the request id that its maker gave it, and
//!   a refusal says what the agent knows: nothing was changed, or nobody knows.
//! * **While no server answers**, what a service asks for with local consistency, its watches and the
//!   secrets that it may open come from this agent's mirrors, with their true age. What must be the
//!   newest is refused instead, and says what there is.
//! * **A watch goes on** over the loss of servers, without a gap; over a restart of the agent the service's
//!   SDK resumes it.
//! * **The audit log tells who asked**: a reveal's reason begins with the user.
//!
//! The modules: `peer` is who asks and `grants` what for; `table` has every method and `check` looks into
//! messages; `door` is the service; `forward` passes on, `offline` answers instead, `watch` is a peer's
//! watch; `warm` has the mirrors, `contact` knows whether servers answer, and `listen` makes the socket.
//!
//! Absent on purpose: leases, locks and elections for others than operators (`all = true`): whose a
//! lease is, is known to who granted it, and the agent grants them all.

mod check;
mod contact;
mod denied;
mod door;
mod forward;
mod grants;
mod listen;
mod offline;
mod peer;
mod table;
mod timeout;
mod warm;
mod watch;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use holdfast_client::Client;
use tokio::task::JoinSet;
use tonic::transport::Server;

use self::{contact::Contact, door::Door, listen::Listener, warm::Warm};
use crate::{settings::SocketSettings, source::Sources};

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// Somebody answers there.
    #[error("the socket {} is another agent's, which runs; end it, or give this one another [socket] path", path.display())]
    InUse { path: PathBuf },
    /// What is there is no socket.
    #[error("{} is there and is no socket; move it away, or give another [socket] path", path.display())]
    Foreign { path: PathBuf },
    /// The system refused.
    #[error("the socket {} could not be {action}", path.display())]
    Io {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
}

/// What all calls share.
struct Shared {
    client: Client,
    warm: Warm,
    contact: Contact,
}

/// The socket, as long as it is served.
pub(crate) struct Socket {
    tasks: JoinSet<()>,
    listener: Arc<Listener>,
    /// Its mirrors are kept on the disk as long as it lives; an agent without sets has no other owner.
    _sources: Arc<Sources>,
}

impl Socket {
    /// Makes the socket and serves it from now on; what services may ask for is fetched meanwhile.
    pub(crate) fn open(
        settings: SocketSettings,
        client: &Client,
        sources: &Arc<Sources>,
    ) -> Result<Self, SocketError> {
        let listener = Arc::new(Listener::bind(&settings)?);
        let shared = Arc::new(Shared {
            client: client.clone(),
            warm: Warm::default(),
            contact: Contact::new(),
        });
        let mut tasks = JoinSet::new();
        for (prefix, reveals) in settings.wanted() {
            let (shared, sources) = (Arc::clone(&shared), Arc::clone(sources));
            tasks.spawn(async move { shared.warm.open(&sources, prefix, reveals).await });
        }
        let probing = Arc::clone(&shared);
        tasks.spawn(async move { probing.contact.probe(&probing.client).await });
        let incoming = Arc::clone(&listener).connections(settings.allow);
        let path = settings.path;
        tasks.spawn(async move {
            let server = Server::builder()
                .http2_keepalive_interval(Some(KEEP_ALIVE))
                .http2_keepalive_timeout(Some(KEEP_ALIVE))
                .max_concurrent_streams(Some(STREAMS_PER_CONNECTION));
            let served = server
                .serve_with_incoming(Door::new(shared), incoming)
                .await;
            if let Err(error) = served {
                tracing::error!(%error, socket = %path.display(), "the socket is served no more");
            }
        });
        Ok(Self {
            tasks,
            listener,
            _sources: Arc::clone(sources),
        })
    }

    /// Takes the socket away.
    pub(crate) fn close(mut self) {
        self.listener.remove();
        self.tasks.abort_all();
    }
}

const KEEP_ALIVE: Duration = Duration::from_secs(10);
const STREAMS_PER_CONNECTION: u32 = 1_024;
