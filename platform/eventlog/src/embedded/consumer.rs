//! One member of a group, and the tail that belongs to none.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::Notify, time::Instant};

use super::{
    engine::{Engine, Listening, OpenTopic, POLL_BYTES},
    groups::{Membership, Owned},
    memory::{Limits, Slot},
};
use crate::{Consumer, Delivered, Error, Partition, Poll, StartAt, Subscription, Tail, metrics};

/// Records of several partitions, with a bound over all.
struct Reading {
    records: Vec<Delivered>,
    max: usize,
    bytes: usize,
}

impl Reading {
    fn new(max: usize) -> Self {
        Self {
            records: Vec::new(),
            max: max.max(1),
            bytes: POLL_BYTES,
        }
    }

    /// Reads a partition from `position` as far as the bounds allow and returns where to go on.
    async fn go_on(
        &mut self,
        engine: &Engine,
        slot: Slot,
        mut position: i64,
    ) -> Result<i64, Error> {
        while self.records.len() < self.max && self.bytes > 0 {
            let limits = Limits {
                records: self.max - self.records.len(),
                bytes: self.bytes,
            };
            let (found, next) = engine.read(slot, position, limits).await?;
            if next == position {
                break;
            }
            position = next;
            let bytes = found.iter().map(|record| record.value.len()).sum();
            self.bytes = self.bytes.saturating_sub(bytes);
            self.records.extend(found);
        }
        Ok(position)
    }
}

/// Where a consumer is in a partition that it owns.
struct Cursor {
    /// The change of owner that brought the partition.
    change: u64,
    place: Place,
    /// The end of what was given out. Between it and the place lies nothing: a gap.
    read: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Just given; its start is not known yet.
    New,
    At(i64),
    /// Its position is outside the log; only a seek helps.
    Stopped,
}

/// A member of a group.
pub(super) struct EmbeddedConsumer {
    engine: Arc<Engine>,
    membership: Membership,
    start: StartAt,
    listening: Listening,
    cursors: BTreeMap<Slot, Cursor>,
    /// The owner of this consumer has not seen the present set.
    is_unreported: bool,
    /// Where the next poll begins to read, so that no partition starves another.
    turn: usize,
}

impl EmbeddedConsumer {
    pub(super) fn join(engine: Arc<Engine>, subscription: Subscription) -> Result<Self, Error> {
        let Subscription {
            group,
            member,
            topics,
            start,
            session_timeout,
            pace: _,
        } = subscription;
        let topics = topics
            .iter()
            .map(|name| engine.topic(name))
            .collect::<Result<Vec<_>, _>>()?;
        let mut slots: Vec<Slot> = topics.iter().flat_map(|topic| topic.slots()).collect();
        slots.sort_unstable();
        slots.dedup();
        let wake = Arc::new(Notify::new());
        let listening = Listening::to(topics, Arc::clone(&wake));
        let membership = {
            let mut groups = engine.groups.lock();
            let token = groups.token();
            let membership = Membership {
                group,
                member,
                token,
                slots: slots.into(),
                session_timeout,
                wake,
            };
            groups.join(membership.clone(), Instant::now());
            membership
        };
        Ok(Self {
            engine,
            membership,
            start,
            listening,
            cursors: BTreeMap::new(),
            is_unreported: false,
            turn: 0,
        })
    }

    /// Takes over what the group says is owned.
    fn adopt(&mut self, owned: &Owned, is_back: bool) {
        let is_same = self.cursors.len() == owned.len()
            && owned.iter().all(|(slot, change)| {
                self.cursors
                    .get(slot)
                    .is_some_and(|cursor| cursor.change == *change)
            });
        if is_same && !is_back {
            return;
        }
        self.is_unreported = true;
        self.cursors
            .retain(|slot, cursor| owned.get(slot) == Some(&cursor.change));
        for (slot, change) in owned {
            self.cursors.entry(*slot).or_insert(Cursor {
                change: *change,
                place: Place::New,
                read: 0,
            });
        }
    }

    /// Finds the start of every new partition, then tells the whole set.
    async fn assigned(&mut self) -> Result<Poll, Error> {
        let new: Vec<Slot> = self
            .cursors
            .iter()
            .filter(|(_, cursor)| cursor.place == Place::New)
            .map(|(slot, _)| *slot)
            .collect();
        for slot in new {
            let start = self.start_of(slot).await?;
            self.go(slot, start)?;
        }
        self.is_unreported = false;
        let memory = self.engine.memory.lock();
        Ok(Poll::Assigned(
            self.cursors
                .keys()
                .map(|slot| memory.partition(*slot).clone())
                .collect(),
        ))
    }

    async fn start_of(&self, slot: Slot) -> Result<i64, Error> {
        let group = &self.membership.group;
        let (partition, known, low, high) = {
            let mut groups = self.engine.groups.lock();
            let memory = self.engine.memory.lock();
            let (low, high) = memory.bounds(slot);
            let known = groups.position(group, slot);
            if known.is_none() {
                // From now on retention waits for this group.
                groups.set_position(group, slot, low);
            }
            (
                memory.partition(slot).clone(),
                known.unwrap_or(low),
                low,
                high,
            )
        };
        match &self.start {
            StartAt::Group => Ok(known),
            StartAt::Stored(positions) => positions
                .start(&partition, low, high)
                .await
                .map_err(Error::Positions),
        }
    }

    /// Goes to `position`, or stops the partition when it is outside the log.
    fn go(&mut self, slot: Slot, position: i64) -> Result<(), Error> {
        {
            let mut groups = self.engine.groups.lock();
            let memory = self.engine.memory.lock();
            if let Err(error) = memory.check_position(slot, position) {
                drop((groups, memory));
                return Err(self.stop(slot, error));
            }
            if matches!(self.start, StartAt::Stored(_)) && groups.is_owner(&self.membership, slot) {
                groups.set_position(&self.membership.group, slot, position);
            }
        }
        self.begin(slot, position);
        Ok(())
    }

    fn begin(&mut self, slot: Slot, position: i64) {
        if let Some(cursor) = self.cursors.get_mut(&slot) {
            cursor.place = Place::At(position);
            cursor.read = position;
        }
    }

    /// Goes past what was given out, which ends at `read` if it was anything, and past the gap behind it. A group that has
    /// kept everything before a gap has everything before its end as well.
    fn advance(&mut self, slot: Slot, read: Option<i64>, next: i64) {
        let Some(cursor) = self.cursors.get_mut(&slot) else {
            return;
        };
        cursor.place = Place::At(next);
        cursor.read = read.unwrap_or(cursor.read);
        if cursor.read == next {
            return;
        }
        let mut groups = self.engine.groups.lock();
        let Membership { group, .. } = &self.membership;
        if groups.is_owner(&self.membership, slot)
            && groups.position(group, slot) == Some(cursor.read)
        {
            groups.set_position(group, slot, next);
        }
    }

    fn set(&mut self, slot: Slot, place: Place) {
        if let Some(cursor) = self.cursors.get_mut(&slot) {
            cursor.place = place;
        }
    }

    /// The partition is not read any more, loudly.
    fn stop(&mut self, slot: Slot, error: Error) -> Error {
        self.set(slot, Place::Stopped);
        let group = Arc::clone(&self.membership.group);
        let topic = Arc::clone(&self.engine.memory.lock().partition(slot).topic);
        tracing::error!(group = &*group, error = %error, "a partition is stopped");
        ::metrics::counter!(metrics::STOPPED, "group" => group, "topic" => topic).increment(1);
        error
    }

    /// What is there of all partitions, at most `max` records.
    async fn records(&mut self, max: usize) -> Result<Vec<Delivered>, Error> {
        let mut reading = Reading::new(max);
        // Cursors move only with what is given out, so an error or an abandoned poll loses nothing.
        let mut moved = Vec::new();
        let slots: Vec<Slot> = self.cursors.keys().copied().collect();
        self.turn = self.turn.wrapping_add(1);
        for index in 0..slots.len() {
            let slot = slots[(self.turn % slots.len() + index) % slots.len()];
            let Some(Place::At(position)) = self.cursors.get(&slot).map(|cursor| cursor.place)
            else {
                continue;
            };
            let before = reading.records.len();
            match reading.go_on(&self.engine, slot, position).await {
                Ok(next) => {
                    let given = reading.records[before..].last();
                    moved.push((slot, given.map(|record| record.offset + 1), next));
                }
                Err(error @ Error::OutOfRange { .. }) => return Err(self.stop(slot, error)),
                Err(error) => return Err(error),
            }
        }
        for (slot, read, next) in moved {
            self.advance(slot, read, next);
        }
        Ok(reading.records)
    }

    /// The slot of a partition that this consumer was told to own.
    fn owned(&self, partition: &Partition) -> Option<Slot> {
        self.engine
            .slot(partition)
            .ok()
            .filter(|slot| self.cursors.contains_key(slot))
    }
}

/// Marks the end of a poll, also when the poll is abandoned.
struct Polling {
    engine: Arc<Engine>,
    membership: Membership,
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.engine
            .groups
            .lock()
            .rest(&self.membership, Instant::now());
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Poll, Error> {
        let deadline = Instant::now() + wait;
        let _polling = Polling {
            engine: Arc::clone(&self.engine),
            membership: self.membership.clone(),
        };
        loop {
            self.engine.memory.lock().check_readable()?;
            let view = self
                .engine
                .groups
                .lock()
                .poll(&self.membership, Instant::now())?;
            self.adopt(&view.owned, view.is_back);
            if self.is_unreported {
                return self.assigned().await;
            }
            let records = self.records(max).await?;
            if !records.is_empty() || Instant::now() >= deadline {
                return Ok(Poll::Records(records));
            }
            let until = view
                .look_again
                .map_or(deadline, |again| again.min(deadline));
            // Waking and the end of the wait lead to the same place: look again.
            let _ = tokio::time::timeout_at(until, self.listening.wait()).await;
        }
    }

    async fn seek(&mut self, partition: &Partition, offset: i64) -> Result<(), Error> {
        let Some(slot) = self.owned(partition) else {
            let Partition { topic, number, .. } = partition;
            return Err(Error::Invalid(format!(
                "{topic}/{number} is not assigned to this consumer"
            )));
        };
        self.engine.memory.lock().check_position(slot, offset)?;
        self.begin(slot, offset);
        Ok(())
    }

    async fn commit(&mut self, partition: &Partition, offset: i64) -> Result<(), Error> {
        let Some(slot) = self.owned(partition) else {
            return Ok(());
        };
        let mut groups = self.engine.groups.lock();
        if !groups.is_owner(&self.membership, slot) {
            return Ok(());
        }
        self.engine.memory.lock().check_position(slot, offset)?;
        groups.set_position(&self.membership.group, slot, offset);
        Ok(())
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        self.engine
            .groups
            .lock()
            .leave(&self.membership, Instant::now());
    }
}

/// A reader of a whole topic.
pub(super) struct EmbeddedTail {
    engine: Arc<Engine>,
    listening: Listening,
    positions: Vec<(Slot, i64)>,
    turn: usize,
}

impl EmbeddedTail {
    /// Starts at the present end of every partition, all at the same moment.
    pub(super) fn new(engine: Arc<Engine>, topic: Arc<OpenTopic>) -> Self {
        let slots = topic.slots();
        let listening = Listening::to(vec![topic], Arc::new(Notify::new()));
        let positions = {
            let memory = engine.memory.lock();
            slots.map(|slot| (slot, memory.bounds(slot).1)).collect()
        };
        Self {
            engine,
            listening,
            positions,
            turn: 0,
        }
    }

    async fn records(&mut self, max: usize) -> Result<Vec<Delivered>, Error> {
        // Positions move only with what is given out, so an error or an abandoned call loses nothing.
        let mut positions = self.positions.clone();
        let mut reading = Reading::new(max);
        let count = positions.len();
        self.turn = (self.turn + 1) % count;
        for index in 0..count {
            let (slot, position) = &mut positions[(self.turn + index) % count];
            *position = reading.go_on(&self.engine, *slot, *position).await?;
        }
        self.positions = positions;
        Ok(reading.records)
    }
}

#[async_trait]
impl Tail for EmbeddedTail {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivered>, Error> {
        loop {
            let records = self.records(max).await?;
            if !records.is_empty() {
                return Ok(records);
            }
            self.listening.wait().await;
        }
    }
}
