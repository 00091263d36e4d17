//! The producers of the client library, and the flights that they carry.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    context::{log, report},
    lane::{Batch, Lane, Ticket, Waiting, Way, partition_of},
    settings::Settings,
};
use crate::{Record, Topic};

/// How long the producer that gathers waits for the rest of a flight.
const GATHERING: Duration = Duration::from_millis(1);
/// The library looks so often for what has run out of time.
const SCAN: Duration = Duration::from_secs(1);
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
    prompt: Arc<Producer>,
    gathering: Arc<Producer>,
    /// Another one has taken its place: nothing more goes this way.
    is_replaced: AtomicBool,
    /// The partitions of each topic.
    lanes: Mutex<HashMap<Arc<str>, Vec<Arc<Lane>>>>,
    /// Bytes that may wait and be under way.
    room: Arc<Semaphore>,
    backlog_bytes: usize,
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
        let (prompt, gathering) = (producer(Duration::ZERO)?, producer(GATHERING)?);
        poll(&prompt)?;
        poll(&gathering)?;
        let config = &settings.config;
        let client = Arc::new(Self {
            prompt,
            gathering,
            is_replaced: AtomicBool::new(false),
            lanes: Mutex::default(),
            room: Arc::new(Semaphore::new(config.backlog_bytes)),
            backlog_bytes: config.backlog_bytes,
            append_timeout: config.append_timeout,
            delivery_timeout: config.kafka.delivery_timeout,
        });
        this.get_or_init(|| Arc::downgrade(&client));
        Ok(client)
    }

    /// What asks the brokers.
    pub(super) fn client(&self) -> &rdkafka::client::Client<Deliveries> {
        self.prompt.client()
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

    /// Appends in order, and returns when every record has arrived or failed, or has had its time.
    pub(super) async fn append(&self, topic: &Topic, records: &[Record]) -> Result<(), KafkaError> {
        let deadline = tokio::time::Instant::now() + self.append_timeout;
        let batch = Batch::new(records.len());
        let mut lanes: Vec<Arc<Lane>> = Vec::with_capacity(records.len());
        for record in records {
            let bytes = record.key.len() + record.value.len() + OVERHEAD;
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            let room = Arc::clone(&self.room).try_acquire_many_owned(bytes);
            let room = if let Ok(room) = room {
                room
            } else {
                // Its own records may be what takes the room.
                for lane in lanes.drain(..) {
                    self.launch(&lane);
                }
                self.wait_for_room(bytes, deadline).await?
            };
            let lane = self.lane(topic, &record.key);
            lane.push(Waiting {
                record: record.clone(),
                since: Instant::now(),
                batch: Arc::clone(&batch),
                room,
            });
            let is_noted = lanes.last().is_some_and(|last| Arc::ptr_eq(last, &lane));
            if !is_noted {
                lanes.push(lane);
            }
        }
        for lane in lanes {
            self.launch(&lane);
        }
        // What waits behind a flight that fails gets time of its own, for which nobody waits.
        let arrived = tokio::time::timeout(self.delivery_timeout + SCAN, batch.wait());
        let timed_out = || Err(KafkaError::MessageProduction(Code::MessageTimedOut));
        arrived.await.unwrap_or_else(|_| timed_out())
    }

    async fn wait_for_room(
        &self,
        bytes: u32,
        deadline: tokio::time::Instant,
    ) -> Result<OwnedSemaphorePermit, KafkaError> {
        let room = Arc::clone(&self.room).acquire_many_owned(bytes);
        match tokio::time::timeout_at(deadline, room).await {
            Ok(Ok(room)) => Ok(room),
            _ => Err(KafkaError::MessageProduction(Code::QueueFull)),
        }
    }

    /// Hands the next flight over to the library, if none is under way.
    fn launch(&self, lane: &Arc<Lane>) {
        let mut is_over = true;
        while is_over {
            let (flight, way) = lane.depart();
            // If all of it fails here, there is nobody else who would go on.
            is_over = flight.into_iter().fold(false, |is_over, waiting| {
                let failed = self.send(lane, way, waiting).err();
                let landed = failed.and_then(|(error, ticket)| ticket.settle(Some(error)));
                is_over || landed.is_some()
            });
        }
    }

    fn send(
        &self,
        lane: &Arc<Lane>,
        way: Way,
        waiting: Waiting,
    ) -> Result<(), (KafkaError, Box<Ticket>)> {
        let Waiting {
            record,
            since,
            batch,
            room,
        } = waiting;
        let lane = Arc::clone(lane);
        let topic = Arc::clone(&lane.topic);
        let ticket = Box::new(Ticket { lane, batch, room });
        let failed = |code, ticket| Err((KafkaError::MessageProduction(code), ticket));
        if self.is_replaced() {
            return failed(Code::PurgeQueue, ticket);
        }
        if since.elapsed() > self.delivery_timeout {
            return failed(Code::MessageTimedOut, ticket);
        }
        let message = BaseRecord::with_opaque_to(&topic, ticket)
            .key(&record.key[..])
            .payload(&record.value[..]);
        let producer = match way {
            Way::Prompt => &self.prompt,
            Way::Gathering => &self.gathering,
        };
        let sent = producer.send(message);
        sent.map_err(|(error, message)| (error, message.delivery_opaque))
    }

    /// Waits until nothing waits or is under way: everything that does takes up room.
    pub(super) async fn drain(&self) {
        let all = u32::try_from(self.backlog_bytes).unwrap_or(u32::MAX);
        // It is never closed.
        let _ = self.room.acquire_many(all).await;
    }

    /// The error after which one of the producers takes nothing any more.
    pub(super) fn fatal_error(&self) -> Option<(Code, String)> {
        let mut producers = [&self.prompt, &self.gathering].into_iter();
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
        for producer in [&self.prompt, &self.gathering] {
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
