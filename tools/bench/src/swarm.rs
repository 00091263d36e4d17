//! Many sockets, one thread: the event loop of the generator.
//!
//! It reads once for each readiness, cuts frames into lines inside one shared buffer, and copies nothing. Heartbeats and
//! pings are answered here; every other line goes to the scenario.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
};

use crate::{
    handshake::{self, Login, close_reason},
    wire,
};

/// Larger than any run of frames that a server may have queued for one reader.
const BUFFER: usize = 512 * 1024;
const EVENTS: usize = 1024;
/// The readiness loop runs once for so many handshakes, so that early sockets answer their heartbeats.
const HANDSHAKES_PER_TURN: usize = 256;

/// The generator's sockets.
pub struct Swarm {
    epoll: OwnedFd,
    sockets: Vec<Socket>,
    buffer: Vec<u8>,
    events: Vec<Event>,
    reads: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    head: u64,
    partial: Vec<u8>,
    unsent: Vec<u8>,
    wants_room: bool,
}

impl Swarm {
    /// Without any socket.
    pub fn new() -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let (sockets, buffer, events) = (Vec::new(), vec![0; BUFFER], Vec::with_capacity(EVENTS));
        Ok(Self {
            epoll,
            sockets,
            buffer,
            events,
            reads: 0,
            bytes: 0,
        })
    }

    /// Opens and subscribes one more socket; answers its number.
    ///
    /// # Errors
    /// Those of [`handshake::open`].
    pub fn connect(
        &mut self,
        address: SocketAddr,
        source: Ipv4Addr,
        login: Login,
    ) -> Result<usize> {
        let number = self.sockets.len();
        let opened =
            handshake::open(address, source, login).with_context(|| format!("socket {number}"))?;
        opened.stream.set_nonblocking(true)?;
        epoll::add(
            &self.epoll,
            &opened.stream,
            EventData::new_u64(number as u64),
            EventFlags::IN,
        )?;
        self.sockets.push(Socket {
            stream: opened.stream,
            head: opened.head,
            partial: opened.rest,
            unsent: Vec::new(),
            wants_room: false,
        });
        if number % HANDSHAKES_PER_TURN == HANDSHAKES_PER_TURN - 1 {
            self.turn(Duration::ZERO, |_, _| Ok(()))?;
        }
        Ok(number)
    }

    /// How many sockets there are.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether there is no socket yet.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// For each socket, the `o` after which it was subscribed.
    pub fn heads(&self) -> impl Iterator<Item = u64> {
        self.sockets.iter().map(|socket| socket.head)
    }

    /// Reads and bytes so far.
    pub fn received(&self) -> (u64, u64) {
        (self.reads, self.bytes)
    }

    /// Appends a command to what `socket` sends at the next [`Swarm::flush`].
    pub fn queue(&mut self, socket: usize, command: &[u8]) {
        wire::put_client_frame(&mut self.sockets[socket].unsent, wire::TEXT, command);
    }

    /// Sends what is queued in one write.
    pub fn flush(&mut self, socket: usize) -> Result<()> {
        self.sockets[socket].flush(&self.epoll, socket)
    }

    /// Waits at most `wait` for something to arrive and gives every line to `each`, with the number of its socket.
    ///
    /// # Errors
    /// A socket that the server closed or broke; an error of `each`.
    pub fn turn(
        &mut self,
        wait: Duration,
        mut each: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let timeout = Timespec::try_from(wait)?;
        self.events.clear();
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for at in 0..self.events.len() {
            let Event { flags, data } = self.events[at];
            let number = usize::try_from(data.u64())?;
            if flags.contains(EventFlags::OUT) {
                self.flush(number)?;
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                self.read(number, &mut each)
                    .with_context(|| format!("socket {number}"))?;
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        number: usize,
        each: &mut impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let socket = &mut self.sockets[number];
        let kept = socket.partial.len();
        self.buffer[..kept].copy_from_slice(&socket.partial);
        socket.partial.clear();
        let count = match socket.stream.read(&mut self.buffer[kept..]) {
            Ok(0) => bail!("the server ended the connection without a close frame"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error).context("reading failed"),
        };
        self.reads += 1;
        self.bytes += count as u64;
        let filled = &mut self.buffer[..kept + count];
        let mut from = 0;
        let mut replies = false;
        while let Some(frame) = wire::next_frame(filled, from)? {
            let payload = &filled[frame.start..frame.end];
            match frame.opcode {
                wire::TEXT => {
                    let mut line_start = 0;
                    for line_end in memchr::memchr_iter(b'\n', payload).chain([payload.len()]) {
                        let line = &payload[line_start..line_end];
                        line_start = line_end + 1;
                        if line == b"{}" {
                            wire::put_client_frame(&mut socket.unsent, wire::TEXT, b"{}");
                            replies = true;
                        } else if !line.is_empty() {
                            each(number, line)?;
                        }
                    }
                }
                wire::PING => {
                    wire::put_client_frame(&mut socket.unsent, wire::PONG, payload);
                    replies = true;
                }
                wire::CLOSE => bail!("the server closed the socket: {}", close_reason(payload)),
                other => bail!("a frame with opcode {other}"),
            }
            from = frame.end;
        }
        socket.partial.extend_from_slice(&filled[from..]);
        if replies {
            socket.flush(&self.epoll, number)
        } else {
            Ok(())
        }
    }
}

impl Socket {
    fn flush(&mut self, epoll: &OwnedFd, number: usize) -> Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("writing failed"),
            }
        }
        let wants_room = !self.unsent.is_empty();
        if wants_room != self.wants_room {
            self.wants_room = wants_room;
            let flags = if wants_room {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            epoll::modify(
                epoll,
                &self.stream,
                EventData::new_u64(number as u64),
                flags,
            )?;
        }
        Ok(())
    }
}
