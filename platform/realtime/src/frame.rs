//! Frames of RFC 6455: what the server writes, and a strict reader of what a client writes.
//!
//! No I/O happens here. Extensions are not offered, so every reserved bit is an error.

mod reader;

use bytes::{BufMut as _, Bytes, BytesMut};

pub(crate) use reader::{Incoming, Reader};

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
/// The last frame of a message.
const FIN: u8 = 0x80;

/// A complete frame as it goes onto the wire. Made once and shared: cloning copies no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Bytes);

impl Frame {
    /// A text message of one frame. `payload` is UTF-8, which is up to the caller.
    pub fn text(payload: &[u8]) -> Self {
        Self::encode(TEXT, payload)
    }

    /// The answer to a ping; `payload` has at most 125 bytes.
    pub(crate) fn pong(payload: &[u8]) -> Self {
        Self::encode(PONG, payload)
    }

    /// A close frame; the reason is short and plain.
    pub(crate) fn close(code: u16, reason: &str) -> Self {
        let mut payload = Vec::with_capacity(2 + reason.len());
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(reason.as_bytes());
        Self::encode(CLOSE, &payload)
    }

    /// Length on the wire, header included.
    pub fn wire_len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }

    fn encode(opcode: u8, payload: &[u8]) -> Self {
        let mut frame = BytesMut::with_capacity(payload.len() + 10);
        frame.put_u8(FIN | opcode);
        match payload.len() {
            len @ 0..=125 => frame.put_u8(u8::try_from(len).unwrap_or_default()),
            len @ 126..=0xFFFF => {
                frame.put_u8(126);
                frame.put_u16(u16::try_from(len).unwrap_or_default());
            }
            len => {
                frame.put_u8(127);
                frame.put_u64(len as u64);
            }
        }
        frame.put_slice(payload);
        Self(frame.freeze())
    }
}

/// How a client broke the protocol, or left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// Not as RFC 6455 asks.
    #[error("{0}")]
    Protocol(&'static str),
    /// A binary message.
    #[error("binary messages are not accepted")]
    Binary,
    /// A text that is not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// A frame, a message, or a number of fragments above the limit.
    #[error("the message is too large")]
    TooLarge,
}

impl Violation {
    /// The close code of RFC 6455 section 7.4.1.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::Binary => 1003,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
        }
    }
}

#[cfg(test)]
mod tests;
