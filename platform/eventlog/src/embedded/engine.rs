//! What the parts of the embedded log share, and how a part reads.

use std::{collections::HashMap, sync::Arc};

use kit::{Clock, Ids, Spawner};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    file::File,
    groups::Groups,
    memory::{Limits, Memory, Slot, State, Stretch},
    store,
    writer::Writer,
};
use crate::{Config, Delivered, Error, Partition, Topic, metrics};

/// Payload bytes that one poll brings at most, beside a first record that is larger.
pub(super) const POLL_BYTES: usize = 8 << 20;

/// A topic in use. Its partitions have the slots from `first` on.
pub(super) struct OpenTopic {
    pub(super) topic: Topic,
    pub(super) first: Slot,
    /// Who is woken by an append.
    readers: RwLock<Vec<Arc<Notify>>>,
}

impl OpenTopic {
    pub(super) fn new(topic: Topic, first: Slot) -> Self {
        Self {
            topic,
            first,
            readers: RwLock::default(),
        }
    }

    pub(super) fn slots(&self) -> std::ops::Range<Slot> {
        self.first..self.first + self.topic.partitions as usize
    }

    pub(super) fn wake_readers(&self) {
        for reader in self.readers.read().iter() {
            reader.notify_one();
        }
    }
}

/// Wakes a reader at every append to its topics, until dropped.
pub(super) struct Listening {
    topics: Vec<Arc<OpenTopic>>,
    wake: Arc<Notify>,
}

impl Listening {
    pub(super) fn to(topics: Vec<Arc<OpenTopic>>, wake: Arc<Notify>) -> Self {
        for topic in &topics {
            topic.readers.write().push(Arc::clone(&wake));
        }
        Self { topics, wake }
    }

    pub(super) async fn wait(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        for topic in &self.topics {
            topic
                .readers
                .write()
                .retain(|wake| !Arc::ptr_eq(wake, &self.wake));
        }
    }
}

/// The running log. Locks are taken in the order groups, memory, and never across an await.
pub(super) struct Engine {
    pub(super) config: Config,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn Ids>,
    pub(super) spawner: Spawner,
    pub(super) file: File,
    pub(super) generation: i64,
    pub(super) memory: Mutex<Memory>,
    pub(super) groups: Mutex<Groups>,
    pub(super) topics: RwLock<HashMap<Arc<str>, Arc<OpenTopic>>>,
    pub(super) writer: tokio::sync::Mutex<Writer>,
    /// Something waits to be written.
    pub(super) wake: Arc<Notify>,
    pub(super) failed: CancellationToken,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

impl Engine {
    pub(super) fn topic(&self, name: &str) -> Result<Arc<OpenTopic>, Error> {
        let topic = self.topics.read().get(name).cloned();
        topic.ok_or_else(|| Error::Invalid(format!("there is no topic {name} in the event log")))
    }

    /// The slot of a partition, if it is one of this log.
    pub(super) fn slot(&self, partition: &Partition) -> Result<Slot, Error> {
        let topic = self.topic(&partition.topic)?;
        if topic.topic.id != partition.topic_id || partition.number >= topic.topic.partitions {
            let Partition {
                topic,
                number,
                topic_id,
            } = partition;
            return Err(Error::Invalid(format!(
                "there is no partition {number} of {topic} with id {topic_id}"
            )));
        }
        Ok(topic.first + partition.number as usize)
    }

    /// Records of one partition from `from` on and where to go on. Without any progress in the second
    /// there is nothing to read now.
    pub(super) async fn read(
        &self,
        slot: Slot,
        from: i64,
        limits: Limits,
    ) -> Result<(Vec<Delivered>, i64), Error> {
        let stretch = {
            let memory = self.memory.lock();
            memory.check_readable()?;
            memory.read(slot, from, limits)?
        };
        let (row, partition, until) = match stretch {
            Stretch::Here(records, next) => return Ok((records, next)),
            Stretch::InFile {
                row,
                partition,
                until,
            } => (row, partition, until),
        };
        let read = store::read(&self.file.readers, row, &partition, from, until, limits).await;
        let found =
            read.map_err(|error| Error::Unavailable(format!("reading the file failed: {error}")))?;
        // What retention removed while the file was read would be a silent hole.
        self.memory.lock().check_position(slot, from)?;
        Ok(found)
    }

    /// Runs `work` to its end even when the caller goes away: an unfinished commit, or the error of an
    /// fsync, must not go unseen.
    pub(super) async fn to_the_end<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        self.spawner.spawn(name, async move {
            // Nobody waits any more: the work is done all the same.
            let _ = sender.send(work.await);
        });
        receiver
            .await
            .unwrap_or_else(|_| Err(Error::Unavailable("the process stops".to_owned())))
    }

    /// The file failed. `is_final` says that nothing may be written any more.
    pub(super) fn note_failure(&self, why: &str, is_final: bool) -> Error {
        let mut memory = self.memory.lock();
        match (&memory.state, is_final) {
            (State::Failed(_) | State::Closed, _) => {}
            (State::Open | State::Troubled(_), true) => {
                tracing::error!(
                    error = why,
                    "the event log has failed for good; restart the process"
                );
                ::metrics::gauge!(metrics::FAILED).set(1.0);
                memory.state = State::Failed(why.to_owned());
                self.failed.cancel();
            }
            (State::Open, false) => {
                tracing::error!(
                    error = why,
                    "the event log cannot be written and refuses appends"
                );
                memory.state = State::Troubled(why.to_owned());
            }
            (State::Troubled(_), false) => memory.state = State::Troubled(why.to_owned()),
        }
        Error::Unavailable(why.to_owned())
    }

    /// The file could be written.
    pub(super) fn note_success(&self) {
        let mut memory = self.memory.lock();
        ::metrics::gauge!(metrics::BACKLOG_BYTES).set(metrics::level(memory.backlog() as u64));
        if matches!(memory.state, State::Troubled(_)) {
            tracing::info!("the event log can be written again");
            memory.state = State::Open;
        }
    }
}
