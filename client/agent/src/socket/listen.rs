//! The socket itself: one agent has it, and whoever connects is known by what the system says.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream as BlockingStream,
    },
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::{SocketError, grants::Guest, peer::Peer};
use crate::settings::{Allow, SocketSettings};

/// A socket that is listened at.
pub(super) struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// Which file it is, for another may be in its place by the end.
    file: u64,
}

/// One connection, and whose it is.
pub(super) struct Connection {
    stream: UnixStream,
    guest: Arc<Guest>,
    _seat: Seat,
}

/// How many connections each user has, so that none takes all that the agent can have.
#[derive(Default)]
struct Seats(Mutex<BTreeMap<u32, usize>>);

/// One of them. Dropping it gives it back.
struct Seat {
    seats: Arc<Seats>,
    uid: u32,
}

impl Listener {
    /// Makes the socket. One that an agent left behind is replaced.
    pub(super) fn bind(settings: &SocketSettings) -> Result<Self, SocketError> {
        let path = settings.path.clone();
        let failed = |action| {
            let path = path.clone();
            move |source| SocketError::Io {
                path,
                action,
                source,
            }
        };
        if let Some(folder) = path.parent()
            && !folder.exists()
        {
            fs::create_dir_all(folder).map_err(failed("put in its folder"))?;
            let open = fs::Permissions::from_mode(0o755);
            fs::set_permissions(folder, open).map_err(failed("put in its folder"))?;
        }
        is_free(&path)?;
        // Under another name until it has its mode, so that nobody finds it without.
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("made")(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&new).map_err(failed("made"))?;
        let mode = fs::Permissions::from_mode(settings.mode.bits());
        fs::set_permissions(&new, mode).map_err(failed("given its mode"))?;
        let file = fs::metadata(&new).map_err(failed("looked at"))?.ino();
        fs::rename(&new, &path).map_err(failed("put in its place"))?;
        Ok(Self {
            listener,
            path,
            file,
        })
    }

    /// Takes the socket away, unless another agent's is there by now.
    pub(super) fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == self.file) {
            // If it is gone, that is as well.
            let _ = fs::remove_file(&self.path);
        }
    }

    /// The connections as they come. The system's books may be slow: each is looked up apart, a few at a
    /// time. One that is too many for its user is closed.
    pub(super) fn connections(
        self: Arc<Self>,
        allowed: Vec<Allow>,
    ) -> impl Stream<Item = io::Result<Connection>> + Send + 'static {
        let (connections, stream) = mpsc::channel(AT_ONCE);
        let allowed: Arc<[Allow]> = allowed.into();
        let seats = Arc::new(Seats::default());
        let looking = Arc::new(Semaphore::new(LOOKING));
        tokio::spawn(async move {
            while !connections.is_closed() {
                let accepted = tokio::select! {
                    accepted = self.listener.accept() => accepted,
                    () = connections.closed() => return,
                };
                let seated = accepted.and_then(|(stream, _)| {
                    let seat = seats.take(stream.peer_cred()?.uid());
                    Ok((stream, seat))
                });
                match seated {
                    Ok((stream, Some(seat))) => {
                        let (connections, allowed) = (connections.clone(), Arc::clone(&allowed));
                        let looking = Arc::clone(&looking);
                        tokio::spawn(async move {
                            let one_of_few = looking.acquire().await;
                            let admitted = admit(stream, seat, allowed).await;
                            drop(one_of_few);
                            // Nobody serves any more.
                            let _ = connections.send(admitted).await;
                        });
                    }
                    Ok((_, None)) => {
                        tracing::warn!(
                            most = SEATS,
                            "a user has too many connections; one more is closed"
                        );
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a service could not connect to the socket");
                        tokio::time::sleep(REST).await;
                    }
                }
            }
        });
        ReceiverStream::new(stream)
    }
}

impl Seats {
    fn take(self: &Arc<Self>, uid: u32) -> Option<Seat> {
        let mut all = self.0.lock();
        let taken = all.entry(uid).or_default();
        (*taken < SEATS).then(|| {
            *taken += 1;
            Seat {
                seats: Arc::clone(self),
                uid,
            }
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.seats.0.lock();
        if let Some(taken) = all.get_mut(&self.uid) {
            *taken -= 1;
            if *taken == 0 {
                all.remove(&self.uid);
            }
        }
    }
}

async fn admit(stream: UnixStream, seat: Seat, allowed: Arc<[Allow]>) -> io::Result<Connection> {
    let credentials = stream.peer_cred()?;
    let (uid, gid) = (credentials.uid(), credentials.gid());
    let looking = tokio::task::spawn_blocking(move || Guest::admit(Peer::of(uid, gid), &allowed));
    let guest = looking.await.map_err(io::Error::other)?;
    let guest = Arc::new(guest);
    Ok(Connection {
        stream,
        guest,
        _seat: seat,
    })
}

/// Whether nobody answers there.
fn is_free(path: &Path) -> Result<(), SocketError> {
    let owned = || path.to_owned();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(SocketError::Io {
                path: owned(),
                action: "looked for",
                source,
            });
        }
        Ok(there) if !there.file_type().is_socket() => {
            return Err(SocketError::Foreign { path: owned() });
        }
        Ok(_) => {}
    }
    match BlockingStream::connect(path) {
        Ok(_) => Err(SocketError::InUse { path: owned() }),
        Err(_) => Ok(()),
    }
}

impl Connected for Connection {
    type ConnectInfo = Arc<Guest>;

    fn connect_info(&self) -> Arc<Guest> {
        Arc::clone(&self.guest)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Connections that wait to be served.
const AT_ONCE: usize = 64;
/// Connections of one user: of a service with many processes, and then some.
const SEATS: usize = 256;
/// Users that are looked up at the same time.
const LOOKING: usize = 8;
const REST: Duration = Duration::from_millis(100);
