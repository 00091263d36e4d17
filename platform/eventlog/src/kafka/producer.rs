//! Appends: everything is enqueued in order, then all of it is waited for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use kit::{Breaker, Spawner};
use parking_lot::{Mutex, RwLock};
use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel as Level,
    error::KafkaError,
    producer::{
        BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
    },
    types::RDKafkaErrorCode as Code,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    away,
    context::{log, report},
    reader::{self, Marks, kafka_number},
    settings::Settings,
};
use crate::{Error, Record, Topic, metrics};

/// How long a stop waits for what is under way.
const CLOSING: Duration = Duration::from_secs(5);

/// The records of one append that are under way.
struct Batch {
    left: AtomicUsize,
    failure: Mutex<Option<KafkaError>>,
    done: Notify,
}

impl Batch {
    /// One more than its records: the append itself, which goes on enqueuing.
    fn new(records: usize) -> Arc<Self> {
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

    async fn wait(&self) -> Result<(), KafkaError> {
        self.settle();
        self.done.notified().await;
        self.failure.lock().take().map_or(Ok(()), Err)
    }
}

/// Hears what became of each record.
struct Deliveries {
    /// Somebody waits for room in the queue.
    room: Arc<Notify>,
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
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        if let Err((error, _)) = result {
            batch.failure.lock().get_or_insert_with(|| error.clone());
        }
        batch.settle();
        self.room.notify_waiters();
    }
}

type Producer = ThreadedProducer<Deliveries>;

/// A producer until nobody uses it any more.
struct Client {
    /// Absent in its end only.
    producer: Option<Producer>,
    /// Another one has taken its place: nothing more goes this way.
    is_replaced: AtomicBool,
}

impl Client {
    fn new(settings: &Settings, room: &Arc<Notify>) -> Result<Arc<Self>, KafkaError> {
        let room = Arc::clone(room);
        let producer = settings
            .producer()
            .create_with_context(Deliveries { room })?;
        Ok(Arc::new(Self {
            producer: Some(producer),
            is_replaced: AtomicBool::new(false),
        }))
    }

    fn producer(&self) -> Result<&Producer, KafkaError> {
        let producer = self.producer.as_ref();
        let producer = producer.filter(|_| !self.is_replaced.load(Ordering::Acquire));
        producer.ok_or(KafkaError::MessageProduction(Code::PurgeQueue))
    }

    /// Gives up what is under way: its outcome is unknown.
    fn give_up(&self) {
        if let Some(producer) = &self.producer {
            producer.purge(PurgeConfig::default().queue().inflight().non_blocking());
        }
    }
}

impl Drop for Client {
    /// The library waits for its threads.
    fn drop(&mut self) {
        let producer = self.producer.take();
        // Without a thread it is dropped here, and waits here.
        let _ = std::thread::Builder::new()
            .name("eventlog-end".to_owned())
            .spawn(move || drop(producer));
    }
}

/// The producer of a log; another one takes its place after an error that it cannot survive, and with each era of
/// [`Topics`](super::topics::Topics).
pub(super) struct Appender {
    settings: Settings,
    room: Arc<Notify>,
    /// Absent after the close.
    client: RwLock<Option<Arc<Client>>>,
}

impl Appender {
    pub(super) fn new(settings: Settings) -> Result<Self, KafkaError> {
        let room = Arc::new(Notify::new());
        let client = RwLock::new(Some(Client::new(&settings, &room)?));
        Ok(Self {
            settings,
            room,
            client,
        })
    }

    /// Begins anew with each era, and closes the breaker, until the node stops or nobody needs the appender any more.
    pub(super) fn keep(
        this: &Arc<Self>,
        mut eras: watch::Receiver<u64>,
        breaker: Breaker,
        spawner: &Spawner,
    ) {
        let (weak, stop) = (Arc::downgrade(this), spawner.token().clone());
        spawner.spawn("event log producer", async move {
            while let Some(Ok(())) = stop.run_until_cancelled(eras.changed()).await {
                if let Some(appender) = weak.upgrade()
                    && let Ok(client) = appender.client()
                {
                    appender.replace(&client);
                    breaker.note(false);
                }
            }
        });
    }

    fn client(&self) -> Result<Arc<Client>, Error> {
        let client = self.client.read().clone();
        client.ok_or_else(closed)
    }

    /// Whether anything may be appended.
    pub(super) fn check(&self) -> Result<(), Error> {
        let is_open = self.client.read().is_some();
        if is_open { Ok(()) } else { Err(closed()) }
    }

    /// The marks of every partition of `topic`, over the connections that are there.
    pub(super) async fn marks(&self, topic: Topic) -> Result<Vec<Marks>, Error> {
        let client = self.client()?;
        let asking = tokio::task::spawn_blocking(move || {
            let producer = client.producer().map_err(away)?;
            let ask = |number| reader::marks(producer.client(), &topic.name, kafka_number(number));
            (0..topic.partitions).map(ask).collect()
        });
        asking.await.map_err(away)?
    }

    /// Appends in order, and returns when every record is where all replicas have it.
    pub(super) async fn append(&self, topic: &str, records: &[Record]) -> Result<(), Error> {
        let client = self.client()?;
        let batch = Batch::new(records.len());
        let deadline = Instant::now() + self.settings.config.append_timeout;
        let mut enqueued = Ok(());
        for record in records {
            enqueued = self.enqueue(&client, topic, record, &batch, deadline).await;
            if enqueued.is_err() {
                break;
            }
        }
        let result = match enqueued {
            Ok(()) => batch.wait().await,
            // What is under way already arrives or not: the outcome is unknown.
            failed => failed,
        };
        let Err(error) = result else { return Ok(()) };
        ::metrics::counter!(metrics::APPEND_FAILURES, "topic" => topic.to_owned()).increment(1);
        self.after_failure(&client);
        Err(match error.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge) => Error::Invalid(format!("topic {topic}: {error}")),
            _ => away(error),
        })
    }

    async fn enqueue(
        &self,
        client: &Client,
        topic: &str,
        record: &Record,
        batch: &Arc<Batch>,
        deadline: Instant,
    ) -> Result<(), KafkaError> {
        loop {
            // Before the try, so that no room is missed.
            let room = self.room.notified();
            let message = BaseRecord::with_opaque_to(topic, Arc::clone(batch))
                .key(&record.key[..])
                .payload(&record.value[..]);
            let Err((error, _)) = client.producer()?.send(message) else {
                return Ok(());
            };
            let is_full = error.rdkafka_error_code() == Some(Code::QueueFull);
            if !is_full || tokio::time::timeout_at(deadline, room).await.is_err() {
                return Err(error);
            }
        }
    }

    fn after_failure(&self, client: &Arc<Client>) {
        match client.producer() {
            // After a fatal error a producer takes nothing any more.
            Ok(producer) => {
                if let Some((code, why)) = producer.client().fatal_error() {
                    tracing::warn!(?code, why, "the producer has failed");
                    self.replace(client);
                }
            }
            // What was sent in the moment in which it was replaced.
            Err(_) => client.give_up(),
        }
    }

    /// A new producer takes the place of `old`. What is under way with the old one is given up, lest it arrives after what comes
    /// next.
    fn replace(&self, old: &Arc<Client>) {
        let mut client = self.client.write();
        if !client.as_ref().is_some_and(|now| Arc::ptr_eq(now, old)) {
            return;
        }
        match Client::new(&self.settings, &self.room) {
            Ok(new) => {
                old.is_replaced.store(true, Ordering::Release);
                old.give_up();
                *client = Some(new);
            }
            Err(error) => tracing::error!(%error, "there is no new producer"),
        }
    }

    /// Waits for what is under way, within a bound; nothing is taken afterwards.
    pub(super) async fn close(&self) {
        let Some(client) = self.client.write().take() else {
            return;
        };
        let flushing = tokio::task::spawn_blocking(move || client.producer()?.flush(CLOSING));
        match flushing.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "not all records have arrived before the stop");
            }
            Err(error) => tracing::warn!(%error, "the producer was not flushed"),
        }
    }
}

fn closed() -> Error {
    away("the event log is closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, kafka::Broker};

    #[tokio::test]
    async fn a_producer_that_was_replaced_sends_nothing_more() {
        let brokers = Broker::list("//127.0.0.1:1").unwrap();
        let settings = Settings::new(brokers, Config::default()).unwrap();
        let appender = Appender::new(settings).unwrap();
        let old = appender.client().unwrap();
        assert!(old.producer().is_ok());
        appender.replace(&old);
        assert!(old.producer().is_err());
        let new = appender.client().unwrap();
        assert!(!Arc::ptr_eq(&new, &old) && new.producer().is_ok());
        // Who was late replaces nobody.
        appender.replace(&old);
        assert!(Arc::ptr_eq(&new, &appender.client().unwrap()));
    }
}
