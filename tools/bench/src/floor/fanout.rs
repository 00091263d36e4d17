//! The fan-out floor: one thread, one epoll, one room, one frame that is encoded once and written to everybody.
//!
//! It speaks as much of the client protocol as the generator needs (`hello`, `sub`, `msg.send`), so that both servers get the
//! same input, and it knows no users, stores nothing, limits nothing. With [`Way::Coalesced`] all that was read in one pass
//! leaves in one write for each member; with [`Way::OneByOne`] each message is a write of its own.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
};

use anyhow::{Context as _, Result};
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
};

use crate::{
    event::{COUNT_DIGITS, digits, shown},
    wire,
};

/// How messages leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One write for each message and member.
    OneByOne,
    /// One write for each member and pass.
    Coalesced,
}

const LISTENER: u64 = u64::MAX;
const BUFFER: usize = 256 * 1024;
/// The head of a message, up to its number. The chat is the room.
const HEAD: &str = r#"{"t":"msg.new","s":"c:00000000-0000-7000-8000-000000000000","o":"#;

/// Serves one room at `address` until it is killed; a message is a frame with `length` bytes of payload.
pub fn serve(address: SocketAddr, way: Way, length: usize) -> Result<()> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen at {address}"))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    let room = Room {
        epoll,
        members: Vec::new(),
        free: Vec::new(),
        way,
        length,
        o: 0,
        batch: Vec::new(),
    };
    room.serve(&listener)
}

struct Room {
    epoll: OwnedFd,
    members: Vec<Option<Member>>,
    free: Vec<usize>,
    way: Way,
    length: usize,
    o: u64,
    batch: Vec<u8>,
}

struct Member {
    stream: TcpStream,
    upgraded: bool,
    partial: Vec<u8>,
    backlog: Vec<u8>,
}

impl Room {
    fn serve(mut self, listener: &TcpListener) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        let mut events = Vec::with_capacity(1024);
        loop {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), None)?;
            for Event { flags, data } in events.iter().copied() {
                if data.u64() == LISTENER {
                    self.accept(listener)?;
                    continue;
                }
                let number = usize::try_from(data.u64())?;
                if flags.contains(EventFlags::OUT) {
                    self.write(number, &[])?;
                }
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR)
                    && !self.read(number, &mut buffer)?
                {
                    self.members[number] = None;
                    self.free.push(number);
                }
            }
            self.deliver()?;
        }
    }

    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("cannot accept"),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let number = self.free.pop().unwrap_or_else(|| {
                self.members.push(None);
                self.members.len() - 1
            });
            epoll::add(
                &self.epoll,
                &stream,
                EventData::new_u64(number as u64),
                EventFlags::IN,
            )?;
            let (partial, backlog) = (Vec::new(), Vec::new());
            self.members[number] = Some(Member {
                stream,
                upgraded: false,
                partial,
                backlog,
            });
        }
    }

    /// Reads once and does what was asked; false when the member has gone.
    fn read(&mut self, number: usize, buffer: &mut [u8]) -> Result<bool> {
        let Some(member) = &mut self.members[number] else {
            return Ok(true);
        };
        let kept = member.partial.len();
        buffer[..kept].copy_from_slice(&member.partial);
        member.partial = Vec::new();
        let count = match member.stream.read(&mut buffer[kept..]) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return Ok(false),
        };
        let filled = &mut buffer[..kept + count];
        let mut from = 0;
        if !member.upgraded
            && let Some(end) = memchr::memmem::find(filled, b"\r\n\r\n")
        {
            member.upgraded = true;
            from = end + 4;
            self.write(number, wire::upgrade_response().as_bytes())?;
        }
        while self.members[number]
            .as_ref()
            .is_some_and(|member| member.upgraded)
            && let Some(frame) = wire::next_frame(filled, from)?
        {
            if frame.opcode == wire::TEXT {
                self.command(number, &filled[frame.start..frame.end])?;
            }
            from = frame.end;
        }
        if let Some(member) = &mut self.members[number]
            && from < filled.len()
        {
            member.partial.extend_from_slice(&filled[from..]);
        }
        Ok(true)
    }

    fn command(&mut self, number: usize, line: &[u8]) -> Result<()> {
        if memchr::memmem::find(line, br#""t":"msg.send""#).is_some() {
            self.encode(line)?;
            if self.way == Way::OneByOne {
                self.deliver()?;
            }
            return Ok(());
        }
        let answer = if memchr::memmem::find(line, br#""t":"hello""#).is_some() {
            "{\"t\":\"welcome\",\"e\":1,\"d\":{}}\n{\"t\":\"ready\",\"e\":1,\"d\":{}}".to_owned()
        } else {
            let at = memchr::memmem::find(line, br#""id":"#).map_or(line.len(), |at| at + 5);
            let (id, _) =
                digits(&line[at..]).with_context(|| format!("not understood: {}", shown(line)))?;
            format!(r#"{{"id":{id},"ok":{{"e":"1","o":{}}}}}"#, self.o)
        };
        let mut frame = Vec::new();
        wire::put_server_frame(&mut frame, wire::TEXT, answer.as_bytes());
        self.write(number, &frame)
    }

    /// Appends the next message to the batch; its text begins with the count that the sender gave it.
    fn encode(&mut self, line: &[u8]) -> Result<()> {
        const TEXT: &[u8] = br#""text":""#;
        let at = memchr::memmem::find(line, TEXT).context("a message without a text")? + TEXT.len();
        let count = line
            .get(at..at + COUNT_DIGITS)
            .context("a text that is too short")?;
        self.o += 1;
        let mut payload = format!("{HEAD}{},\"d\":{{\"text\":\"", self.o).into_bytes();
        payload.extend_from_slice(count);
        payload.resize(payload.len().max(self.length.saturating_sub(3)), b'x');
        payload.extend_from_slice(b"\"}}");
        wire::put_server_frame(&mut self.batch, wire::TEXT, &payload);
        Ok(())
    }

    fn deliver(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        for number in 0..self.members.len() {
            self.write(number, &batch)?;
        }
        self.batch = batch;
        self.batch.clear();
        Ok(())
    }

    /// Writes to one member; what its socket has no room for waits. A broken socket is noticed by the next read.
    fn write(&mut self, number: usize, bytes: &[u8]) -> Result<()> {
        let Some(member) = &mut self.members[number] else {
            return Ok(());
        };
        if !member.upgraded {
            return Ok(());
        }
        let waited = !member.backlog.is_empty();
        if waited {
            member.backlog.extend_from_slice(bytes);
        }
        let all: &[u8] = if waited { &member.backlog } else { bytes };
        let sent = member.stream.write(all).unwrap_or(0);
        let waits = sent < all.len();
        if waited {
            member.backlog.drain(..sent);
        } else if waits {
            member.backlog.extend_from_slice(&bytes[sent..]);
        }
        if waits != waited {
            let flags = if waits {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            epoll::modify(
                &self.epoll,
                &member.stream,
                EventData::new_u64(number as u64),
                flags,
            )?;
        }
        Ok(())
    }
}
