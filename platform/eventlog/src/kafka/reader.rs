//! Reading, as a member of a group and a tail both do it: a blocking wait, then everything that is there.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    client::Client,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::BorrowedMessage,
    types::RDKafkaErrorCode as Code,
};

use super::{
    away,
    context::{Context, Name},
    settings::ANSWER_TIMEOUT,
    thread::Hurry,
};
use crate::{Delivered, Error, Partition, Subscription};

/// The longest blocking wait: so late it sees that somebody waits for the thread.
const SLICE: Duration = Duration::from_millis(100);
/// Payload bytes that one haul brings at most, beside a first record that is larger.
pub(super) const HAUL_BYTES: usize = 8 << 20;

/// How often a partition without a leader is asked again.
const OFFICE: Duration = Duration::from_millis(20);

/// The oldest offset held and the next to be given.
pub(super) type Marks = (i64, i64);

/// A consumer of the client library.
pub(super) struct Reader {
    pub(super) consumer: BaseConsumer<Context>,
    pub(super) hurry: Hurry,
    /// The log has said that a position may not be in it: look before going on.
    pub(super) is_doubtful: bool,
    /// What only a person can set right.
    pub(super) trouble: Option<Error>,
}

impl Reader {
    /// `hurry` counts those who wait for the thread that reads.
    pub(super) fn new(
        config: &ClientConfig,
        group: Option<Arc<str>>,
        hurry: Hurry,
    ) -> Result<Self, Error> {
        let consumer = config
            .create_with_context(Context::new(group))
            .map_err(|error| Error::Invalid(error.to_string()))?;
        Ok(Self {
            consumer,
            hurry,
            is_doubtful: false,
            trouble: None,
        })
    }

    /// Joins the group.
    pub(super) fn join(&self, subscription: &Subscription) -> Result<(), Error> {
        let names: Vec<&str> = subscription.topics.iter().map(|name| &**name).collect();
        self.consumer.subscribe(&names).map_err(away)
    }

    /// Reads at most `max` records: waits for the first until `deadline`, and for no other. `accept` makes a
    /// message into a record or drops it. A change in the group ends it, so that no message follows one.
    pub(super) fn haul(
        &mut self,
        max: usize,
        deadline: Instant,
        mut accept: impl FnMut(&BorrowedMessage<'_>) -> Option<Delivered>,
    ) -> Vec<Delivered> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < max.max(1) && bytes < HAUL_BYTES {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = if records.is_empty() && !left.is_zero() {
                // The library counts in milliseconds, and does not sleep in what is left of one.
                let whole = left.as_millis().saturating_add(1);
                SLICE.min(Duration::from_millis(
                    u64::try_from(whole).unwrap_or(u64::MAX),
                ))
            } else {
                Duration::ZERO
            };
            let polled = self.consumer.poll(wait);
            let is_empty = polled.is_none();
            match polled {
                Some(Ok(message)) => {
                    if let Some(record) = accept(&message) {
                        bytes += record.value.len();
                        records.push(record);
                    }
                }
                Some(Err(error)) => {
                    let (is_doubtful, trouble) = judge(&error);
                    self.is_doubtful |= is_doubtful;
                    self.trouble = trouble.or(self.trouble.take());
                    if is_doubtful || self.trouble.is_some() {
                        break;
                    }
                }
                None => {}
            }
            let is_done = is_empty && (!records.is_empty() || left.is_zero() || self.hurry.is_on());
            if is_done || self.consumer.context().has_changed() {
                break;
            }
        }
        records
    }

    /// The marks of a partition, as the broker knows them now.
    pub(super) fn marks(&self, topic: &str, number: i32) -> Result<Marks, Error> {
        marks(self.consumer.client(), topic, number)
    }

    /// Reads each partition from its offset on.
    pub(super) fn start(&self, starts: &[(Name, i64)]) -> Result<(), Error> {
        self.consumer
            .context()
            .start(&self.consumer, starts)
            .map_err(away)
    }

    /// Reads exactly these partitions, each from its offset on, outside of any group.
    pub(super) fn assign(&self, places: &[(Name, i64)]) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        for ((topic, number), offset) in places {
            list.add_partition_offset(topic, *number, Offset::Offset(*offset))
                .map_err(away)?;
        }
        self.consumer.assign(&list).map_err(away)
    }

    /// Reads a partition no more.
    pub(super) fn stop(&self, name: &Name) -> Result<(), Error> {
        self.consumer
            .context()
            .stop(&self.consumer, name)
            .map_err(away)
    }
}

/// The marks of a partition. The thread waits while its leader is about to take office, which is so just after the topic
/// was made and when a broker goes.
pub(super) fn marks<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    number: i32,
) -> Result<Marks, Error> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    loop {
        match client.fetch_watermarks(topic, number, ANSWER_TIMEOUT) {
            Err(error)
                if error.rdkafka_error_code() == Some(Code::NotLeaderForPartition)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(OFFICE);
            }
            answer => return answer.map_err(away),
        }
    }
}

/// Whether an error casts doubt on a position, and whether somebody has to be told.
fn judge(error: &KafkaError) -> (bool, Option<Error>) {
    match error.rdkafka_error_code() {
        Some(
            Code::AutoOffsetReset
            | Code::OffsetOutOfRange
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition,
        ) => (true, None),
        Some(
            Code::GroupAuthorizationFailed
            | Code::TopicAuthorizationFailed
            | Code::InvalidSessionTimeout
            | Code::InconsistentGroupProtocol
            | Code::Fatal,
        ) => (false, Some(away(error))),
        // The library goes on by itself.
        _ => {
            tracing::debug!(%error, "Kafka client");
            (false, None)
        }
    }
}

/// A message as the port gives it; key and value share one allocation.
pub(super) fn delivered(partition: &Partition, message: &BorrowedMessage<'_>) -> Delivered {
    let (key, value) = (
        message.key().unwrap_or_default(),
        message.payload().unwrap_or_default(),
    );
    let bytes = Bytes::from([key, value].concat());
    Delivered {
        partition: partition.clone(),
        offset: message.offset(),
        key: bytes.slice(..key.len()),
        value: bytes.slice(key.len()..),
    }
}

/// Refuses a position that the log does not hold.
pub(super) fn check_position(
    partition: &Partition,
    position: i64,
    (low, high): Marks,
) -> Result<(), Error> {
    if (low..=high).contains(&position) {
        return Ok(());
    }
    Err(Error::OutOfRange {
        topic: partition.topic.to_string(),
        partition: partition.number,
        position,
        low,
        high,
    })
}

/// The number of a partition as Kafka writes it.
pub(super) fn kafka_number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Reads a stretch of one partition and forgets it.
pub(super) fn stretch(
    config: &ClientConfig,
    partition: &Partition,
    from: i64,
    max: usize,
) -> Result<Vec<Delivered>, Error> {
    let mut config = config.clone();
    // The end may be a mark of a transaction, which is no record.
    config.set("enable.partition.eof", "true");
    let reader = Reader::new(&config, None, Hurry::default())?;
    let number = kafka_number(partition.number);
    let (low, high) = reader.marks(&partition.topic, number)?;
    let from = from.clamp(low, high);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&partition.topic, number, Offset::Offset(from))
        .map_err(away)?;
    if from < high {
        reader.consumer.assign(&list).map_err(away)?;
    }
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let (mut records, mut bytes, mut next) = (Vec::new(), 0, from);
    while next < high && records.len() < max.max(1) && bytes < HAUL_BYTES {
        match reader.consumer.poll(SLICE) {
            Some(Ok(message)) => {
                let record = delivered(partition, &message);
                next = record.offset + 1;
                bytes += record.value.len();
                records.push(record);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(_)) | None if Instant::now() < deadline => {}
            Some(Err(error)) => return Err(away(error)),
            None => return Err(away("the broker brings no records")),
        }
    }
    Ok(records)
}
