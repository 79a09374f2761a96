//! The client: cheap to clone, shared by all tasks of a process.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use holdfast_proto::v1;
use holdfast_seal::SymmetricKey;
use tonic::transport::Channel;

use crate::{
    ClientOptions, ConnectError, Context, ReadRouting,
    attempt::Attempt,
    call::{Call, is_about_trust},
    circuit::jittered,
    connect::Dialer,
    credentials::Credentials,
    discovery::{Discovery, service},
    node::{Needs, Node, Nodes, Route},
    overrides::Authority,
    reason::{self, Verdict},
    session::{InFlight, Sessions},
    tasks::Tasks,
};

/// A client of one cluster. Clones share connections and the session; make one for each process.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    timeout: Duration,
}

pub(crate) struct Inner {
    pub(crate) nodes: Nodes,
    sessions: Sessions,
    options: ClientOptions,
    /// Of the context; else what the first answer says.
    cluster: OnceLock<String>,
    /// What caches on disk are sealed with; made of this client's private key, if it has one.
    cache_key: Option<SymmetricKey>,
    /// Whose clients sign emergency overrides.
    authority: Option<Authority>,
    /// The socket of the agent that it goes through.
    agent: Option<PathBuf>,
    looking_up: AtomicBool,
    /// Looks up names of the context, as long as the client lives.
    discovery: OnceLock<Tasks>,
}

impl Client {
    /// Connects with default options; fails unless a server answers within the request timeout.
    pub async fn connect(context: &Context) -> Result<Self, ConnectError> {
        Self::with_options(context, ClientOptions::default()).await
    }

    /// Connects; fails unless a server answers within `options.request_timeout`.
    pub async fn with_options(
        context: &Context,
        options: ClientOptions,
    ) -> Result<Self, ConnectError> {
        let client = Self::lazy(context, options)?;
        client.meet().await?;
        Ok(client)
    }

    /// A client that connects when it is first used. Needs a tokio runtime around it.
    pub fn lazy(context: &Context, options: ClientOptions) -> Result<Self, ConnectError> {
        if let Some(socket) = &context.agent {
            return Self::through_agent(socket, &context.cluster, options);
        }
        let dialer = Dialer::new(Credentials::new(context)?, &options);
        let nodes = Nodes::dialed(&context.endpoints, dialer)?;
        let key = crate::tls::cache_key(context)?;
        let name_server = options.name_server;
        let client = Self::new(
            nodes,
            options,
            context.cluster.clone(),
            Some(key),
            Some(Authority::of(context)),
        );
        let names = context.endpoints.iter().filter_map(|it| service(it));
        let names: Vec<String> = names.map(str::to_owned).collect();
        if !names.is_empty() {
            let discovery = Discovery {
                names,
                name_server,
                client: Arc::downgrade(&client.inner),
            };
            let mut tasks = Tasks::default();
            tasks.spawn(discovery.run());
            // Nobody else has this client yet.
            let _ = client.inner.discovery.set(tasks);
        }
        Ok(client)
    }

    /// A client that goes through the agent of this node, by its Unix socket (kvagent's default is
    /// `/run/kvagent/kvagent.sock`). Connects when it is first used; needs a tokio runtime around it.
    ///
    /// What this process may do is decided by the agent's settings, by its user. While no server answers,
    /// the agent says what it has: reads with [`crate::Consistency::Local`], mirrors and configurations
    /// go on, with an honest age; nothing is written. A cache of one's own wants a key
    /// ([`crate::ConfigBuilder::cache_with_key`]), and mostly is not needed: the agent has one.
    pub fn agent(socket: impl AsRef<Path>) -> Result<Self, ConnectError> {
        Self::through_agent(socket.as_ref(), "", ClientOptions::default())
    }

    fn through_agent(
        socket: &Path,
        cluster: &str,
        options: ClientOptions,
    ) -> Result<Self, ConnectError> {
        let nodes = Nodes::agent(socket, crate::agent::dial(socket, &options)?);
        let mut client = Self::new(nodes, options, cluster.to_owned(), None, None);
        if let Some(inner) = Arc::get_mut(&mut client.inner) {
            inner.agent = Some(socket.to_owned());
        }
        Ok(client)
    }

    /// A client over a channel that somebody else made: a replica in this process, a socket.
    pub fn from_channel(channel: Channel, cluster: impl Into<String>) -> Self {
        Self::from_channels(vec![channel], cluster, ClientOptions::default())
            .expect("one channel is enough")
    }

    /// A client over channels that somebody else made, one for each node.
    pub fn from_channels(
        channels: Vec<Channel>,
        cluster: impl Into<String>,
        options: ClientOptions,
    ) -> Result<Self, ConnectError> {
        Ok(Self::new(
            Nodes::given(channels)?,
            options,
            cluster.into(),
            None,
            None,
        ))
    }

    fn new(
        nodes: Nodes,
        options: ClientOptions,
        cluster: String,
        cache_key: Option<SymmetricKey>,
        authority: Option<Authority>,
    ) -> Self {
        Self {
            timeout: options.request_timeout.min(LONGEST_TIMEOUT),
            inner: Arc::new(Inner {
                nodes,
                sessions: Sessions::new(),
                options,
                cluster: match cluster.is_empty() {
                    true => OnceLock::new(),
                    false => OnceLock::from(cluster),
                },
                cache_key,
                authority,
                agent: None,
                looking_up: AtomicBool::new(false),
                discovery: OnceLock::new(),
            }),
        }
    }

    /// The same client with another deadline for its calls, at most 5 minutes.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            timeout: timeout.min(LONGEST_TIMEOUT),
        }
    }

    /// The deadline of this client's calls.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The cluster's name. Empty for a client that was made by [`Client::agent`], until it had an answer.
    pub fn cluster_name(&self) -> &str {
        self.inner.cluster.get().map_or("", String::as_str)
    }

    /// Takes in an answer's header: which cluster it is, if that was not known.
    pub(crate) fn note_cluster(&self, header: &v1::Header) {
        if self.inner.cluster.get().is_none() && !header.cluster.is_empty() {
            // Whoever is first, they say the same.
            let _ = self.inner.cluster.set(header.cluster.clone());
        }
    }

    /// The addresses known by now: the context's, and those of members met since.
    pub fn endpoints(&self) -> Vec<String> {
        let nodes = self.inner.nodes.all();
        nodes.iter().map(|node| node.address().to_owned()).collect()
    }

    pub(crate) fn cache_key(&self) -> Option<&SymmetricKey> {
        self.inner.cache_key.as_ref()
    }

    pub(crate) fn authority(&self) -> Option<&Authority> {
        self.inner.authority.as_ref()
    }

    pub(crate) fn nodes(&self) -> &Nodes {
        &self.inner.nodes
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    /// Opens a write: its request id is good until the answer is in.
    pub(crate) fn begin_write(&self) -> InFlight {
        self.inner.sessions.begin()
    }

    /// How reads are called.
    pub(crate) fn reading(&self) -> Call {
        let route = match self.inner.options.reads {
            ReadRouting::Leader => Route::Leader,
            ReadRouting::Spread => Route::Spread,
        };
        self.calling(route)
    }

    /// How writes are called: at the leader they need no forwarding.
    pub(crate) fn writing(&self) -> Call {
        self.calling(Route::Leader)
    }

    fn calling(&self, route: Route) -> Call {
        Call {
            route,
            needs: Needs::Majority,
            timeout: self.timeout,
            attempt_timeout: self.inner.options.attempt_timeout,
            hedge: true,
        }
    }

    /// Asks every node who it is; done when the first has answered.
    async fn meet(&self) -> Result<(), ConnectError> {
        let started = Instant::now();
        let mut distrust = None;
        let mut last = String::new();
        let mut pause = Duration::from_millis(20);
        while started.elapsed() < self.timeout {
            let mut asking: FuturesUnordered<_> = self
                .nodes()
                .all()
                .iter()
                .map(|node| {
                    let (client, node) = (self.clone(), Arc::clone(node));
                    async move { client.introduce(&node).await.map_err(|e| (node, e)) }
                })
                .collect();
            let mut undecided = false;
            while let Some(answer) = asking.next().await {
                let Err((node, status)) = answer else {
                    return Ok(());
                };
                if let Some(met) = self.met_agent(&status) {
                    return met;
                }
                last = format!("{}: {}", node.address(), reason::describe(&status));
                if node.judge(&status) == Verdict::Untrusted || is_about_trust(&status) {
                    distrust = Some(last.clone());
                } else {
                    undecided = true;
                }
            }
            // Who does not answer may yet vouch for this client, but not for ever.
            if (!undecided || started.elapsed() > VOUCHING)
                && let Some(message) = distrust
            {
                return Err(ConnectError::Unauthorized { message });
            }
            tokio::time::sleep(jittered(pause, LONGEST_PAUSE)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        let waited = started.elapsed();
        if last.is_empty() {
            last = self.nodes().why_none();
        }
        Err(match (distrust, &self.inner.agent) {
            (Some(message), _) => ConnectError::Unauthorized { message },
            (None, Some(_)) => ConnectError::NoAgent { waited, last },
            (None, None) => ConnectError::Unreachable { waited, last },
        })
    }

    /// Whether an agent's answer to [`Client::introduce`] ends the meeting, and how. That no server
    /// answers is no matter: the agent is there, and says what it has.
    fn met_agent(&self, status: &tonic::Status) -> Option<Result<(), ConnectError>> {
        let socket = self.inner.agent.as_ref()?;
        if reason::node_is_well(status) {
            return Some(Ok(()));
        }
        let refuses = status.code() == tonic::Code::PermissionDenied;
        refuses.then(|| {
            Err(ConnectError::AgentRefuses {
                socket: socket.clone(),
                message: status.message().to_owned(),
            })
        })
    }

    /// Learns who a node is and whom it follows. Needs no majority.
    async fn introduce(&self, node: &Arc<Node>) -> Result<(), tonic::Status> {
        let attempt = Attempt::new(node, self.options().attempt_timeout.min(self.timeout));
        let request = attempt.request(v1::StatusRequest { local: true });
        let answer = attempt.cluster().status(request).await?.into_inner();
        self.nodes().answered(node, Needs::Node);
        if let Some(header) = &answer.header {
            self.note_cluster(header);
            self.nodes().learn(node, header, Some(answer.leader));
        }
        self.look_up_leader(node);
        Ok(())
    }

    /// Learns the members and the leader from one node.
    async fn ask_members(&self, node: &Arc<Node>) -> Result<(), tonic::Status> {
        let attempt = Attempt::new(node, self.options().attempt_timeout.min(self.timeout));
        let request = attempt.request(v1::MemberListRequest {});
        let answer = attempt.cluster().member_list(request).await?.into_inner();
        self.nodes().answered(node, Needs::Node);
        if let Some(header) = &answer.header {
            self.nodes().learn(node, header, Some(answer.leader));
        }
        self.nodes().learn_members(&answer);
        Ok(())
    }

    /// Looks the leader up in the background, starting with the node that spoke of a new term.
    pub(crate) fn look_up_leader(&self, node: &Arc<Node>) {
        // An agent finds it by itself.
        if self.inner.agent.is_some() || self.inner.looking_up.swap(true, Ordering::AcqRel) {
            return;
        }
        let (client, node) = (self.clone(), Arc::clone(node));
        tokio::spawn(async move {
            if let Err(status) = client.ask_members(&node).await {
                tracing::debug!(status = status.message(), "the leader is not known yet");
            }
            client.inner.looking_up.store(false, Ordering::Release);
        });
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("cluster", &self.cluster_name())
            .field("endpoints", &self.endpoints())
            .finish_non_exhaustive()
    }
}

/// How long nodes that do not answer may outweigh one that refuses this client.
const VOUCHING: Duration = Duration::from_secs(1);
/// A session that was quiet for longer may be forgotten by the store.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(300);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
