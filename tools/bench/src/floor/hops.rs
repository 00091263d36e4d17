//! What a stored message cannot avoid: a hop over Kafka, one row in PostgreSQL, and another hop. One thread does the three
//! one after the other, at a fixed pace.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use hdrhistogram::Histogram;
use postgres::{Client, Statement};
use rdkafka::consumer::BaseConsumer;

use super::kafka::{self, Appender};
use crate::servers::Place;

/// The last moment before a planned one is spent polling, as the generator does.
const POLLED: Duration = Duration::from_micros(300);

/// The way of a message, without the message.
pub struct Chain {
    appender: Appender,
    topics: [String; 2],
    readers: [BaseConsumer; 2],
    database: Client,
    insert: Statement,
    rows: i64,
    text: String,
}

/// How long its parts took, in nanoseconds.
pub struct Taken {
    /// Each of the two hops.
    pub hop: Histogram<u64>,
    /// The row and its commit.
    pub commit: Histogram<u64>,
    /// Everything, from the planned time.
    pub whole: Histogram<u64>,
}

impl Taken {
    /// Nothing yet.
    pub fn new() -> Result<Self> {
        let empty = || Histogram::new(3);
        Ok(Self {
            hop: empty()?,
            commit: empty()?,
            whole: empty()?,
        })
    }
}

impl Chain {
    /// With topics and a table of its own at `place`, and records of `bytes`.
    pub fn open(place: &Place, bytes: usize) -> Result<Self> {
        let topics = [place.topic("floor.there"), place.topic("floor.back")];
        let brokers = &place.brokers;
        kafka::make_topics(brokers, &[&topics[0], &topics[1]])?;
        let mut database = place.connect()?;
        database
            .batch_execute("CREATE TABLE floor (n BIGINT PRIMARY KEY, payload TEXT NOT NULL)")?;
        Ok(Self {
            appender: kafka::appender(brokers)?,
            readers: [
                kafka::reader(brokers, &topics[0])?,
                kafka::reader(brokers, &topics[1])?,
            ],
            topics,
            insert: database.prepare("INSERT INTO floor (n, payload) VALUES ($1, $2)")?,
            database,
            rows: 0,
            text: "x".repeat(bytes),
        })
    }

    /// Goes the way `count` times, once each `pace`; what it takes is added to `taken`.
    pub fn run(&mut self, count: u32, pace: Duration, taken: &mut Taken) -> Result<()> {
        let began = Instant::now() + pace;
        for number in 0..count {
            let planned = began + pace * number;
            thread::sleep(
                planned
                    .saturating_duration_since(Instant::now())
                    .saturating_sub(POLLED),
            );
            while Instant::now() < planned {
                std::hint::spin_loop();
            }
            let start = Instant::now();
            self.hop(0)?;
            let there = Instant::now();
            self.rows += 1;
            self.database
                .execute(&self.insert, &[&self.rows, &self.text])?;
            let stored = Instant::now();
            self.hop(1)?;
            taken.hop.record(nanos(there - start)?)?;
            taken.commit.record(nanos(stored - there)?)?;
            taken.hop.record(nanos(stored.elapsed())?)?;
            taken.whole.record(nanos(planned.elapsed())?)?;
        }
        Ok(())
    }

    fn hop(&self, which: usize) -> Result<()> {
        let topic = &self.topics[which];
        kafka::append(&self.appender, topic, "floor", self.text.as_bytes())?;
        kafka::next(&self.readers[which], |_| ())
    }
}

fn nanos(time: Duration) -> Result<u64> {
    Ok(u64::try_from(time.as_nanos())?)
}
