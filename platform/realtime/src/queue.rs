//! What waits to be written to one socket: bounded in bytes, ephemera dropped first.
//!
//! Pure state without I/O. The bound and its shares:
//! - ephemera use at most a quarter, then older ones give way to newer ones,
//! - events of streams use at most half, ephemera give way first; then the stream is told to lag,
//! - answers and what the protocol itself says may use all of it; then the connection is too slow.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::Frame;

/// How many frames one write takes at most.
pub(crate) const BATCH: usize = 64;
/// An empty queue keeps no more room than this, in frames.
const KEPT_CAPACITY: usize = 4;

/// An event was refused because too much waits already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is too slow for its streams")]
pub struct Crowded;

/// Why nothing more is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The connection is closing.
    Closed,
    /// There is no room even for what may not be dropped.
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kept,
    Ephemeral(Option<u64>),
}

#[derive(Debug)]
struct Item {
    frame: Bytes,
    kind: Kind,
}

#[derive(Debug)]
pub(crate) struct Queue {
    items: VecDeque<Item>,
    /// Waiting and taken for a write that has not ended yet.
    bytes: usize,
    limit: usize,
    is_closed: bool,
    /// Somebody waits for room.
    is_awaited: bool,
}

/// What a push did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// The writer sleeps and must be woken.
    pub(crate) was_idle: bool,
    /// Ephemera that gave way, the pushed one included.
    pub(crate) dropped: u32,
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            limit,
            is_closed: false,
            is_awaited: false,
        }
    }

    /// Nothing waits and nothing is half written.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether a stream that is read from the database may go on. If not, [`Queue::wrote`] will say when.
    pub(crate) fn is_roomy(&mut self) -> bool {
        self.is_awaited = !self.is_closed && self.bytes > self.limit / 4;
        !self.is_awaited
    }

    /// Something that may not be dropped.
    pub(crate) fn push_kept(&mut self, frame: &Frame) -> Result<Pushed, Refused> {
        self.push_within(frame, self.limit)
            .ok_or(if self.is_closed {
                Refused::Closed
            } else {
                Refused::Full
            })
    }

    /// An event of a stream.
    pub(crate) fn push_event(&mut self, frame: &Frame) -> Result<Pushed, Crowded> {
        let closed = Pushed {
            was_idle: false,
            dropped: 0,
        };
        if self.is_closed {
            Ok(closed)
        } else {
            self.push_within(frame, self.limit / 2).ok_or(Crowded)
        }
    }

    /// Something that soon loses its worth. With `replaces` it takes the place of the one that waits
    /// with the same value.
    pub(crate) fn push_ephemeral(&mut self, frame: &Frame, replaces: Option<u64>) -> Pushed {
        if self.is_closed {
            return Pushed {
                was_idle: false,
                dropped: 1,
            };
        }
        if replaces.is_some()
            && let Some(old) = self
                .items
                .iter_mut()
                .rfind(|item| item.kind == Kind::Ephemeral(replaces))
        {
            self.bytes = self.bytes - old.frame.len() + frame.wire_len();
            old.frame = frame.clone().into_bytes();
            return Pushed {
                was_idle: false,
                dropped: 1,
            };
        }
        let room = (self.limit / 4).saturating_sub(frame.wire_len());
        let mut dropped = 0;
        while self.bytes > room {
            let Some(oldest) = self.items.iter().position(|item| item.kind != Kind::Kept) else {
                return Pushed {
                    was_idle: false,
                    dropped: dropped + 1,
                };
            };
            self.remove(oldest);
            dropped += 1;
        }
        Pushed {
            was_idle: self.append(frame, Kind::Ephemeral(replaces)),
            dropped,
        }
    }

    /// The last frame; nothing is taken afterwards. Does nothing the second time.
    pub(crate) fn close(&mut self, code: u16, reason: &str) -> bool {
        if self.is_closed {
            return false;
        }
        self.append(&Frame::close(code, reason), Kind::Kept);
        self.is_closed = true;
        true
    }

    /// Forgets everything that waits; what is half written was taken out before and is not concerned.
    pub(crate) fn clear(&mut self) {
        let waiting: usize = self.items.drain(..).map(|item| item.frame.len()).sum();
        self.bytes -= waiting;
    }

    /// Takes the next frames out for a write; their bytes count until [`Queue::wrote`].
    pub(crate) fn take(&mut self, batch: &mut Vec<Bytes>) {
        let count = self.items.len().min(BATCH);
        batch.extend(self.items.drain(..count).map(|item| item.frame));
        if self.items.is_empty() && self.items.capacity() > KEPT_CAPACITY {
            self.items = VecDeque::new();
        }
    }

    /// So many bytes of what was taken have been written; `true` when there is room now and somebody waits for it.
    pub(crate) fn wrote(&mut self, bytes: usize) -> bool {
        self.bytes -= bytes;
        self.is_awaited && self.is_roomy()
    }

    fn push_within(&mut self, frame: &Frame, limit: usize) -> Option<Pushed> {
        if self.is_closed {
            return None;
        }
        let mut dropped = 0;
        if self.bytes + frame.wire_len() > limit {
            dropped = self.drop_ephemera();
            if self.bytes + frame.wire_len() > limit {
                return None;
            }
        }
        Some(Pushed {
            was_idle: self.append(frame, Kind::Kept),
            dropped,
        })
    }

    fn append(&mut self, frame: &Frame, kind: Kind) -> bool {
        let was_idle = self.bytes == 0;
        self.bytes += frame.wire_len();
        self.items.push_back(Item {
            frame: frame.clone().into_bytes(),
            kind,
        });
        was_idle
    }

    fn remove(&mut self, at: usize) {
        if let Some(item) = self.items.remove(at) {
            self.bytes -= item.frame.len();
        }
    }

    fn drop_ephemera(&mut self) -> u32 {
        let before = self.items.len();
        let mut freed = 0;
        self.items.retain(|item| {
            let is_kept = item.kind == Kind::Kept;
            freed += if is_kept { 0 } else { item.frame.len() };
            is_kept
        });
        self.bytes -= freed;
        u32::try_from(before - self.items.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(byte: u8, wire: usize) -> Frame {
        let header = if wire > 127 { 4 } else { 2 };
        Frame::text(&vec![byte; wire - header])
    }

    fn take(queue: &mut Queue) -> Vec<u8> {
        let mut batch = Vec::new();
        queue.take(&mut batch);
        queue.wrote(batch.iter().map(Bytes::len).sum());
        batch.iter().map(|frame| frame[frame.len() - 1]).collect()
    }

    #[test]
    fn of_two_ephemera_with_one_key_the_newer_waits() {
        let mut queue = Queue::new(1000);
        queue.push_ephemeral(&frame(b'a', 20), Some(1));
        queue.push_ephemeral(&frame(b'b', 20), None);
        queue.push_ephemeral(&frame(b'c', 30), Some(1));
        assert_eq!(queue.bytes, 50);
        assert_eq!(take(&mut queue), b"cb");
        assert!(queue.is_empty());
    }

    #[test]
    fn ephemera_beyond_a_quarter_drop_the_oldest_of_their_own() {
        let mut queue = Queue::new(1000);
        assert!(queue.push_kept(&frame(b'k', 100)).is_ok());
        queue.push_ephemeral(&frame(b'a', 100), None);
        assert_eq!(queue.push_ephemeral(&frame(b'b', 100), None).dropped, 1);
        assert_eq!(
            queue.push_ephemeral(&frame(b'c', 200), None).dropped,
            2,
            "no room beside what is kept"
        );
        assert_eq!(take(&mut queue), b"k");
    }

    /// row:D13: a stream is refused above half, the protocol itself only above all of it.
    #[test]
    fn ephemera_give_way_then_streams_then_the_connection() {
        let mut queue = Queue::new(1000);
        queue.push_ephemeral(&frame(b'a', 200), None);
        assert_eq!(queue.push_event(&frame(b'1', 400)).unwrap().dropped, 1);
        assert_eq!(queue.push_event(&frame(b'2', 200)), Err(Crowded));
        assert!(queue.push_kept(&frame(b'l', 600)).is_ok());
        assert_eq!(queue.push_kept(&frame(b'x', 10)), Err(Refused::Full));
        queue.clear();
        assert!(queue.is_empty());
        assert!(queue.close(4002, "slow"));
        assert!(!queue.close(4001, "again"));
        assert_eq!(queue.push_kept(&frame(b'x', 10)), Err(Refused::Closed));
    }

    #[test]
    fn a_drained_queue_gives_its_memory_back() {
        let mut queue = Queue::new(1 << 20);
        for _ in 0..200 {
            assert!(queue.push_event(&frame(b'e', 100)).is_ok());
        }
        while !queue.is_empty() {
            take(&mut queue);
        }
        assert!(queue.items.capacity() <= KEPT_CAPACITY);
    }
}
