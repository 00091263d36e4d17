//! The producers of the client library, and the flights that they carry.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel as Level,
    error::KafkaError,
    producer::{
        BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig,
    },
    types::RDKafkaErrorCode as Code,
};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::{
    context::{log, report},
    lane::{Batch, Lane, Ticket, Waiting, partition_of},
    settings::Settings,
};
use crate::{Record, Topic};

/// From so many records on, a flight goes with the producer that waits until it has all of it: the library holds back what is
/// more than this in a partition, and its thread turns without a rest until it may go on.
const MANY: usize = 5;
/// How long that producer waits.
const GATHERING: Duration = Duration::from_millis(1);
/// A thread that looks for events sees so late that it is not needed any more. The library's poll does not sleep in its last
/// millisecond, so that often would be dear.
const POLL: Duration = Duration::from_secs(1);

/// What a record takes up beside its key and value, in bytes.
const OVERHEAD: usize = 100;

/// Hears what became of each record.
pub(super) struct Deliveries {
    /// Whose they are.
    client: Arc<OnceLock<Weak<Client>>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: Level, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        report(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let failure = result.as_ref().err().map(|(error, _)| error.clone());
        let landed = ticket.settle(failure);
        // Without the client nobody waits for what is left.
        let client = self.client.get().and_then(Weak::upgrade);
        if let (Some(lane), Some(client)) = (landed, client) {
            client.launch(&lane);
        }
    }
}

type Producer = BaseProducer<Deliveries>;

/// A pair of producers until nobody uses it any more.
pub(super) struct Client {
    /// For a few records, and for [`MANY`].
    producers: [Arc<Producer>; 2],
    /// Another one has taken its place: nothing more goes this way.
    is_replaced: AtomicBool,
    /// The partitions of each topic.
    lanes: Mutex<HashMap<Arc<str>, Vec<Arc<Lane>>>>,
    /// Bytes that may wait and be under way.
    room: Arc<Semaphore>,
    append_timeout: Duration,
    delivery_timeout: Duration,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Arc<Self>, KafkaError> {
        let this = Arc::default();
        let producer = |gathering| {
            let client = Arc::clone(&this);
            let config = settings.producer(gathering);
            config
                .create_with_context(Deliveries { client })
                .map(Arc::new)
        };
        let producers = [producer(Duration::ZERO)?, producer(GATHERING)?];
        producers.iter().try_for_each(poll)?;
        let config = &settings.config;
        let client = Arc::new(Self {
            producers,
            is_replaced: AtomicBool::new(false),
            lanes: Mutex::default(),
            room: Arc::new(Semaphore::new(config.backlog_bytes)),
            append_timeout: config.append_timeout,
            delivery_timeout: config.kafka.delivery_timeout,
        });
        this.get_or_init(|| Arc::downgrade(&client));
        Ok(client)
    }

    /// What asks the brokers.
    pub(super) fn client(&self) -> &rdkafka::client::Client<Deliveries> {
        self.producers[0].client()
    }

    fn lane(&self, topic: &Topic, key: &[u8]) -> Arc<Lane> {
        let mut lanes = self.lanes.lock();
        let number = partition_of(key, topic.partitions) as usize;
        if let Some(lane) = lanes.get(&topic.name).and_then(|lanes| lanes.get(number)) {
            return Arc::clone(lane);
        }
        let new = Lane::of(&topic.name, topic.partitions);
        let lane = Arc::clone(&new[number]);
        lanes.insert(Arc::clone(&topic.name), new);
        lane
    }

    /// Appends in order, and returns when every record has arrived or failed.
    pub(super) async fn append(&self, topic: &Topic, records: &[Record]) -> Result<(), KafkaError> {
        let deadline = tokio::time::Instant::now() + self.append_timeout;
        let batch = Batch::new(records.len());
        let mut lanes: Vec<Arc<Lane>> = Vec::with_capacity(records.len());
        for record in records {
            let room = self.take_room(record);
            let mut room = std::pin::pin!(room);
            let room = if let Some(room) = room.as_mut().now_or_never() {
                room
            } else {
                // Its own records may be what takes the room.
                for lane in lanes.drain(..) {
                    self.launch(&lane);
                }
                let waited = tokio::time::timeout_at(deadline, room).await;
                waited.map_err(|_| KafkaError::MessageProduction(Code::QueueFull))?
            };
            let lane = self.lane(topic, &record.key);
            let ticket = Box::new(Ticket {
                lane: Arc::clone(&lane),
                batch: Arc::clone(&batch),
                room: room.expect("never closed"),
            });
            lane.push(Waiting {
                record: record.clone(),
                since: Instant::now(),
                ticket,
            });
            lanes.push(lane);
        }
        for lane in lanes {
            self.launch(&lane);
        }
        batch.wait().await
    }

    fn take_room(
        &self,
        record: &Record,
    ) -> impl Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + use<> {
        let bytes = record.key.len() + record.value.len() + OVERHEAD;
        Arc::clone(&self.room).acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    /// Hands the next flight over to the library, if none is under way.
    fn launch(&self, lane: &Lane) {
        let mut is_over = true;
        while is_over {
            let flight = lane.depart();
            let producer = &self.producers[usize::from(flight.len() >= MANY)];
            // If all of it fails here, there is nobody else who would go on.
            is_over = flight.into_iter().fold(false, |is_over, waiting| {
                let sent = self.send(producer, &lane.topic, waiting);
                let failed = sent.err();
                let landed = failed.and_then(|(error, ticket)| ticket.settle(Some(error)));
                is_over || landed.is_some()
            });
        }
    }

    fn send(
        &self,
        producer: &Producer,
        topic: &str,
        waiting: Waiting,
    ) -> Result<(), (KafkaError, Box<Ticket>)> {
        let Waiting {
            record,
            since,
            ticket,
        } = waiting;
        let failed = |code| Err(KafkaError::MessageProduction(code));
        let may_go = if self.is_replaced() {
            failed(Code::PurgeQueue)
        } else if since.elapsed() > self.delivery_timeout {
            failed(Code::MessageTimedOut)
        } else {
            Ok(())
        };
        if let Err(error) = may_go {
            return Err((error, ticket));
        }
        let message = BaseRecord::with_opaque_to(topic, ticket)
            .key(&record.key[..])
            .payload(&record.value[..]);
        let sent = producer.send(message);
        sent.map_err(|(error, message)| (error, message.delivery_opaque))
    }

    /// Waits for all that waits and is under way, within a bound.
    pub(super) fn flush(&self, bound: Duration) -> Result<(), KafkaError> {
        let deadline = Instant::now() + bound;
        loop {
            for producer in &self.producers {
                producer.flush(deadline.saturating_duration_since(Instant::now()))?;
            }
            let lanes = self.lanes.lock();
            if lanes.values().flatten().all(|lane| lane.is_empty()) {
                return Ok(());
            }
        }
    }

    /// The error after which one of the producers takes nothing any more.
    pub(super) fn fatal_error(&self) -> Option<(Code, String)> {
        let mut producers = self.producers.iter();
        producers.find_map(|producer| producer.client().fatal_error())
    }

    /// Whether another one has taken its place.
    pub(super) fn is_replaced(&self) -> bool {
        self.is_replaced.load(Ordering::Acquire)
    }

    /// Another one takes its place.
    pub(super) fn retire(&self) {
        self.is_replaced.store(true, Ordering::Release);
        self.give_up();
    }

    /// Gives up what is under way: its outcome is unknown.
    pub(super) fn give_up(&self) {
        for producer in &self.producers {
            producer.purge(PurgeConfig::default().queue().inflight().non_blocking());
        }
    }
}

/// Hears the producer's events on a thread of their own, which drops it in the end: the library waits for its threads then.
fn poll(producer: &Arc<Producer>) -> Result<(), KafkaError> {
    let producer = Arc::clone(producer);
    let thread = std::thread::Builder::new().name("eventlog-producer".to_owned());
    let started = thread.spawn(move || {
        while Arc::strong_count(&producer) > 1 {
            producer.poll(POLL);
        }
    });
    let started = started.map(drop);
    started.map_err(|error| KafkaError::ClientCreation(error.to_string()))
}
