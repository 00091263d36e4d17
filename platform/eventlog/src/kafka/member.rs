//! What the thread of a group's member does: it polls, and whatever it owns it reads from a place that was
//! asked for.
//!
//! A partition that is given is not read before its start is known; the library waits for that, and its
//! heartbeats go on meanwhile.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
    message::BorrowedMessage,
    types::RDKafkaErrorCode as Code,
};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{
    away,
    context::{Change, Name},
    reader::{Marks, Reader, check_position, delivered, kafka_number},
    settings::ANSWER_TIMEOUT,
    thread::Hurry,
    topics::{LOOK_OUT, Topics},
};
use crate::{Delivered, Error, Partition, Poll, StartAt, Subscription, metrics};

/// How often the log is told where a group is that keeps its place elsewhere.
const ADVICE: Duration = Duration::from_secs(1);

/// How soon it is asked again where a partition starts.
const AGAIN: Duration = Duration::from_millis(500);

/// A topic of the subscription, by its place there, and the number of a partition.
type Slot = (usize, i32);

/// Where a member is in a partition that it owns.
struct Cursor {
    partition: Partition,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Just given; its identity and start are not known yet.
    New,
    /// The next offset to read.
    At(i64),
    /// Its position is outside the log; only a seek helps.
    Stopped,
}

/// The place of a group in a partition.
struct Kept {
    offset: i64,
    /// The log was told.
    is_told: bool,
}

/// A member of a group, on its thread.
pub(super) struct Member {
    config: ClientConfig,
    reader: Reader,
    subscription: Subscription,
    topics: Arc<Topics>,
    runtime: Handle,
    cursors: BTreeMap<Slot, Cursor>,
    /// The owner of this member has not seen the present set.
    is_unreported: bool,
    /// What the owner has to be told first.
    troubles: VecDeque<Error>,
    /// When its client began; see [`Topics::era`].
    era: u64,
    /// Where the group is, in what this member owns.
    kept: HashMap<Partition, Kept>,
    told: Instant,
}

impl Member {
    /// `config` is that of the member's client.
    pub(super) fn new(
        config: ClientConfig,
        subscription: Subscription,
        topics: Arc<Topics>,
    ) -> Result<Self, Error> {
        let era = topics.era();
        let group = Arc::clone(&subscription.group);
        let reader = Reader::new(&config, Some(group), Hurry::default())?;
        reader.join(&subscription)?;
        Ok(Self {
            era,
            config,
            reader,
            subscription,
            topics,
            runtime: Handle::current(),
            cursors: BTreeMap::new(),
            is_unreported: false,
            troubles: VecDeque::new(),
            kept: HashMap::new(),
            told: Instant::now(),
        })
    }

    /// Who waits for this member.
    pub(super) fn hurry(&self) -> Hurry {
        self.reader.hurry.clone()
    }

    /// One poll of the port.
    pub(super) fn poll(&mut self, max: usize, wait: Duration) -> Result<Poll, Error> {
        let deadline = Instant::now() + wait;
        self.tell();
        loop {
            self.look()?;
            if let Some(trouble) = self.troubles.pop_front() {
                return Err(trouble);
            }
            let mut until = deadline;
            if self.is_unreported {
                match self.begin() {
                    Ok(()) if self.troubles.is_empty() => {
                        self.is_unreported = false;
                        return Ok(Poll::Assigned(self.partitions()));
                    }
                    Ok(()) => continue,
                    // The broker is away or has just come back; what is known already is read meanwhile.
                    Err(Error::Unavailable(why)) => {
                        tracing::warn!(
                            why,
                            "the start of a partition is not known yet; trying again"
                        );
                        until = until.min(Instant::now() + AGAIN);
                    }
                    Err(error) => return Err(error),
                }
            }
            let records = self.records(max, until.min(Instant::now() + LOOK_OUT));
            let is_over = Instant::now() >= deadline || self.reader.hurry.is_on();
            if !records.is_empty() || is_over {
                return Ok(Poll::Records(records));
            }
        }
    }

    fn partitions(&self) -> Vec<Partition> {
        let cursors = self.cursors.values();
        cursors.map(|cursor| cursor.partition.clone()).collect()
    }

    /// Learns what has happened since the last look.
    fn look(&mut self) -> Result<(), Error> {
        if let Some((code, why)) = self.reader.consumer.client().fatal_error() {
            let Subscription { member, group, .. } = &self.subscription;
            return Err(match code {
                Code::FencedInstanceId => Error::Invalid(format!(
                    "another consumer is member {member} of group {group} now"
                )),
                _ => away(why),
            });
        }
        if let Some(trouble) = self.reader.trouble.take() {
            return Err(trouble);
        }
        // Out of the group: what is fetched already belongs to somebody else.
        if !self.cursors.is_empty() && self.reader.consumer.assignment_lost() {
            self.cursors.clear();
            self.kept.clear();
            self.is_unreported = true;
            let context = self.reader.consumer.context();
            context.decline(&self.reader.consumer).map_err(away)?;
        }
        self.renew()?;
        if !self.reader.is_doubtful {
            return Ok(());
        }
        match self.look_at_positions() {
            // The broker is away: what is in doubt is not read, and is looked at when it is back.
            Err(Error::Unavailable(why)) => {
                tracing::debug!(why, "positions are in doubt");
                Ok(())
            }
            looked => looked,
        }
    }

    /// Goes on with a client that knows nothing of before: the library keeps leaders by the name of their topic and believes
    /// nobody who is younger in office, as those of a topic that was made again are.
    fn renew(&mut self) -> Result<(), Error> {
        let era = self.topics.era();
        if era == self.era {
            return Ok(());
        }
        self.era = era;
        self.leave();
        // The old client ends here, so that the new one is the only one of its name.
        let group = Arc::clone(&self.subscription.group);
        self.reader = Reader::new(&self.config, Some(group), self.hurry())?;
        self.cursors.clear();
        self.kept.clear();
        self.is_unreported = true;
        self.reader.join(&self.subscription)
    }

    /// Stops the partitions whose position is not in the log, and goes on with the others where they are.
    fn look_at_positions(&mut self) -> Result<(), Error> {
        self.runtime
            .block_on(self.topics.find(&self.subscription.topics))?;
        self.renew()?;
        let places = self.cursors.iter();
        let places = places.filter_map(|(slot, cursor)| match cursor.place {
            Place::At(position) => Some((*slot, position)),
            Place::New | Place::Stopped => None,
        });
        let mut positions = Vec::new();
        for (slot, position) in places {
            positions.push((slot, position, self.marks(slot)?));
        }
        self.go(&positions)?;
        self.reader.is_doubtful = false;
        Ok(())
    }

    /// Finds the identity and the start of every partition that is new, and reads it from there.
    fn begin(&mut self) -> Result<(), Error> {
        let new = self.cursors.iter();
        let new = new.filter(|(_, cursor)| cursor.place == Place::New);
        let new: Vec<Slot> = new.map(|(slot, _)| *slot).collect();
        if new.is_empty() {
            return Ok(());
        }
        let names = &self.subscription.topics;
        let found = self.runtime.block_on(self.topics.find(names))?;
        for slot in &new {
            let Some(topic) = &found[slot.0] else {
                return Err(away(format!("topic {} is gone", names[slot.0])));
            };
            if let Some(cursor) = self.cursors.get_mut(slot) {
                cursor.partition.topic_id = topic.id;
            }
        }
        let committed = match self.subscription.start {
            StartAt::Group => self.committed(&new)?,
            StartAt::Stored(_) => HashMap::new(),
        };
        let mut positions = Vec::with_capacity(new.len());
        for slot in new {
            let (low, high) = self.marks(slot)?;
            let position = match &self.subscription.start {
                StartAt::Group => committed.get(&slot).copied().unwrap_or(low),
                StartAt::Stored(stored) => {
                    let start = stored.start(&self.cursors[&slot].partition, low, high);
                    self.runtime.block_on(start).map_err(Error::Positions)?
                }
            };
            positions.push((slot, position, (low, high)));
        }
        self.go(&positions)
    }

    /// Where the group is, as far as it has ever said so of these very topics.
    fn committed(&self, slots: &[Slot]) -> Result<HashMap<Slot, i64>, Error> {
        let mut list = TopicPartitionList::new();
        for slot in slots {
            list.add_partition(&self.subscription.topics[slot.0], slot.1);
        }
        let consumer = &self.reader.consumer;
        let list = consumer
            .committed_offsets(list, ANSWER_TIMEOUT)
            .map_err(away)?;
        let mut committed = HashMap::new();
        for element in list.elements() {
            element.error().map_err(away)?;
            let slot = self.slot(element.topic(), element.partition());
            if let (Some(slot), Offset::Offset(offset)) = (slot, element.offset()) {
                // A place in a topic of this name that is gone says nothing. One that a person set names none.
                let of = Uuid::try_parse(element.metadata()).ok();
                let id = self.cursors[&slot].partition.topic_id;
                if of.is_none_or(|of| of == id) {
                    committed.insert(slot, offset);
                }
            }
        }
        Ok(committed)
    }

    /// Reads each partition from its position on, and stops those whose position is outside.
    fn go(&mut self, positions: &[(Slot, i64, Marks)]) -> Result<(), Error> {
        let mut starts = Vec::with_capacity(positions.len());
        for (slot, position, marks) in positions {
            match check_position(&self.cursors[slot].partition, *position, *marks) {
                Ok(()) => starts.push((*slot, *position)),
                Err(error) => self.stop(*slot, error)?,
            }
        }
        let named: Vec<_> = starts
            .iter()
            .map(|(slot, position)| (self.name(*slot), *position))
            .collect();
        // Even without any: the library may wait for an answer.
        self.reader.start(&named)?;
        for (slot, position) in starts {
            self.set(slot, Place::At(position));
        }
        Ok(())
    }

    /// The partition is not read any more, loudly.
    fn stop(&mut self, slot: Slot, error: Error) -> Result<(), Error> {
        let name = self.name(slot);
        self.reader.stop(&name)?;
        self.set(slot, Place::Stopped);
        let group = Arc::clone(&self.subscription.group);
        tracing::error!(group = &*group, %error, "a partition is stopped");
        ::metrics::counter!(metrics::STOPPED, "group" => group, "topic" => name.0).increment(1);
        self.troubles.push_back(error);
        Ok(())
    }

    /// What is there of all partitions, at most `max` records.
    fn records(&mut self, max: usize, deadline: Instant) -> Vec<Delivered> {
        let (cursors, topics) = (&mut self.cursors, &self.subscription.topics);
        let mut records = self.reader.haul(max, deadline, |message| {
            let topic = topics.iter().position(|name| **name == *message.topic())?;
            accept(cursors.get_mut(&(topic, message.partition()))?, message)
        });
        for change in self.reader.consumer.context().take_changes() {
            self.adopt(change);
        }
        // What was read before a change may be of a partition that is somebody else's now.
        if self.is_unreported {
            records.retain(|record| self.owned(&record.partition).is_some());
        }
        records
    }

    fn adopt(&mut self, change: Change) {
        match change {
            Change::Given(names) => {
                for (topic, number) in names {
                    let Some(slot) = self.slot(&topic, number) else {
                        continue;
                    };
                    let partition = Partition {
                        topic: Arc::clone(&self.subscription.topics[slot.0]),
                        topic_id: Uuid::nil(),
                        number: number.unsigned_abs(),
                    };
                    let place = Place::New;
                    self.cursors.insert(slot, Cursor { partition, place });
                    self.is_unreported = true;
                }
            }
            Change::Taken(names) => {
                for (topic, number) in names {
                    let slot = self.slot(&topic, number);
                    let gone = slot.and_then(|slot| self.cursors.remove(&slot));
                    self.is_unreported |= gone.is_some();
                    self.kept.retain(|partition, _| {
                        gone.as_ref()
                            .is_none_or(|gone| gone.partition != *partition)
                    });
                }
            }
            Change::Untold(places) => {
                for (name, offset) in places {
                    let here = |partition: &Partition| {
                        partition.topic == name.0 && kafka_number(partition.number) == name.1
                    };
                    for (_, kept) in self
                        .kept
                        .iter_mut()
                        .filter(|(partition, _)| here(partition))
                    {
                        kept.is_told &= kept.offset != offset;
                    }
                }
            }
        }
    }

    /// Goes to `offset` in a partition that is owned.
    pub(super) fn seek(&mut self, partition: &Partition, offset: i64) -> Result<(), Error> {
        let Some(slot) = self.owned(partition) else {
            let Partition { topic, number, .. } = partition;
            return Err(Error::Invalid(format!(
                "{topic}/{number} is not assigned to this consumer"
            )));
        };
        let marks = self.marks(slot)?;
        check_position(partition, offset, marks)?;
        self.go(&[(slot, offset, marks)])
    }

    /// Keeps a place, to tell the log.
    pub(super) fn commit(&mut self, partition: Partition, offset: i64) {
        // Whoever owns it now has a place of its own.
        if self.owned(&partition).is_some() && !self.reader.consumer.assignment_lost() {
            let is_told = false;
            self.kept.insert(partition, Kept { offset, is_told });
        }
    }

    /// Tells the log where the group is: all places in one request, for which nobody waits.
    fn tell(&mut self) {
        let is_advice = matches!(self.subscription.start, StartAt::Stored(_));
        // One who is out of the group and says so in its name is fenced, as a stranger who took the name.
        let is_out = self.reader.consumer.assignment_lost();
        if is_out || is_advice && self.told.elapsed() < ADVICE {
            return;
        }
        self.told = Instant::now();
        let new = self.kept.iter().filter(|(_, kept)| !kept.is_told);
        let new: Vec<_> = new
            .map(|(partition, kept)| (partition, kept.offset))
            .collect();
        if new.is_empty() {
            return;
        }
        let told = places(new).and_then(|list| {
            let consumer = &self.reader.consumer;
            consumer.commit(&list, CommitMode::Async).map_err(away)
        });
        match told {
            Ok(()) => self.kept.values_mut().for_each(|kept| kept.is_told = true),
            Err(error) => tracing::warn!(%error, "the log was not told where a group is"),
        }
    }

    /// Tells the log for the last time, and takes nothing any more.
    fn leave(&mut self) {
        if let Some(before) = self.told.checked_sub(ADVICE) {
            self.told = before;
        }
        self.tell();
        self.reader.consumer.context().close(&self.reader.consumer);
    }

    fn marks(&self, slot: Slot) -> Result<Marks, Error> {
        self.reader.marks(&self.subscription.topics[slot.0], slot.1)
    }

    fn set(&mut self, slot: Slot, place: Place) {
        if let Some(cursor) = self.cursors.get_mut(&slot) {
            cursor.place = place;
        }
    }

    fn name(&self, slot: Slot) -> Name {
        (Arc::clone(&self.subscription.topics[slot.0]), slot.1)
    }

    fn slot(&self, topic: &str, number: i32) -> Option<Slot> {
        let mut topics = self.subscription.topics.iter();
        Some((topics.position(|name| **name == *topic)?, number))
    }

    /// The slot of a partition that the owner was told to own.
    fn owned(&self, partition: &Partition) -> Option<Slot> {
        let slot = self.slot(&partition.topic, kafka_number(partition.number))?;
        let cursor = self.cursors.get(&slot)?;
        (cursor.partition == *partition && cursor.place != Place::New).then_some(slot)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A record of a partition that is read: the next one, or a later one after a gap.
fn accept(cursor: &mut Cursor, message: &BorrowedMessage<'_>) -> Option<Delivered> {
    let Place::At(next) = cursor.place else {
        return None;
    };
    if message.offset() < next {
        return None;
    }
    cursor.place = Place::At(message.offset() + 1);
    Some(delivered(&cursor.partition, message))
}

/// Places as a commit carries them, each with the identity of its topic.
fn places<'a>(
    places: impl IntoIterator<Item = (&'a Partition, i64)>,
) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in places {
        let mut element = list.add_partition(&partition.topic, kafka_number(partition.number));
        element.set_offset(Offset::Offset(offset)).map_err(away)?;
        element.set_metadata(partition.topic_id.to_string());
    }
    Ok(list)
}
