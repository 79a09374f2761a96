//! The client: cheap to clone, shared by all tasks of a process.

use std::{
    fmt,
    sync::{
        Arc,
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
    cluster: String,
    /// What caches on disk are sealed with; made of this client's private key, if it has one.
    cache_key: Option<SymmetricKey>,
    /// Whose clients sign emergency overrides.
    authority: Option<Authority>,
    looking_up: AtomicBool,
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
            let client = Arc::downgrade(&client.inner);
            let discovery = Discovery {
                names,
                name_server,
                client,
            };
            tokio::spawn(discovery.run());
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
                cluster,
                cache_key,
                authority,
                looking_up: AtomicBool::new(false),
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

    /// The cluster's name.
    pub fn cluster_name(&self) -> &str {
        &self.inner.cluster
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
            pause *= 2;
        }
        let waited = started.elapsed();
        if last.is_empty() {
            last = self.nodes().why_none();
        }
        Err(match distrust {
            Some(message) => ConnectError::Unauthorized { message },
            None => ConnectError::Unreachable { waited, last },
        })
    }

    /// Learns who a node is and whom it follows. Needs no majority.
    async fn introduce(&self, node: &Arc<Node>) -> Result<(), tonic::Status> {
        let attempt = Attempt::new(node, self.options().attempt_timeout.min(self.timeout));
        let request = attempt.request(v1::StatusRequest { local: true });
        let answer = attempt.cluster().status(request).await?.into_inner();
        self.nodes().answered(node, Needs::Node);
        if let Some(header) = &answer.header {
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
        if self.inner.looking_up.swap(true, Ordering::AcqRel) {
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
            .field("cluster", &self.inner.cluster)
            .field("endpoints", &self.endpoints())
            .finish_non_exhaustive()
    }
}

/// How long nodes that do not answer may outweigh one that refuses this client.
const VOUCHING: Duration = Duration::from_secs(1);
/// A session that was quiet for longer may be forgotten by the store.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(300);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
