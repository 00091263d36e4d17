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
    use super::*;

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
