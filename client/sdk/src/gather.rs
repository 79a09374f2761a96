//! One write for what HTTP/2 says in one turn.
//!
//! A unary call is three frames (headers, message, end), and each reaches the connection from
//! another poll: left alone, each becomes a TLS record, a system call and a packet of its own. Here
//! they wait in a buffer, and a flush lets every task that is ready have its turn first.
//!
//! Invariants: (1) what was written before a flush is on its way when the flush is done, in order.
//! (2) A flush is put off once only, so that nothing waits for a timer or for more to come.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// A stream that gathers its writes.
pub struct Gathered<S> {
    stream: S,
    waiting: BytesMut,
    /// The flush that is wanted has let others go first.
    yielded: bool,
}

impl<S> Gathered<S> {
    /// Gathers what is written to `stream`. Costs no memory while nothing waits.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            waiting: BytesMut::new(),
            yielded: false,
        }
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Hands everything that waits to the stream.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let stream = Pin::new(&mut self.stream);
            let written = ready!(stream.poll_write(context, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
        }
        // An idle connection holds no buffer.
        self.waiting = BytesMut::new();
        self.yielded = false;
        Poll::Ready(Ok(()))
    }
}

/// Not vectored, which has HTTP/2 put messages of up to a kilobyte together with their frames; larger
/// ones it flushes by themselves.
impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.len() + bytes.len() > MOST_BYTES {
            ready!(self.poll_drain(context))?;
        }
        if bytes.len() > MOST_BYTES {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        }
        self.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waiting.is_empty() && !self.yielded {
            self.yielded = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: Connected> Connected for Gathered<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

/// What a TLS record holds. Larger writes gain nothing by waiting.
const MOST_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Notes each write; takes at most so many bytes of one.
    struct Writes {
        made: Vec<Vec<u8>>,
        most: usize,
    }

    impl AsyncWrite for Writes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.most);
            self.made.push(bytes[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn gathered(most: usize) -> Gathered<Writes> {
        Gathered::new(Writes {
            made: Vec::new(),
            most,
        })
    }

    #[tokio::test]
    async fn what_is_written_before_a_flush_goes_in_one_write() {
        let mut stream = gathered(usize::MAX);
        stream.write_all(b"headers ").await.unwrap();
        stream.write_all(b"message ").await.unwrap();
        stream.write_all(b"end").await.unwrap();
        assert!(stream.stream.made.is_empty());
        stream.flush().await.unwrap();
        assert_eq!(stream.stream.made, [b"headers message end".to_vec()]);
    }

    #[test]
    fn a_flush_is_put_off_once_and_takes_what_came_meanwhile() {
        let mut stream = gathered(usize::MAX);
        let mut context = Context::from_waker(std::task::Waker::noop());
        for part in [b"one ", b"two "] {
            let mut written = Pin::new(&mut stream).poll_write(&mut context, part);
            assert!(matches!(&mut written, Poll::Ready(Ok(4))));
            let flushed = Pin::new(&mut stream).poll_flush(&mut context);
            assert_eq!(flushed.is_ready(), part == b"two ");
        }
        assert_eq!(stream.stream.made, [b"one two ".to_vec()]);
    }

    #[tokio::test]
    async fn a_stream_that_takes_little_at_a_time_gets_everything_in_order() {
        let mut stream = gathered(3);
        let large = vec![7; 3 * MOST_BYTES];
        stream.write_all(b"small").await.unwrap();
        stream.write_all(&large).await.unwrap();
        stream.write_all(b"last").await.unwrap();
        stream.shutdown().await.unwrap();
        let written = stream.stream.made.concat();
        assert_eq!(written, [&b"small"[..], &large, b"last"].concat());
    }
}
