//! The embedded log: one SQLite file, the newest records in memory, groups of this process only.
//!
//! An append is visible when it is in memory and safe when it is flushed. Start reading at `memory`,
//! where offsets are given, then `writer`, which brings them to the file. `file` says who may open it,
//! `store` has every statement, `groups` and `consumer` read, `retention` removes.

mod consumer;
mod engine;
mod file;
mod groups;
mod memory;
mod retention;
mod store;
mod writer;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use kit::{Clock, Ids, Spawner};
use parking_lot::{Mutex, RwLock};
use sqlx::SqliteConnection;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{
    consumer::{EmbeddedConsumer, EmbeddedTail},
    engine::{Engine, OpenTopic, POLL_BYTES},
    file::{File, Mark},
    groups::Groups,
    memory::{BLOCK, Lane, Limits, Memory, Slot},
    store::Level,
    writer::Writer,
};
use crate::{
    Config, Consumer, Delivered, Error, EventLog, OpenError, Pace, Partition, Record, Subscription,
    Tail, Topic, TopicSpec, metrics, rules,
};

/// The log in a file of this process.
pub(crate) struct EmbeddedLog {
    engine: Arc<Engine>,
}

impl EmbeddedLog {
    /// Opens or makes the file at `path` and starts the tasks of the log.
    pub(crate) async fn open(
        path: PathBuf,
        config: Config,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        spawner: Spawner,
    ) -> Result<Self, OpenError> {
        config.check()?;
        metrics::describe();
        let (file, mut connection) = File::open(path).await?;
        let loaded = load(&file, &mut connection)
            .await
            .map_err(|error| file.storage(error))?;
        let engine = Arc::new(Engine {
            memory: Mutex::new(Memory::new(
                loaded.lanes,
                config.memory_bytes,
                config.backlog_bytes,
            )),
            config,
            clock,
            ids,
            spawner,
            file,
            generation: loaded.generation,
            groups: Mutex::new(loaded.groups),
            topics: RwLock::new(loaded.topics),
            writer: tokio::sync::Mutex::new(Writer(Some(connection))),
            wake: Arc::new(Notify::new()),
            failed: CancellationToken::new(),
        });
        writer::start(&engine);
        retention::start(&engine);
        Ok(Self { engine })
    }
}

struct Loaded {
    lanes: Vec<Lane>,
    topics: HashMap<Arc<str>, Arc<OpenTopic>>,
    groups: Groups,
    generation: i64,
}

/// Reads the tables and marks the log as open. After a stop without order every partition goes on above
/// all that was ever reserved, by the file or by the mark beside it.
async fn load(file: &File, connection: &mut SqliteConnection) -> Result<Loaded, kit::BoxError> {
    let (opened, is_clean) = store::state(connection).await?;
    let mark = file.mark()?;
    // A file with another count than the mark's is an older copy; a file without mark may be one.
    let is_in_order = is_clean && mark.map_or(opened == 0, |mark| mark.generation == opened);
    let marked = mark.map_or(0, |mark| mark.reserved);
    let generation = mark.map_or(opened, |mark| mark.generation.max(opened)) + 1;

    let (mut lanes, mut topics) = (Vec::new(), HashMap::new());
    let mut slots: HashMap<i64, Slot> = HashMap::new();
    for topic in store::topics(connection).await? {
        let first = lanes.len();
        for (number, stored) in (0..).zip(store::partitions(connection, &topic.name).await?) {
            let next = if is_in_order {
                stored.next
            } else {
                stored.reserved.max(marked)
            };
            slots.insert(stored.id, lanes.len());
            let partition = Partition {
                topic: Arc::clone(&topic.name),
                topic_id: topic.id,
                number,
            };
            lanes.push(Lane::new(stored.id, partition, stored.low, next, next));
        }
        topics.insert(
            Arc::clone(&topic.name),
            Arc::new(OpenTopic::new(topic, first)),
        );
    }
    let mut groups = Groups::default();
    for stored in store::positions(connection).await? {
        if let Some(slot) = slots.get(&stored.row) {
            groups.load_position(stored.group.into(), *slot, stored.position);
        }
    }
    let mut memory = Memory::new(lanes, 0, 0);
    let reservations = memory.reservations();
    store::begin(connection, Level::Disk).await?;
    store::reserve(connection, &reservations).await?;
    store::set_open(connection, generation).await?;
    store::commit(connection).await?;
    memory.mark_reserved(&reservations);
    let reserved = memory.highest_reserved().max(marked);
    file.set_mark(Mark {
        generation,
        reserved,
    })
    .await?;
    Ok(Loaded {
        lanes: memory.into_lanes(),
        topics,
        groups,
        generation,
    })
}

impl Engine {
    async fn ensure(&self, specs: &[TopicSpec]) -> Result<Vec<Topic>, Error> {
        let mut writer = self.writer.lock().await;
        let mut missing: Vec<Topic> = Vec::new();
        let mut topics = Vec::with_capacity(specs.len());
        for spec in specs {
            let is_wanted = |topic: &&Topic| topic.name == spec.name;
            let open = self.topics.read().get(&spec.name).cloned();
            let known = open
                .map(|open| open.topic.clone())
                .or_else(|| missing.iter().find(is_wanted).cloned());
            let topic = known.unwrap_or_else(|| {
                let topic = Topic {
                    name: Arc::clone(&spec.name),
                    id: self.ids.next(),
                    partitions: spec.partitions,
                };
                missing.push(topic.clone());
                topic
            });
            if topic.partitions != spec.partitions {
                return Err(Error::PartitionMismatch {
                    topic: spec.name.to_string(),
                    wanted: spec.partitions,
                    found: topic.partitions,
                });
            }
            topics.push(topic);
        }
        if !missing.is_empty() {
            self.add_topics(&mut writer, missing).await?;
        }
        Ok(topics)
    }

    /// Adds all of them or none.
    async fn add_topics(&self, writer: &mut Writer, topics: Vec<Topic>) -> Result<(), Error> {
        self.memory.lock().check_writable()?;
        let rows = self
            .transact(writer, async |connection| {
                store::begin(connection, Level::Disk).await?;
                let mut rows = Vec::with_capacity(topics.len());
                for topic in &topics {
                    rows.push(store::add_topic(connection, topic, BLOCK).await?);
                }
                store::commit(connection).await?;
                Ok(rows)
            })
            .await?;
        let reserved = self.memory.lock().highest_reserved().max(BLOCK);
        self.set_mark(reserved).await?;
        for (topic, row) in topics.into_iter().zip(rows) {
            let lanes = (0..topic.partitions).map(|number| {
                let partition = Partition {
                    topic: Arc::clone(&topic.name),
                    topic_id: topic.id,
                    number,
                };
                Lane::new(row + i64::from(number), partition, 0, 0, BLOCK)
            });
            let first = self.memory.lock().add(lanes.collect());
            let name = Arc::clone(&topic.name);
            let open = Arc::new(OpenTopic::new(topic, first));
            self.topics.write().insert(name, open);
        }
        Ok(())
    }

    async fn append(
        self: &Arc<Self>,
        topic: &OpenTopic,
        mut records: Vec<Record>,
    ) -> Result<(), Error> {
        let partitions = topic.topic.partitions;
        let bytes: usize = records
            .iter()
            .map(|record| record.key.len() + record.value.len())
            .sum();
        let slots: Vec<Slot> = records
            .iter()
            .map(|record| topic.first + rules::partition_of(&record.key, partitions) as usize)
            .collect();
        let deadline = Instant::now() + self.config.append_timeout;
        loop {
            let is_taken = self
                .memory
                .lock()
                .append(&slots, &mut records, self.clock.now_ms())?;
            if is_taken {
                break;
            }
            let engine = Arc::clone(self);
            let write = self.to_the_end("event log write", async move {
                engine.write(Level::Process).await
            });
            match tokio::time::timeout_at(deadline, write).await {
                Ok(result) => result?,
                Err(_) => return Err(Error::Unavailable("there was no room in time".to_owned())),
            }
        }
        self.wake.notify_one();
        topic.wake_readers();
        let name = &topic.topic.name;
        ::metrics::counter!(metrics::APPENDED_RECORDS, "topic" => Arc::clone(name))
            .increment(slots.len() as u64);
        ::metrics::counter!(metrics::APPENDED_BYTES, "topic" => Arc::clone(name))
            .increment(bytes as u64);
        Ok(())
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    async fn ensure(&self, topics: &[TopicSpec]) -> Result<Vec<Topic>, Error> {
        topics.iter().try_for_each(rules::check_topic)?;
        let (engine, specs) = (Arc::clone(&self.engine), topics.to_vec());
        self.engine
            .to_the_end(
                "event log topics",
                async move { engine.ensure(&specs).await },
            )
            .await
    }

    async fn append(&self, topic: &str, records: Vec<Record>) -> Result<(), Error> {
        rules::check_records(&records)?;
        let topic = self.engine.topic(topic)?;
        self.engine.append(&topic, records).await
    }

    async fn flush(&self) -> Result<(), Error> {
        self.engine.flush().await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, Error> {
        Ok(Box::new(EmbeddedConsumer::join(
            Arc::clone(&self.engine),
            subscription,
        )?))
    }

    async fn tail(&self, topic: &str, _pace: Pace) -> Result<Box<dyn Tail>, Error> {
        let topic = self.engine.topic(topic)?;
        Ok(Box::new(EmbeddedTail::new(Arc::clone(&self.engine), topic)))
    }

    async fn watermarks(&self, topic: &str) -> Result<Vec<(i64, i64)>, Error> {
        let topic = self.engine.topic(topic)?;
        let memory = self.engine.memory.lock();
        Ok(topic.slots().map(|slot| memory.bounds(slot)).collect())
    }

    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: i64,
        max: usize,
    ) -> Result<Vec<Delivered>, Error> {
        let topic = self.engine.topic(topic)?;
        if partition >= topic.topic.partitions {
            return Err(Error::Invalid(format!(
                "topic {} has no partition {partition}",
                topic.topic.name
            )));
        }
        let slot = topic.first + partition as usize;
        let (low, high) = self.engine.memory.lock().bounds(slot);
        let mut from = from.clamp(low, high);
        let limits = Limits {
            records: max.max(1),
            bytes: POLL_BYTES,
        };
        loop {
            let (records, next) = self.engine.read(slot, from, limits).await?;
            if !records.is_empty() || next == from {
                return Ok(records);
            }
            from = next;
        }
    }

    async fn check(&self) -> Result<(), Error> {
        self.engine.memory.lock().check()
    }

    async fn close(&self) {
        self.engine.close().await;
    }
}
