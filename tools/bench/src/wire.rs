//! WebSocket frames (RFC 6455), as little of them as a generator and a floor server need.
//!
//! Clients mask with a key of zeros: the bytes on the wire are as many as with a random key, and masking costs the
//! generator nothing. The upgrade always offers the sample nonce of the RFC, so its answer is a constant too.

use anyhow::{Result, bail};

/// The nonce of RFC 6455, section 1.3.
pub const NONCE: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What a server must answer to [`NONCE`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A whole text message.
pub const TEXT: u8 = 1;
/// The end of the conversation; the payload is a code and a reason.
pub const CLOSE: u8 = 8;
/// To be answered by [`PONG`] with the same payload.
pub const PING: u8 = 9;
/// The answer to [`PING`].
pub const PONG: u8 = 10;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// The length follows in two bytes.
const MEDIUM: u8 = 0x7e;
/// The length follows in eight bytes.
const LONG: u8 = 0x7f;

/// A frame inside a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the frame is.
    pub opcode: u8,
    /// Where its payload starts.
    pub start: usize,
    /// Where it ends; the next frame starts here.
    pub end: usize,
}

/// The request that turns a connection to `host` into a socket.
pub fn upgrade_request(path: &str, host: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {NONCE}\r\n\r\n"
    )
}

/// The answer to [`upgrade_request`].
pub fn upgrade_response() -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    )
}

/// Appends a frame as a client sends it: masked, with a key of zeros.
pub fn put_client_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    put_head(out, opcode, MASKED, payload.len());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Appends a frame as a server sends it.
pub fn put_server_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    put_head(out, opcode, 0, payload.len());
    out.extend_from_slice(payload);
}

fn put_head(out: &mut Vec<u8>, opcode: u8, masked: u8, length: usize) {
    out.push(FIN | opcode);
    if let Ok(short) = u8::try_from(length)
        && short < MEDIUM
    {
        out.push(masked | short);
    } else if let Ok(medium) = u16::try_from(length) {
        out.push(masked | MEDIUM);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.push(masked | LONG);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// The frame that begins at `from`, unmasked in place; nothing while it is incomplete.
///
/// # Errors
/// A fragment: nobody here sends messages that long.
pub fn next_frame(buffer: &mut [u8], from: usize) -> Result<Option<Frame>> {
    let Some(&[first, second]) = buffer.get(from..from + 2) else {
        return Ok(None);
    };
    if first & FIN == 0 {
        bail!("a fragmented frame: first bytes {first:#04x} {second:#04x}");
    }
    let mut start = from + 2;
    let length = match second & LONG {
        MEDIUM => {
            let Some(&[a, b]) = buffer.get(start..start + 2) else {
                return Ok(None);
            };
            start += 2;
            usize::from(u16::from_be_bytes([a, b]))
        }
        LONG => {
            let Some(long) = buffer.get(start..).and_then(<[u8]>::first_chunk) else {
                return Ok(None);
            };
            start += 8;
            usize::try_from(u64::from_be_bytes(*long))?
        }
        short => usize::from(short),
    };
    let mut mask = [0; 4];
    if second & MASKED != 0 {
        let Some(key) = buffer.get(start..start + 4) else {
            return Ok(None);
        };
        mask.copy_from_slice(key);
        start += 4;
    }
    let Some(end) = start.checked_add(length).filter(|end| *end <= buffer.len()) else {
        return Ok(None);
    };
    if mask != [0; 4] {
        for (byte, key) in buffer[start..end].iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
    }
    Ok(Some(Frame {
        opcode: first & 0x0f,
        start,
        end,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_come_back_whole() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
            let payload = vec![b'x'; length];
            for put in [put_client_frame, put_server_frame] {
                let mut bytes = Vec::new();
                put(&mut bytes, TEXT, &payload);
                let frame = next_frame(&mut bytes, 0).unwrap().unwrap();
                assert_eq!((frame.opcode, frame.end), (TEXT, bytes.len()));
                assert_eq!(&bytes[frame.start..frame.end], &payload);
            }
        }
    }

    #[test]
    fn an_incomplete_frame_is_waited_for() {
        let mut whole = Vec::new();
        put_client_frame(&mut whole, TEXT, &[b'y'; 300]);
        for cut in 0..whole.len() {
            assert_eq!(
                next_frame(&mut whole[..cut].to_vec(), 0).unwrap(),
                None,
                "{cut}"
            );
        }
    }

    #[test]
    fn a_masked_frame_is_unmasked_in_place() {
        // The masked "Hello" of RFC 6455, section 5.7.
        let mut bytes = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        let frame = next_frame(&mut bytes, 0).unwrap().unwrap();
        assert_eq!(&bytes[frame.start..frame.end], b"Hello");
    }

    #[test]
    fn a_fragment_is_refused() {
        assert!(next_frame(&mut [0x01, 0x00], 0).is_err());
    }
}
