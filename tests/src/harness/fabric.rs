//! A network between nodes that can be broken without root: a proxy before each node.
//!
//! Each node advertises the address of its proxy, so everybody reaches it through that: peers and
//! clients. A proxy finds out which node dialled (by the owner of the socket, see [`owner`]), and
//! so every direction between two nodes can be treated by itself. What a cut direction carries is
//! held back, not thrown away, and goes on when it is healed, as TCP does after an outage; nothing
//! tells either side. Loss is a stall of a retransmission's length, now and then a reset.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

pub mod owner;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// A node, by its place.
    Node(usize),
    /// A client.
    Outside,
}

/// How a direction treats what it carries.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// Nothing passes.
    pub cut: bool,
    /// Each byte is so much later.
    pub delay: Duration,
    /// The share of chunks, of a thousand, that are lost and come 200 ms later; one in ten of them
    /// resets the connection instead.
    pub loss_per_mille: u32,
}

/// The proxies of a cluster.
pub struct Fabric {
    rules: Arc<Rules>,
    runtime: Option<Runtime>,
}

struct Rules {
    links: watch::Sender<HashMap<(End, End), Link>>,
    /// Connections made before the newest reset end.
    resets: watch::Sender<u64>,
    pids: Mutex<HashMap<u32, usize>>,
    chance: Mutex<StdRng>,
}

impl Fabric {
    /// Proxies with a runtime of their own, so that busy clients do not slow the network down.
    pub fn new(seed: u64) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("fabric")
            .enable_all()
            .build()?;
        let rules = Rules {
            links: watch::Sender::new(HashMap::new()),
            resets: watch::Sender::new(0),
            pids: Mutex::default(),
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
        };
        Ok(Self {
            rules: Arc::new(rules),
            runtime: Some(runtime),
        })
    }

    /// From now on 127.0.0.1:`outer` leads to `node`, which listens at 127.0.0.1:`inner`.
    pub fn serve(&self, node: usize, outer: u16, inner: u16) -> anyhow::Result<()> {
        let runtime = self.runtime.as_ref().expect("taken only by drop");
        let listener = bind(runtime, outer)?;
        let rules = self.rules.clone();
        runtime.spawn(async move {
            while let Ok((stream, dialler)) = listener.accept().await {
                tokio::spawn(carry(rules.clone(), node, inner, stream, dialler));
            }
        });
        Ok(())
    }

    /// Process `pid` is this node, from now on.
    pub fn identify(&self, pid: u32, node: usize) {
        let mut pids = self.rules.pids.lock();
        pids.retain(|_, known| *known != node);
        pids.insert(pid, node);
    }

    /// Treats one direction like that.
    pub fn set(&self, from: End, to: End, link: Link) {
        self.rules.links.send_modify(|links| {
            links.insert((from, to), link);
        });
    }

    /// Nothing passes between `node` and the `others`, in either direction.
    pub fn part(&self, node: usize, others: impl IntoIterator<Item = usize>) {
        for other in others {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// What `from` sends does not reach `to`.
    pub fn cut(&self, from: usize, to: usize) {
        self.set(
            End::Node(from),
            End::Node(to),
            Link {
                cut: true,
                ..Link::default()
            },
        );
    }

    /// Everything passes again, at once.
    pub fn heal(&self) {
        self.rules.links.send_modify(HashMap::clear);
    }

    /// Ends every connection there is.
    pub fn reset(&self) {
        self.rules.resets.send_modify(|count| *count += 1);
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Binds so that `runtime` drives it, whether or not the caller is in another one.
fn bind(runtime: &Runtime, port: u16) -> anyhow::Result<TcpListener> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let _inside = runtime.enter();
    Ok(TcpListener::from_std(listener)?)
}

async fn carry(rules: Arc<Rules>, node: usize, inner: u16, stream: TcpStream, dialler: SocketAddr) {
    let pid = {
        let pids: Vec<u32> = rules.pids.lock().keys().copied().collect();
        // Reading /proc blocks for well under a millisecond.
        owner::of_local_port(dialler.port(), &pids)
    };
    let from = pid
        .and_then(|pid| rules.pids.lock().get(&pid).copied())
        .map_or(End::Outside, End::Node);
    let to = End::Node(node);
    let mut links = rules.links.subscribe();
    let mut resets = rules.resets.subscribe();
    resets.mark_unchanged();
    let passes = |links: &HashMap<(End, End), Link>| !is_cut(links, from, to);
    tokio::select! {
        _ = resets.changed() => return,
        passed = links.wait_for(passes) => if passed.is_err() { return },
    }
    let Ok(target) = TcpStream::connect((Ipv4Addr::LOCALHOST, inner)).await else {
        return;
    };
    let _ = (stream.set_nodelay(true), target.set_nodelay(true));
    let (dialler_reads, dialler_writes) = stream.into_split();
    let (target_reads, target_writes) = target.into_split();
    tokio::select! {
        _ = resets.changed() => {}
        // A reset of one direction ends both; an end of one leaves the other open.
        _ = async { tokio::try_join!(
            pump(&rules, (from, to), dialler_reads, target_writes),
            pump(&rules, (to, from), target_reads, dialler_writes),
        ) } => {}
    }
}

/// Carries one direction until its end.
async fn pump(
    rules: &Rules,
    (from, to): (End, End),
    mut reader: OwnedReadHalf,
    mut writer: OwnedWriteHalf,
) -> Result<(), Reset> {
    let (queue, mut queued) = mpsc::channel::<(Instant, Vec<u8>)>(QUEUE_CHUNKS);
    let read = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let length = reader.read(&mut buffer).await.map_err(|_| Reset)?;
            if length == 0 {
                return Ok(());
            }
            let due = Instant::now() + rules.treat(from, to)?;
            queue
                .send((due, buffer[..length].to_vec()))
                .await
                .map_err(|_| Reset)?;
        }
    };
    let write = async move {
        let mut links = rules.links.subscribe();
        while let Some((due, chunk)) = queued.recv().await {
            if due > Instant::now() {
                sleep_until(due).await;
            }
            links
                .wait_for(|links| !is_cut(links, from, to))
                .await
                .map_err(|_| Reset)?;
            writer.write_all(&chunk).await.map_err(|_| Reset)?;
        }
        links
            .wait_for(|links| !is_cut(links, from, to))
            .await
            .map_err(|_| Reset)?;
        writer.shutdown().await.map_err(|_| Reset)
    };
    tokio::try_join!(read, write).map(|_| ())
}

impl Rules {
    /// How much later the next chunk comes; or that it takes the connection with it.
    fn treat(&self, from: End, to: End) -> Result<Duration, Reset> {
        let Some(link) = self.links.borrow().get(&(from, to)).copied() else {
            return Ok(Duration::ZERO);
        };
        if link.loss_per_mille == 0 {
            return Ok(link.delay);
        }
        let mut chance = self.chance.lock();
        if chance.random_range(0..1_000) >= link.loss_per_mille {
            return Ok(link.delay);
        }
        if chance.random_range(0..10) == 0 {
            return Err(Reset);
        }
        Ok(link.delay + RETRANSMISSION)
    }
}

/// The connection was reset.
struct Reset;

fn is_cut(links: &HashMap<(End, End), Link>, from: End, to: End) -> bool {
    links.get(&(from, to)).is_some_and(|link| link.cut)
}

const CHUNK_BYTES: usize = 32 * 1024;
const QUEUE_CHUNKS: usize = 64;
/// The least that Linux waits before it sends again.
const RETRANSMISSION: Duration = Duration::from_millis(200);

#[cfg(test)]
#[path = "fabric/tests.rs"]
mod tests;
