//! From the outbox to the log, in order, until it is there.

use std::{
    collections::HashMap,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use contracts::events::Topics;
use eventlog::{EventLog, Partition, Record};
use kit::{Backoff, CancellationToken};
use parking_lot::Mutex;

use crate::domain::{Outgoing, Target};

/// The consumer group of the persist topic; its dead letters carry its name.
pub(crate) const GROUP: &str = "message";

/// The most that is appended at once, in bytes, beside a first record that is larger.
const PIECE: usize = 1 << 20;

/// Publishes what a commit produced.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) token: CancellationToken,
}

impl Publisher {
    /// Appends everything in order. While the log is away it waits and tries again: the rows are
    /// committed, and what follows may not overtake them. `false` when the node stops meanwhile.
    ///
    /// A try that failed half-way is repeated whole; readers ignore a second `(chat, o)`.
    pub(crate) async fn publish(&self, outgoing: Vec<Outgoing>) -> bool {
        let dead = self.topics.dead_letters(GROUP);
        let (mut forward, mut feed, mut dead_letters) = (Vec::new(), Vec::new(), Vec::new());
        for out in outgoing {
            let list = match out.target {
                Target::Forward => &mut forward,
                Target::Feed => &mut feed,
                Target::Dead => &mut dead_letters,
            };
            list.push(Record {
                key: out.key,
                value: out.value,
            });
        }
        for (topic, records) in [
            (&self.topics.forward_message, forward),
            (&self.topics.ai_feed, feed),
            (&dead, dead_letters),
        ] {
            for records in pieces(records) {
                if !self.append(topic, records).await {
                    return false;
                }
            }
        }
        true
    }

    async fn append(&self, topic: &str, records: Vec<Record>) -> bool {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            match self.log.append(topic, records.clone()).await {
                Ok(()) => return true,
                Err(error) => tracing::warn!(topic, %error, "publishing failed; trying again"),
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                () = self.token.cancelled() => return false,
            }
        }
    }
}

/// What the batch before led to, on its way to the log while the next one is stored. There is never a second one.
#[derive(Default)]
pub(crate) struct Publishing<'a>(Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>>);

impl<'a> Publishing<'a> {
    /// Waits for what is under way, and begins `next`.
    pub(crate) async fn begin(&mut self, next: impl Future<Output = ()> + Send + 'a) {
        self.finish().await;
        self.0 = Some(Box::pin(next));
    }

    /// Does `work`, and goes on with what is under way meanwhile.
    pub(crate) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        while let Some(publishing) = &mut self.0 {
            tokio::select! {
                done = &mut work => return done,
                () = publishing => self.0 = None,
            }
        }
        work.await
    }

    /// Waits for what is under way.
    pub(crate) async fn finish(&mut self) {
        if let Some(publishing) = &mut self.0 {
            publishing.await;
            self.0 = None;
        }
    }
}

/// Cuts what is to be appended, so that no append is too large for the log.
fn pieces(records: Vec<Record>) -> Vec<Vec<Record>> {
    let (mut pieces, mut bytes) = (Vec::<Vec<Record>>::new(), 0);
    for record in records {
        bytes += record.key.len() + record.value.len();
        match pieces.last_mut() {
            Some(piece) if bytes <= PIECE => piece.push(record),
            _ => {
                bytes = record.key.len() + record.value.len();
                pieces.push(vec![record]);
            }
        }
    }
    pieces
}

/// How far each partition's outbox was appended, and how far the log has flushed that.
///
/// Nothing waits for the flush: a task asks for it now and then, and the mark rides in the next batch.
#[derive(Clone, Default)]
pub(crate) struct Marks(Arc<Mutex<HashMap<Partition, Mark>>>);

#[derive(Clone, Copy, Default)]
struct Mark {
    appended: i64,
    flushed: i64,
}

impl Marks {
    /// How often the log is asked to flush while there is something to mark.
    const EVERY: Duration = Duration::from_millis(500);

    pub(crate) fn appended(&self, partition: &Partition, n: i64) {
        self.0.lock().entry(partition.clone()).or_default().appended = n;
    }

    pub(crate) fn appended_to(&self, partition: &Partition) -> i64 {
        self.0.lock().get(partition).map_or(0, |mark| mark.appended)
    }

    pub(crate) fn flushed(&self, partition: &Partition) -> i64 {
        self.0.lock().get(partition).map_or(0, |mark| mark.flushed)
    }

    pub(crate) fn forget(&self, partition: &Partition) {
        self.0.lock().remove(partition);
    }

    /// Flushes while there is something to mark, until the node stops.
    pub(crate) async fn run(
        self,
        log: Arc<dyn EventLog>,
        token: CancellationToken,
    ) -> Result<(), kit::BoxError> {
        let mut tick = tokio::time::interval(Self::EVERY);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = token.cancelled() => return Ok(()),
            }
            let waiting: Vec<_> = {
                let marks = self.0.lock();
                let waiting = marks
                    .iter()
                    .filter(|(_, mark)| mark.appended > mark.flushed);
                waiting
                    .map(|(partition, mark)| (partition.clone(), mark.appended))
                    .collect()
            };
            if waiting.is_empty() {
                continue;
            }
            if let Err(error) = log.flush().await {
                tracing::warn!(%error, "what was published is not on the disk yet; trying again");
                continue;
            }
            let mut marks = self.0.lock();
            for (partition, n) in waiting {
                if let Some(mark) = marks.get_mut(&partition) {
                    mark.flushed = mark.flushed.max(n);
                }
            }
        }
    }
}
