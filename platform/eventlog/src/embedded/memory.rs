//! The newest records in memory: offsets are given here, and consumers read here first.
//!
//! Pure state without I/O or waiting; the engine holds it under one short lock. Every record that is
//! not in the file yet is here, in the order of the appends; written ones stay until room is needed.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{Delivered, Error, Partition, Record};

/// Offsets that are reserved in the file at once. The next block is asked for when half is used.
pub(super) const BLOCK: i64 = 1 << 16;
/// What one record costs beside its key and payload, in bytes.
const OVERHEAD: usize = 96;

/// The index of a partition among all partitions of the log.
pub(super) type Slot = usize;

struct Entry {
    offset: i64,
    at: i64,
    key: Bytes,
    value: Bytes,
}

impl Entry {
    fn cost(&self) -> usize {
        cost(&self.key, &self.value)
    }
}

fn cost(key: &Bytes, value: &Bytes) -> usize {
    key.len() + value.len() + OVERHEAD
}

/// One partition.
pub(super) struct Lane {
    /// Its number in the file.
    row: i64,
    partition: Partition,
    low: i64,
    next: i64,
    /// No offset at or above this one may be given yet.
    reserved: i64,
    /// What an append that found no reserved offsets needs.
    wanted: i64,
    tail: VecDeque<Entry>,
    /// How many at the front of `tail` are in the file.
    written: usize,
}

impl Lane {
    pub(super) fn new(row: i64, partition: Partition, low: i64, next: i64, reserved: i64) -> Self {
        Self {
            row,
            partition,
            low,
            next,
            reserved,
            wanted: 0,
            tail: VecDeque::new(),
            written: 0,
        }
    }

    /// The oldest offset in memory, or the next when there is none: below it everything is in the file.
    fn memory_start(&self) -> i64 {
        self.tail.front().map_or(self.next, |entry| entry.offset)
    }
}

/// Whether appends are taken, and if not, why.
pub(super) enum State {
    Open,
    /// The file cannot be written at the moment.
    Troubled(String),
    /// The file must not be written any more.
    Failed(String),
    Closed,
}

/// A record on its way to the file.
pub(super) struct Row {
    /// The number of the partition in the file.
    pub(super) partition: i64,
    pub(super) offset: i64,
    pub(super) at: i64,
    pub(super) key: Bytes,
    pub(super) value: Bytes,
}

/// A partition whose reservation has to move.
pub(super) struct Reservation {
    pub(super) slot: Slot,
    pub(super) row: i64,
    pub(super) end: i64,
}

/// What memory knows about a stretch of a partition.
pub(super) enum Stretch {
    /// The records, and where to go on.
    Here(Vec<Delivered>, i64),
    /// It begins in the file, which has everything of this row below the offset.
    InFile {
        row: i64,
        partition: Partition,
        until: i64,
    },
}

/// How far a reader may go at once.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) records: usize,
    /// Payload bytes; the first record is taken whatever its size.
    pub(super) bytes: usize,
}

/// All partitions.
pub(super) struct Memory {
    lanes: Vec<Lane>,
    /// The slot of every record in memory, in the order of the appends.
    order: VecDeque<u32>,
    /// How many at the front of `order` are in the file.
    written: usize,
    /// Records ever appended, written, and synced to the disk, since the start.
    appended: u64,
    written_total: u64,
    durable: u64,
    bytes: usize,
    backlog: usize,
    tail_limit: usize,
    backlog_limit: usize,
    pub(super) state: State,
}

impl Memory {
    pub(super) fn new(lanes: Vec<Lane>, tail_limit: usize, backlog_limit: usize) -> Self {
        Self {
            lanes,
            order: VecDeque::new(),
            written: 0,
            appended: 0,
            written_total: 0,
            durable: 0,
            bytes: 0,
            backlog: 0,
            tail_limit,
            backlog_limit,
            state: State::Open,
        }
    }

    /// Adds the partitions of a new topic and returns the slot of the first.
    pub(super) fn add(&mut self, lanes: Vec<Lane>) -> Slot {
        let first = self.lanes.len();
        self.lanes.extend(lanes);
        first
    }

    /// The partitions, for another memory.
    pub(super) fn into_lanes(self) -> Vec<Lane> {
        self.lanes
    }

    /// Whether the log works.
    pub(super) fn check(&self) -> Result<(), Error> {
        match &self.state {
            State::Open => Ok(()),
            State::Troubled(why) | State::Failed(why) => Err(Error::Unavailable(why.clone())),
            State::Closed => Err(Error::Unavailable("it is closed".to_owned())),
        }
    }

    /// Whether the file may still be written.
    pub(super) fn check_writable(&self) -> Result<(), Error> {
        match &self.state {
            State::Open | State::Troubled(_) => Ok(()),
            State::Failed(_) | State::Closed => self.check(),
        }
    }

    /// Whether readers are served; a full disk does not disturb them.
    pub(super) fn check_readable(&self) -> Result<(), Error> {
        self.check_writable()
    }

    /// Appends all of `records`, each to the slot beside it, or none: `false` when there is no room, and
    /// then the writer has to be waited for.
    pub(super) fn append(
        &mut self,
        slots: &[Slot],
        records: &mut Vec<Record>,
        at: i64,
    ) -> Result<bool, Error> {
        self.check()?;
        let size: usize = records
            .iter()
            .map(|record| cost(&record.key, &record.value))
            .sum();
        if size > self.backlog_limit {
            return Err(Error::Invalid(format!(
                "a batch of {size} bytes is over the limit of {}",
                self.backlog_limit
            )));
        }
        if self.backlog + size > self.backlog_limit || !self.is_reserved(slots) {
            return Ok(false);
        }
        for (slot, record) in slots.iter().zip(records.drain(..)) {
            let lane = &mut self.lanes[*slot];
            lane.tail.push_back(Entry {
                offset: lane.next,
                at,
                key: record.key,
                value: record.value,
            });
            lane.next += 1;
            self.order
                .push_back(u32::try_from(*slot).expect("fewer partitions than 2^32"));
        }
        self.appended += slots.len() as u64;
        self.bytes += size;
        self.backlog += size;
        self.evict();
        Ok(true)
    }

    /// Whether every slot has offsets for the whole batch; notes what is missing.
    fn is_reserved(&mut self, slots: &[Slot]) -> bool {
        let count = i64::try_from(slots.len()).expect("a batch has a bound");
        let mut reserved = true;
        for slot in slots {
            let lane = &mut self.lanes[*slot];
            if lane.next + count > lane.reserved {
                lane.wanted = lane.wanted.max(lane.next + count);
                reserved = false;
            }
        }
        reserved
    }

    /// Gives written records up, oldest first, until the rest fits.
    fn evict(&mut self) {
        while self.bytes > self.tail_limit && self.written > 0 {
            let Some(slot) = self.order.pop_front() else {
                return;
            };
            let lane = &mut self.lanes[slot as usize];
            let Some(entry) = lane.tail.pop_front() else {
                return;
            };
            lane.written -= 1;
            self.written -= 1;
            self.bytes -= entry.cost();
        }
    }

    /// The oldest records that are not in the file yet.
    pub(super) fn unwritten(&self, limits: Limits) -> Vec<Row> {
        let mut taken = vec![0; self.lanes.len()];
        let mut rows = Vec::with_capacity(limits.records.min(self.order.len() - self.written));
        let mut bytes = 0;
        for slot in self.order.range(self.written..).take(limits.records) {
            let slot = *slot as usize;
            let lane = &self.lanes[slot];
            let entry = &lane.tail[lane.written + taken[slot]];
            bytes += entry.cost();
            if bytes > limits.bytes && !rows.is_empty() {
                break;
            }
            taken[slot] += 1;
            rows.push(Row {
                partition: lane.row,
                offset: entry.offset,
                at: entry.at,
                key: entry.key.clone(),
                value: entry.value.clone(),
            });
        }
        rows
    }

    /// The oldest `count` unwritten records are in the file now.
    pub(super) fn mark_written(&mut self, count: usize) {
        for slot in self.order.range(self.written..self.written + count) {
            let lane = &mut self.lanes[*slot as usize];
            self.backlog -= lane.tail[lane.written].cost();
            lane.written += 1;
        }
        self.written += count;
        self.written_total += count as u64;
        self.evict();
    }

    /// Everything written so far is on the disk now.
    pub(super) fn mark_durable(&mut self) {
        self.durable = self.written_total;
    }

    /// How many records were ever appended.
    pub(super) fn appended(&self) -> u64 {
        self.appended
    }

    /// How many of them are in the file.
    pub(super) fn written_total(&self) -> u64 {
        self.written_total
    }

    /// How many of them are on the disk.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// Bytes that wait to be written.
    pub(super) fn backlog(&self) -> usize {
        self.backlog
    }

    /// The partitions that need more reserved offsets.
    pub(super) fn reservations(&self) -> Vec<Reservation> {
        let short =
            |lane: &Lane| lane.next + BLOCK / 2 > lane.reserved || lane.wanted > lane.reserved;
        let lanes = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(_, lane)| short(lane));
        lanes
            .map(|(slot, lane)| Reservation {
                slot,
                row: lane.row,
                end: lane.next.max(lane.wanted) + BLOCK,
            })
            .collect()
    }

    /// These reservations are on the disk now.
    pub(super) fn mark_reserved(&mut self, reservations: &[Reservation]) {
        for reservation in reservations {
            self.lanes[reservation.slot].reserved = reservation.end;
        }
    }

    /// The highest offset that is reserved anywhere.
    pub(super) fn highest_reserved(&self) -> i64 {
        self.lanes
            .iter()
            .map(|lane| lane.reserved)
            .max()
            .unwrap_or(0)
    }

    /// What is held of a partition from `from` on.
    pub(super) fn read(&self, slot: Slot, from: i64, limits: Limits) -> Result<Stretch, Error> {
        let lane = &self.lanes[slot];
        self.check_position(slot, from)?;
        let until = lane.memory_start();
        if from < until {
            return Ok(Stretch::InFile {
                row: lane.row,
                partition: lane.partition.clone(),
                until,
            });
        }
        let start = lane.tail.partition_point(|entry| entry.offset < from);
        let mut records = Vec::new();
        let mut bytes = 0;
        for entry in lane.tail.range(start..).take(limits.records) {
            bytes += entry.value.len();
            if bytes > limits.bytes && !records.is_empty() {
                break;
            }
            records.push(Delivered {
                partition: lane.partition.clone(),
                offset: entry.offset,
                key: entry.key.clone(),
                value: entry.value.clone(),
            });
        }
        let next = records.last().map_or(from, |record| record.offset + 1);
        Ok(Stretch::Here(records, next))
    }

    /// Refuses a position that the partition does not hold.
    pub(super) fn check_position(&self, slot: Slot, position: i64) -> Result<(), Error> {
        let (low, high) = self.bounds(slot);
        if (low..=high).contains(&position) {
            return Ok(());
        }
        let Partition { topic, number, .. } = &self.lanes[slot].partition;
        Err(Error::OutOfRange {
            topic: topic.to_string(),
            partition: *number,
            position,
            low,
            high,
        })
    }

    /// The oldest offset held and the next to be given.
    pub(super) fn bounds(&self, slot: Slot) -> (i64, i64) {
        let lane = &self.lanes[slot];
        (lane.low, lane.next)
    }

    pub(super) fn partition(&self, slot: Slot) -> &Partition {
        &self.lanes[slot].partition
    }

    pub(super) fn row(&self, slot: Slot) -> i64 {
        self.lanes[slot].row
    }

    /// How many partitions there are.
    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    /// The oldest offset that is not in the file yet.
    pub(super) fn written_end(&self, slot: Slot) -> i64 {
        let lane = &self.lanes[slot];
        lane.tail
            .get(lane.written)
            .map_or(lane.next, |entry| entry.offset)
    }

    /// Nothing below `low` is held any more.
    pub(super) fn raise_low(&mut self, slot: Slot, low: i64) {
        let lane = &mut self.lanes[slot];
        lane.low = lane.low.max(low);
    }

    /// Row and next offset of every partition, for a clean stop.
    pub(super) fn ends(&self) -> Vec<(i64, i64)> {
        self.lanes
            .iter()
            .map(|lane| (lane.row, lane.next))
            .collect()
    }

    /// Bytes of the records in memory.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
