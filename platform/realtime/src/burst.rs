//! Events for many connections at once, written without waking each of them.

use std::sync::Arc;

use crate::{Crowded, Frame, Hub, Socket};

/// The connections of one task that writes. Fewer are written to at once.
const SHARE: usize = 32;

/// Connections that have got an event and wait for their write. Dropping it writes to all of them, so
/// that events which come together leave together.
pub struct Burst<'h> {
    hub: &'h Hub,
    sockets: Vec<Arc<Socket>>,
}

impl Hub {
    /// A burst without connections.
    pub fn burst(&self) -> Burst<'_> {
        Burst {
            hub: self,
            sockets: Vec::new(),
        }
    }
}

impl Burst<'_> {
    /// As [`Socket::send_event`], to be written when the burst ends, or when there is no room before.
    ///
    /// # Errors
    /// [`Crowded`].
    pub fn send_event(&mut self, socket: &Arc<Socket>, frame: &Frame) -> Result<(), Crowded> {
        let queued = socket.queue_event(frame).or_else(|Crowded| {
            socket.flush();
            socket.queue_event(frame)
        });
        if queued.inspect_err(|Crowded| socket.lags())? {
            self.sockets.push(socket.clone());
        }
        Ok(())
    }
}

impl Drop for Burst<'_> {
    fn drop(&mut self) {
        let mut sockets = std::mem::take(&mut self.sockets);
        while sockets.len() > SHARE {
            let share = sockets.split_off(sockets.len() - SHARE);
            self.hub.spawner().spawn("burst", async move {
                flush(&share);
            });
        }
        flush(&sockets);
    }
}

fn flush(sockets: &[Arc<Socket>]) {
    for socket in sockets {
        socket.flush();
    }
}
