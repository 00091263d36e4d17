//! The writing side of a connection: what was taken from its queue and has not left yet.
//!
//! Its own task writes, and so does whoever has just put an event into many queues: one task that writes
//! to thirty connections costs less than thirty that are woken to write once.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use bytes::{Buf as _, Bytes};
use tokio::net::TcpStream;

use crate::{Socket, queue::BATCH};

/// Locked while somebody writes. Without a stream, the connection has not begun or is over.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) stream: Option<Arc<TcpStream>>,
    batch: Vec<Bytes>,
}

impl Wire {
    /// Writes until nothing waits; `false` when the client takes nothing more for now.
    ///
    /// # Errors
    /// The connection's.
    pub(crate) fn write(&mut self, socket: &Socket) -> io::Result<bool> {
        let Some(stream) = &self.stream else {
            return Ok(true);
        };
        let metrics = socket.hub().metrics();
        loop {
            if self.batch.is_empty() {
                socket.take(&mut self.batch);
                if self.batch.is_empty() {
                    self.batch = Vec::new();
                    socket.is_served();
                    return Ok(true);
                }
                metrics.frames_out.increment(self.batch.len() as u64);
            }
            match write_batch(stream, &self.batch) {
                Ok(written) => {
                    metrics.writes.increment(1);
                    drop_written(&mut self.batch, written);
                    socket.wrote(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

fn write_batch(stream: &TcpStream, batch: &[Bytes]) -> io::Result<usize> {
    if let [only] = batch {
        return stream.try_write(only);
    }
    let mut slices = [IoSlice::new(&[]); BATCH];
    for (slice, frame) in slices.iter_mut().zip(batch) {
        *slice = IoSlice::new(frame);
    }
    stream.try_write_vectored(&slices[..batch.len()])
}

/// Takes the first `written` bytes out of `batch`.
fn drop_written(batch: &mut Vec<Bytes>, mut written: usize) {
    let whole = batch
        .iter()
        .take_while(|frame| {
            let is_whole = frame.len() <= written;
            written -= if is_whole { frame.len() } else { 0 };
            is_whole
        })
        .count();
    batch.drain(..whole);
    if let Some(first) = batch.first_mut() {
        first.advance(written);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        task::{Context, Poll, Wake, Waker},
    };

    use kit::{Node, RandomIds, SystemClock};
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use super::*;
    use crate::{Config, Frame, Hub};

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// Two ends of one connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (near, _) = listener.accept().await.unwrap();
        near.writable().await.unwrap();
        (near, far.unwrap())
    }

    /// A session that waits for room hears of it, whoever has written.
    #[tokio::test]
    async fn a_write_by_somebody_else_makes_room() {
        let (node, clock) = (Node::new(), Arc::new(SystemClock));
        let hub = Hub::start("wire", Config::default(), clock, &RandomIds, &node).unwrap();
        let connected = hub.connect([127, 0, 0, 1].into());
        let socket = &connected.0;
        let filler = Frame::text(&[b'x'; 1024]);
        let fillers = hub.config().queue_bytes / 2 / filler.wire_len();
        (0..fillers).for_each(|_| socket.send(&filler));
        let count = Arc::new(Wakes::default());
        let waker = Waker::from(count.clone());
        let mut context = Context::from_waker(&waker);
        let mut room = pin!(socket.room());
        assert_eq!(room.as_mut().poll(&mut context), Poll::Pending);

        let (near, mut far) = pair().await;
        socket.attach(&Arc::new(near));
        socket.register(&waker);
        socket.flush();
        assert_eq!(count.0.load(SeqCst), 1);
        assert_eq!(room.as_mut().poll(&mut context), Poll::Ready(()));
        let mut taken = vec![0; fillers * filler.wire_len()];
        far.read_exact(&mut taken).await.unwrap();

        // Nobody waits any more, so nobody is woken.
        socket.register(&waker);
        socket.queue_event(&filler).unwrap();
        socket.flush();
        assert_eq!(count.0.load(SeqCst), 1);
    }

    #[test]
    fn a_partial_write_goes_on_where_it_stopped() {
        let frames = ["abc", "", "defg", "h"].map(|frame| Bytes::from_static(frame.as_bytes()));
        for written in 0..=8 {
            let mut batch = frames.to_vec();
            drop_written(&mut batch, written);
            let left: Vec<u8> = batch.concat();
            assert_eq!(left, &b"abcdefgh"[written..]);
        }
    }
}
