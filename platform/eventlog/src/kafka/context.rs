//! What the client library calls back: its log, its statistics, and changes in a group.

use std::{collections::BTreeSet, mem, sync::Arc};

use parking_lot::Mutex;
use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel as Level,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult},
    types::{RDKafkaErrorCode as Code, RDKafkaRespErr},
};

use crate::metrics;

/// The library tries again by itself; what is final reaches us as an error.
pub(super) fn log(level: Level, facility: &str, message: &str) {
    match level {
        Level::Emerg | Level::Alert | Level::Critical | Level::Error | Level::Warning => {
            tracing::warn!(facility, "Kafka client: {message}");
        }
        Level::Notice | Level::Info => tracing::info!(facility, "Kafka client: {message}"),
        Level::Debug => tracing::debug!(facility, "Kafka client: {message}"),
    }
}

/// What the library reports beside its log says the same once more.
pub(super) fn report(error: &KafkaError, reason: &str) {
    tracing::debug!(%error, reason, "Kafka client");
}

/// For clients that only ask.
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: Level, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        report(&error, reason);
    }
}

/// A partition as the library names it.
pub(super) type Name = (Arc<str>, i32);

/// A change in what a member owns, in the order in which they came.
#[derive(Debug)]
pub(super) enum Change {
    /// These belong to the member from now on, and wait for where to start.
    Given(Vec<Name>),
    /// These do not any more.
    Taken(Vec<Name>),
    /// These places could not be kept; the next try may succeed.
    Untold(Vec<(Name, i64)>),
}

/// For consumers. A revocation is obeyed at once; partitions that are given stay unread until
/// [`Context::start`] says where each begins.
pub(super) struct Context {
    group: Option<Arc<str>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    changes: Vec<Change>,
    /// What the library reads.
    read: BTreeSet<Name>,
    /// The library waits to be told where given partitions start.
    is_owing: bool,
    is_closing: bool,
}

impl Context {
    pub(super) fn new(group: Option<Arc<str>>) -> Self {
        Self {
            group,
            state: Mutex::default(),
        }
    }

    pub(super) fn has_changed(&self) -> bool {
        !self.state.lock().changes.is_empty()
    }

    pub(super) fn take_changes(&self) -> Vec<Change> {
        mem::take(&mut self.state.lock().changes)
    }

    /// Reads each partition from its offset on, also one that was read from elsewhere.
    pub(super) fn start(
        &self,
        consumer: &BaseConsumer<Self>,
        starts: &[(Name, i64)],
    ) -> KafkaResult<()> {
        let (mut before, mut now) = (TopicPartitionList::new(), TopicPartitionList::new());
        {
            let mut state = self.state.lock();
            for ((topic, number), offset) in starts {
                if !state.read.insert((Arc::clone(topic), *number)) {
                    before.add_partition(topic, *number);
                }
                now.add_partition_offset(topic, *number, rdkafka::Offset::Offset(*offset))?;
            }
            state.is_owing = false;
        }
        if before.count() > 0 {
            consumer.incremental_unassign(&before)?;
        }
        consumer.incremental_assign(&now)
    }

    /// Reads a partition no more.
    pub(super) fn stop(&self, consumer: &BaseConsumer<Self>, name: &Name) -> KafkaResult<()> {
        if !self.state.lock().read.remove(name) {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&name.0, name.1);
        consumer.incremental_unassign(&list)
    }

    /// Gives up what was given and never started: the library goes on only when it has an answer.
    pub(super) fn decline(&self, consumer: &BaseConsumer<Self>) -> KafkaResult<()> {
        if !mem::take(&mut self.state.lock().is_owing) {
            return Ok(());
        }
        consumer.incremental_assign(&TopicPartitionList::new())
    }

    /// From now on nothing that is given is started.
    pub(super) fn close(&self, consumer: &BaseConsumer<Self>) {
        self.state.lock().is_closing = true;
        if let Err(error) = self.decline(consumer) {
            report(&error, "closing");
        }
    }

    fn given(&self, consumer: &BaseConsumer<Self>, names: Vec<Name>) -> KafkaResult<()> {
        {
            let mut state = self.state.lock();
            if !names.is_empty() && !state.is_closing {
                state.is_owing = true;
                state.changes.push(Change::Given(names));
                return Ok(());
            }
        }
        consumer.incremental_assign(&TopicPartitionList::new())
    }

    fn taken(&self, consumer: &BaseConsumer<Self>, names: Vec<Name>) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        {
            let mut state = self.state.lock();
            for name in &names {
                if state.read.remove(name) {
                    list.add_partition(&name.0, name.1);
                }
            }
            state.changes.push(Change::Taken(names));
        }
        consumer.incremental_unassign(&list)
    }
}

impl ClientContext for Context {
    fn log(&self, level: Level, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        report(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let Some(group) = &self.group else { return };
        for (topic, of_topic) in statistics.topics {
            let partitions = of_topic.partitions.values();
            // Negative numbers stand for what is not known.
            let known = partitions
                .filter(|partition| partition.hi_offset >= 0 && partition.app_offset >= 0);
            let lag = known
                .map(|partition| partition.hi_offset.abs_diff(partition.app_offset))
                .sum();
            ::metrics::gauge!(metrics::LAG, "group" => Arc::clone(group), "topic" => topic)
                .set(metrics::level(lag));
        }
    }
}

impl ConsumerContext for Context {
    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        match result
            .as_ref()
            .err()
            .and_then(KafkaError::rdkafka_error_code)
        {
            // The second: nobody has anything to tell. The others: somebody else is the owner, as the next poll tells.
            None
            | Some(
                Code::NoOffset
                | Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::FencedInstanceId,
            ) => {}
            Some(code) => {
                tracing::debug!(%code, "places of a group could not be kept");
                let elements = offsets.elements();
                let places = elements.iter().filter_map(|element| {
                    let name = (element.topic().into(), element.partition());
                    Some((name, element.offset().to_raw()?))
                });
                let untold = Change::Untold(places.collect());
                self.state.lock().changes.push(untold);
            }
        }
    }

    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let elements = partitions.elements();
        let names: Vec<Name> = elements
            .iter()
            .map(|element| (element.topic().into(), element.partition()))
            .collect();
        tracing::debug!(
            group = self.group.as_deref(),
            ?what,
            ?names,
            "the group changes"
        );
        let result = if matches!(what, RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
            self.given(consumer, names)
        } else {
            self.taken(consumer, names)
        };
        if let Err(error) = result {
            tracing::warn!(%error, "a change in the group failed");
        }
    }
}
