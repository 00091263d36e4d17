//! Reads a client's frames out of whatever pieces the network delivers.

use super::{BINARY, CLOSE, FIN, PING, PONG, TEXT, Violation};

/// The most fragments that one message may have.
const MAX_FRAGMENTS: u16 = 1024;
/// The largest payload of a control frame.
const MAX_CONTROL: usize = 125;
const CONTINUATION: u8 = 0x0;
/// The bits of extensions, none of which is ever agreed on.
const RESERVED: u8 = 0x70;

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A whole text message.
    Text(String),
    /// A ping with its payload.
    Ping(Vec<u8>),
    /// A pong, asked for or not.
    Pong,
    /// The client wants to close, with this code if it gave one.
    Close(Option<u16>),
}

/// Turns bytes into messages. Holds memory only while a frame or a message is incomplete, and never
/// more than one message's limit, one header and one piece from the network.
#[derive(Debug)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    start: usize,
    message: Vec<u8>,
    fragments: u16,
    limit: usize,
}

struct Header {
    is_final: bool,
    opcode: u8,
    mask: [u8; 4],
    at: usize,
    end: usize,
}

impl Reader {
    /// A reader that accepts messages of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            message: Vec::new(),
            fragments: 0,
            limit,
        }
    }

    /// Takes what the network delivered; [`Reader::next`] is called until it has nothing more.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message or control frame, `None` when more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, Violation> {
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let payload = &mut self.buffer[header.at..header.end];
            for (byte, mask) in payload.iter_mut().zip(header.mask.iter().cycle()) {
                *byte ^= mask;
            }
            let taken = take_frame(&header, payload, &mut self.message, &mut self.fragments);
            self.start = header.end;
            if self.start == self.buffer.len() {
                self.buffer = Vec::new();
                self.start = 0;
            }
            if let Some(incoming) = taken? {
                return Ok(Some(incoming));
            }
        }
    }

    /// Bytes of memory held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.buffer.capacity() + self.message.capacity()
    }

    /// Checks the header as soon as it is there, the whole frame is waited for only if it is acceptable.
    fn header(&self) -> Result<Option<Header>, Violation> {
        let bytes = &self.buffer[self.start..];
        let &[first, second, ..] = bytes else {
            return Ok(None);
        };
        let (is_final, opcode) = (first & FIN != 0, first & 0x0F);
        if first & RESERVED != 0 {
            return Err(Violation::Protocol("a reserved bit is set"));
        }
        if second & 0x80 == 0 {
            return Err(Violation::Protocol("the frame is not masked"));
        }
        let Some((len, at)) = payload_len(bytes, second & 0x7F)? else {
            return Ok(None);
        };
        self.check(is_final, opcode, len)?;
        let Some(mask) = bytes.get(at..at + 4) else {
            return Ok(None);
        };
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        let at = self.start + at + 4;
        let end = at + len;
        Ok((end <= self.buffer.len()).then_some(Header {
            is_final,
            opcode,
            mask,
            at,
            end,
        }))
    }

    fn check(&self, is_final: bool, opcode: u8, len: usize) -> Result<(), Violation> {
        match opcode {
            CONTINUATION if self.fragments == 0 => {
                Err(Violation::Protocol("a continuation without a beginning"))
            }
            TEXT if self.fragments > 0 => {
                Err(Violation::Protocol("a message begins inside of another"))
            }
            CONTINUATION | TEXT => {
                let is_too_large = self.message.len() + len > self.limit;
                if is_too_large || self.fragments >= MAX_FRAGMENTS {
                    Err(Violation::TooLarge)
                } else {
                    Ok(())
                }
            }
            BINARY => Err(Violation::Binary),
            CLOSE | PING | PONG if is_final && len <= MAX_CONTROL => Ok(()),
            CLOSE | PING | PONG => Err(Violation::Protocol(
                "a control frame is too long or in pieces",
            )),
            _ => Err(Violation::Protocol("the opcode is not known")),
        }
    }
}

/// The length of the payload and where its mask begins; the shortest writing is asked for.
fn payload_len(bytes: &[u8], short: u8) -> Result<Option<(usize, usize)>, Violation> {
    let (len, at, least) = match short {
        126 => {
            let Some(&[high, low]) = bytes.get(2..4).and_then(|len| len.first_chunk()) else {
                return Ok(None);
            };
            (u64::from(u16::from_be_bytes([high, low])), 4, 126)
        }
        127 => {
            let Some(len) = bytes.get(2..10).and_then(|len| len.first_chunk()) else {
                return Ok(None);
            };
            (u64::from_be_bytes(*len), 10, 0x1_0000)
        }
        short => (u64::from(short), 2, 0),
    };
    if len < least || len > i64::MAX as u64 {
        return Err(Violation::Protocol(
            "the length is not written as it must be",
        ));
    }
    usize::try_from(len)
        .map(|len| Some((len, at)))
        .map_err(|_| Violation::TooLarge)
}

fn take_frame(
    header: &Header,
    payload: &[u8],
    message: &mut Vec<u8>,
    fragments: &mut u16,
) -> Result<Option<Incoming>, Violation> {
    match header.opcode {
        PING => Ok(Some(Incoming::Ping(payload.to_vec()))),
        PONG => Ok(Some(Incoming::Pong)),
        CLOSE => close_code(payload).map(|code| Some(Incoming::Close(code))),
        _ if header.is_final => {
            let whole = if *fragments == 0 {
                payload.to_vec()
            } else {
                message.extend_from_slice(payload);
                std::mem::take(message)
            };
            *fragments = 0;
            String::from_utf8(whole)
                .map(|text| Some(Incoming::Text(text)))
                .map_err(|_| Violation::NotUtf8)
        }
        _ => {
            message.extend_from_slice(payload);
            *fragments += 1;
            Ok(None)
        }
    }
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Violation::Protocol("half a close code"))
        };
    };
    if std::str::from_utf8(reason).is_err() {
        return Err(Violation::NotUtf8);
    }
    match u16::from_be_bytes(*code) {
        code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => Ok(Some(code)),
        _ => Err(Violation::Protocol("the close code may not be sent")),
    }
}
