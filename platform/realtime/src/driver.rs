//! The one task of a connection: reads, gives its session turns, writes.
//!
//! One poll does all three until none gets further. Frames that wait together leave in one write, and
//! nothing is held back for it. Buffers exist only while something is under way.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::net::TcpStream;

use crate::{
    Frame, Socket,
    frame::{Incoming, Reader},
    hub::Connected,
};

/// What a connection talks about: gets everything the client said, in order, in one turn after another.
pub(crate) trait Dialogue: Send + 'static {
    /// Handles `inbox`, which is empty when somebody asked for a turn or a time has come. While a turn
    /// lasts, only a little more is read from the client.
    fn turn(&mut self, inbox: Vec<String>) -> impl Future<Output = ()> + Send;
}

/// Messages read ahead while a turn lasts.
const INBOX: usize = 32;
/// Bytes of them.
const INBOX_BYTES: usize = 64 * 1024;
/// Bytes of one read.
const READ: usize = 8 * 1024;
/// How often one poll goes round before other tasks get their chance.
const ROUNDS: usize = 8;

pub(crate) struct Driver<D> {
    stream: Arc<TcpStream>,
    connected: Connected,
    reader: Reader,
    inbox: Vec<String>,
    inbox_bytes: usize,
    turn: Turn<D>,
    input: Input,
}

enum Turn<D> {
    Idle(Option<Box<D>>),
    Busy(Pin<Box<dyn Future<Output = Box<D>> + Send>>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    /// The client speaks.
    Frames,
    /// The client broke the protocol: what it says is thrown away until it is gone.
    Discarded,
    /// The client has said goodbye, or is gone.
    Over,
}

/// Ends with the connection.
impl<D: Dialogue> Future for Driver<D> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.go_on(context)
    }
}

impl<D: Dialogue> Driver<D> {
    /// `read` is what came together with the upgrade.
    pub(crate) fn new(stream: TcpStream, connected: Connected, dialogue: D, read: &[u8]) -> Self {
        let limit = connected.0.hub().config().message_bytes;
        let stream = Arc::new(stream);
        connected.0.attach(&stream);
        let mut driver = Self {
            stream,
            connected,
            reader: Reader::new(limit),
            inbox: Vec::new(),
            inbox_bytes: 0,
            turn: Turn::Idle(Some(Box::new(dialogue))),
            input: Input::Frames,
        };
        driver.take_in(read);
        driver.socket().poke();
        driver
    }

    fn socket(&self) -> &Arc<Socket> {
        &self.connected.0
    }

    fn go_on(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.socket().register(context.waker());
        for _ in 0..ROUNDS {
            if self.socket().is_aborted() {
                return Poll::Ready(());
            }
            let Ok(has_read) = self.read(context) else {
                return Poll::Ready(());
            };
            let has_turned = self.take_turn(context);
            if self.write(context).is_err() {
                return Poll::Ready(());
            }
            if self.input == Input::Over && self.socket().is_finished() {
                return Poll::Ready(());
            }
            if !(has_read || has_turned) {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once, unless enough waits for its turn already.
    fn read(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        if self.inbox.len() >= INBOX || self.inbox_bytes >= INBOX_BYTES {
            // Its signs of life are not seen because of us.
            self.socket().heard();
            return Ok(false);
        }
        if self.input == Input::Over {
            return Ok(false);
        }
        loop {
            let Poll::Ready(ready) = self.stream.poll_read_ready(context) else {
                return Ok(false);
            };
            ready?;
            let mut piece = [0; READ];
            match self.stream.try_read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.take_in(&piece[..read]);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        if self.input != Input::Frames || bytes.is_empty() {
            return;
        }
        let socket = self.connected.0.clone();
        socket.heard();
        self.reader.push(bytes);
        let mut ping = None;
        let mut frames = 0;
        loop {
            match self.reader.next() {
                Ok(None) => break,
                Ok(Some(Incoming::Text(text))) => {
                    self.inbox_bytes += text.len();
                    self.inbox.push(text);
                }
                // Only the newest ping needs an answer (RFC 6455 section 5.5.3).
                Ok(Some(Incoming::Ping(payload))) => ping = Some(payload),
                Ok(Some(Incoming::Pong)) => {}
                Ok(Some(Incoming::Close(code))) => {
                    socket.close_echo(code.unwrap_or(1000));
                    self.input = Input::Over;
                    break;
                }
                Err(violation) => {
                    tracing::debug!(socket.id = socket.id(), %violation, "a client broke the protocol");
                    socket.close_with(violation.code(), &violation.to_string());
                    self.input = Input::Discarded;
                    break;
                }
            }
            frames += 1;
        }
        socket.hub().metrics().frames_in.increment(frames);
        if let Some(payload) = ping {
            socket.send(&Frame::pong(&payload));
        }
    }

    /// Begins a turn when there is a cause and goes on with the one that lasts.
    fn take_turn(&mut self, context: &mut Context<'_>) -> bool {
        if let Turn::Idle(dialogue) = &mut self.turn {
            let is_poked = self.connected.0.take_poke();
            if !is_poked && self.inbox.is_empty() {
                return false;
            }
            let inbox = std::mem::take(&mut self.inbox);
            self.inbox_bytes = 0;
            if !self.connected.0.is_open() {
                return false;
            }
            let Some(mut dialogue) = dialogue.take() else {
                return false;
            };
            self.turn = Turn::Busy(Box::pin(async move {
                dialogue.turn(inbox).await;
                dialogue
            }));
        }
        let Turn::Busy(turn) = &mut self.turn else {
            return false;
        };
        let Poll::Ready(dialogue) = turn.as_mut().poll(context) else {
            return false;
        };
        self.turn = Turn::Idle(Some(dialogue));
        true
    }

    /// Writes until nothing waits or the client takes nothing more.
    fn write(&self, context: &mut Context<'_>) -> io::Result<()> {
        while !self.socket().write()? {
            match self.stream.poll_write_ready(context) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    self.socket().is_stuck();
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;

    impl Dialogue for Silent {
        async fn turn(&mut self, _: Vec<String>) {}
    }

    /// bench:M1: what an idle connection costs beside its session, in bytes.
    #[test]
    fn an_idle_connection_is_small() {
        assert!(
            size_of::<Driver<Silent>>() <= 224,
            "the task: {}",
            size_of::<Driver<Silent>>()
        );
        assert!(
            size_of::<Socket>() <= 264,
            "the handle: {}",
            size_of::<Socket>()
        );
    }
}
