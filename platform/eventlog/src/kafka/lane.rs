//! What waits for the client library: one flight of records is under way in a partition, and what comes meanwhile goes
//! together with the next.
//!
//! The library would take everything at once. But it has five records of a partition under way at most
//! (`RD_KAFKA_IDEMP_MAX_INFLIGHT` of librdkafka counts records of the requests under way) before it holds the others back,
//! and while records are held back its thread turns without a rest.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use rdkafka::error::KafkaError;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::Record;

/// Records and bytes of one flight, beside a first record that is larger: the library makes one request of them
/// (`batch.num.messages`, `batch.size`).
const FLIGHT_RECORDS: usize = 10_000;
const FLIGHT_BYTES: usize = 900_000;

/// The records of one append that have not arrived.
pub(super) struct Batch {
    left: AtomicUsize,
    failure: Mutex<Option<KafkaError>>,
    done: Notify,
}

impl Batch {
    /// One more than its records: the append itself, which goes on enqueuing.
    pub(super) fn new(records: usize) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(records + 1),
            failure: Mutex::new(None),
            done: Notify::new(),
        })
    }

    fn settle(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    /// Waits until every record has arrived or failed.
    pub(super) async fn wait(&self) -> Result<(), KafkaError> {
        self.settle();
        self.done.notified().await;
        self.failure.lock().take().map_or(Ok(()), Err)
    }
}

/// A record that waits for its flight.
pub(super) struct Waiting {
    pub(super) record: Record,
    pub(super) since: Instant,
    pub(super) ticket: Box<Ticket>,
}

/// What comes back with the record when it has arrived or failed.
pub(super) struct Ticket {
    pub(super) lane: Arc<Lane>,
    pub(super) batch: Arc<Batch>,
    /// Its place in the backlog.
    pub(super) room: OwnedSemaphorePermit,
}

impl Ticket {
    /// The record has arrived or failed. Gives its lane when that was the last one of its flight.
    pub(super) fn settle(self, failure: Option<KafkaError>) -> Option<Arc<Lane>> {
        let Self { lane, batch, room } = self;
        drop(room);
        if let Some(failure) = failure {
            batch.failure.lock().get_or_insert(failure);
        }
        batch.settle();
        lane.land().then_some(lane)
    }
}

/// The records of one partition.
pub(super) struct Lane {
    pub(super) topic: Arc<str>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    under_way: usize,
}

impl Lane {
    /// One for each partition of `topic`.
    pub(super) fn of(topic: &Arc<str>, partitions: u32) -> Vec<Arc<Self>> {
        let lane = |_| Self {
            topic: Arc::clone(topic),
            state: Mutex::default(),
        };
        (0..partitions).map(lane).map(Arc::new).collect()
    }

    /// Behind all others.
    pub(super) fn push(&self, waiting: Waiting) {
        self.state.lock().waiting.push_back(waiting);
    }

    /// The next flight; none while one is under way.
    pub(super) fn depart(&self) -> Vec<Waiting> {
        let mut state = self.state.lock();
        if state.under_way > 0 {
            return Vec::new();
        }
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            let Record { key, value } = &waiting.record;
            bytes += key.len() + value.len();
            bytes <= FLIGHT_BYTES
        };
        let fitting = state.waiting.iter().take(FLIGHT_RECORDS).take_while(fits);
        let length = fitting.count().max(1).min(state.waiting.len());
        state.under_way = length;
        state.waiting.drain(..length).collect()
    }

    /// One record less is under way. Whether that was the last one.
    fn land(&self) -> bool {
        let mut state = self.state.lock();
        state.under_way -= 1;
        state.under_way == 0
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.under_way == 0 && state.waiting.is_empty()
    }
}

/// The partition that the library gives to a key, by `murmur2` as the Java clients have it. If it were another one, only
/// flights of two partitions would wait for each other.
pub(super) fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// `MurmurHash2` with 32 bits and the seed of Apache Kafka (`Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (words, rest) = data.as_chunks::<4>();
    let mut hash = words.iter().fold(0x9747_b28c ^ length, |hash, word| {
        let word = u32::from_le_bytes(*word).wrapping_mul(M);
        hash.wrapping_mul(M) ^ (word ^ (word >> 24)).wrapping_mul(M)
    });
    if !rest.is_empty() {
        let rest = rest.iter().rev();
        hash ^= rest.fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::Semaphore;

    use super::*;

    struct Airport {
        lane: Arc<Lane>,
        room: Arc<Semaphore>,
    }

    impl Airport {
        fn new() -> Self {
            let lane = Lane::of(&"topic".into(), 1).remove(0);
            let room = Arc::new(Semaphore::new(100));
            Self { lane, room }
        }

        fn push(&self, size: usize) -> Arc<Batch> {
            let batch = Batch::new(1);
            let value = Bytes::from(vec![0; size]);
            let key = Bytes::new();
            let ticket = Box::new(Ticket {
                lane: Arc::clone(&self.lane),
                batch: Arc::clone(&batch),
                room: Arc::clone(&self.room).try_acquire_owned().unwrap(),
            });
            self.lane.push(Waiting {
                record: Record { key, value },
                since: Instant::now(),
                ticket,
            });
            batch
        }

        fn flight(&self) -> Vec<usize> {
            let flight = self.lane.depart();
            let sizes = flight.iter().map(|waiting| waiting.record.value.len());
            sizes.collect()
        }
    }

    #[tokio::test]
    async fn what_comes_while_a_flight_is_under_way_goes_together_with_the_next() {
        let airport = Airport::new();
        let lane = &airport.lane;
        let first = airport.push(1);
        let flight = lane.depart();
        assert_eq!(flight.len(), 1);
        let (second, third) = (airport.push(2), airport.push(3));
        assert!(lane.depart().is_empty() && !lane.is_empty());
        for waiting in flight {
            assert!(waiting.ticket.settle(None).is_some(), "it was the last");
        }
        first.wait().await.unwrap();
        let mut flight = lane.depart();
        assert!(flight.pop().unwrap().ticket.settle(None).is_none());
        assert!(lane.depart().is_empty(), "one of it is still under way");
        let failure = KafkaError::Canceled;
        let last = flight.pop().unwrap().ticket.settle(Some(failure.clone()));
        assert!(last.is_some() && lane.is_empty());
        third.wait().await.unwrap();
        assert_eq!(second.wait().await.unwrap_err(), failure);
        assert_eq!(airport.room.available_permits(), 100);
    }

    #[test]
    fn a_flight_is_no_larger_than_one_request() {
        let airport = Airport::new();
        assert_eq!(airport.flight(), [0; 0]);
        for size in [2 * FLIGHT_BYTES, FLIGHT_BYTES / 2, FLIGHT_BYTES / 2, 1] {
            airport.push(size);
        }
        assert_eq!(airport.flight(), [2 * FLIGHT_BYTES]);
        airport.lane.land();
        assert_eq!(airport.flight(), [FLIGHT_BYTES / 2; 2]);
    }

    #[test]
    fn keys_have_the_hashes_of_the_java_clients() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("abc", 479_470_107),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }
}
