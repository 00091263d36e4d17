//! What waits for the client library: one flight of records is under way in a partition, and what comes meanwhile goes
//! together with the next.
//!
//! The library would take everything at once. But while five records of a partition or more are under way it sends no further
//! request (`RD_KAFKA_IDEMP_MAX_INFLIGHT` of librdkafka counts records), and while it so holds others back its thread turns
//! without a rest. So a flight of many goes by a producer that gathers before it sends.

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

/// The most records of one flight, so that all are handed over while the library gathers, and the most bytes, of which it makes
/// one request (`batch.size`); a first record may be larger.
const FLIGHT_RECORDS: usize = 1000;
const FLIGHT_BYTES: usize = 900_000;
/// What the library counts for each record beside its key and value (`RD_KAFKAP_MESSAGE_V2_MAX_OVERHEAD`).
const RECORD_BYTES: usize = 36;
/// From so many records on a flight is one of many.
const MANY: usize = 5;

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
    pub(super) batch: Arc<Batch>,
    /// Its place in the backlog.
    pub(super) room: OwnedSemaphorePermit,
}

/// What comes back with a record when it has arrived or failed.
pub(super) struct Ticket {
    pub(super) lane: Arc<Lane>,
    pub(super) batch: Arc<Batch>,
    pub(super) room: OwnedSemaphorePermit,
}

impl Ticket {
    /// The record has arrived or failed. Gives its lane when that was the last one of its flight.
    pub(super) fn settle(self, failure: Option<KafkaError>) -> Option<Arc<Lane>> {
        let Self { lane, batch, room } = self;
        drop(room);
        let has_failed = failure.is_some();
        if let Some(failure) = failure {
            batch.failure.lock().get_or_insert(failure);
        }
        batch.settle();
        lane.land(has_failed).then_some(lane)
    }
}

/// How a flight goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// By the producer that waits for nothing.
    #[default]
    Prompt,
    /// By the one that gathers.
    Gathering,
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
    /// How the last flight went.
    way: Way,
    /// Whether a record of it failed.
    has_failed: bool,
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

    /// The next flight, and how it goes; an empty one while another is under way. A record that has failed may arrive all the
    /// same, and only the producer that sent it sees to it that nothing later comes before it.
    pub(super) fn depart(&self) -> (Vec<Waiting>, Way) {
        let mut state = self.state.lock();
        if state.under_way > 0 {
            return (Vec::new(), state.way);
        }
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            let Record { key, value } = &waiting.record;
            bytes += key.len() + value.len() + RECORD_BYTES;
            bytes <= FLIGHT_BYTES
        };
        let fitting = state.waiting.iter().take(FLIGHT_RECORDS).take_while(fits);
        let length = fitting.count().max(1).min(state.waiting.len());
        if length > 0 && !std::mem::take(&mut state.has_failed) {
            state.way = if length < MANY {
                Way::Prompt
            } else {
                Way::Gathering
            };
        }
        state.under_way = length;
        (state.waiting.drain(..length).collect(), state.way)
    }

    /// One record less is under way. Whether that was the last one.
    fn land(&self, has_failed: bool) -> bool {
        let mut state = self.state.lock();
        state.has_failed |= has_failed;
        state.under_way -= 1;
        state.under_way == 0
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

    /// Puts a record of `size` bytes into the lane.
    fn push(lane: &Lane, size: usize) -> Arc<Batch> {
        let batch = Batch::new(1);
        lane.push(Waiting {
            record: Record {
                key: Bytes::new(),
                value: vec![0; size].into(),
            },
            since: Instant::now(),
            batch: Arc::clone(&batch),
            room: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
        });
        batch
    }

    fn lane() -> Arc<Lane> {
        Lane::of(&"topic".into(), 1).remove(0)
    }

    fn sizes((flight, _): &(Vec<Waiting>, Way)) -> Vec<usize> {
        let records = flight.iter().map(|waiting| &waiting.record);
        records.map(|record| record.value.len()).collect()
    }

    /// Everything of a flight has arrived or failed.
    fn land(lane: &Arc<Lane>, (flight, _): (Vec<Waiting>, Way), failure: Option<&KafkaError>) {
        let count = flight.len();
        for (number, Waiting { batch, room, .. }) in flight.into_iter().enumerate() {
            let lane = Arc::clone(lane);
            let ticket = Ticket { lane, batch, room };
            let landed = ticket.settle(failure.cloned());
            assert_eq!(landed.is_some(), number + 1 == count, "the last one");
        }
    }

    #[tokio::test]
    async fn what_comes_while_a_flight_is_under_way_goes_together_with_the_next() {
        let lane = lane();
        let first = push(&lane, 1);
        let flight = lane.depart();
        assert_eq!(sizes(&flight), [1]);
        let (second, third) = (push(&lane, 2), push(&lane, 3));
        assert!(lane.depart().0.is_empty());
        land(&lane, flight, None);
        first.wait().await.unwrap();
        let flight = lane.depart();
        assert_eq!(sizes(&flight), [2, 3]);
        let failure = KafkaError::Canceled;
        land(&lane, flight, Some(&failure));
        assert_eq!(second.wait().await.unwrap_err(), failure);
        assert_eq!(third.wait().await.unwrap_err(), failure);
        assert!(lane.depart().0.is_empty(), "nothing is left");
    }

    #[test]
    fn a_flight_is_no_larger_than_one_request() {
        let lane = lane();
        let half = FLIGHT_BYTES / 2 - RECORD_BYTES;
        for size in [2 * FLIGHT_BYTES, half, half, 1] {
            push(&lane, size);
        }
        for expected in [&[2 * FLIGHT_BYTES][..], &[half; 2], &[1]] {
            let flight = lane.depart();
            assert_eq!(sizes(&flight), expected);
            land(&lane, flight, None);
        }
    }

    /// What has failed may still lie in a connection; what comes after it goes behind it.
    #[test]
    fn after_a_failure_flights_go_the_same_way_until_one_arrives() {
        let lane = lane();
        let way_of = |records: usize, failure: Option<&KafkaError>| {
            for _ in 0..records {
                push(&lane, 1);
            }
            let flight = lane.depart();
            let way = flight.1;
            assert_eq!(flight.0.len(), records);
            land(&lane, flight, failure);
            way
        };
        let failure = Some(&KafkaError::Canceled);
        assert_eq!(way_of(MANY - 1, None), Way::Prompt);
        assert_eq!(way_of(MANY, failure), Way::Gathering);
        assert_eq!(way_of(1, failure), Way::Gathering);
        assert_eq!(way_of(1, None), Way::Gathering);
        assert_eq!(way_of(1, failure), Way::Prompt);
        assert_eq!(way_of(MANY, None), Way::Prompt);
        assert_eq!(way_of(MANY, None), Way::Gathering);
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
