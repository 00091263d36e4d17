//! The one reader of the forward topic in this process.
//!
//! It hands records to chats and people and never waits for a socket. What the topic loses, streams
//! fetch from the database; when the reader itself loses its place, every client comes back with resume.

use std::{
    sync::atomic::Ordering::{Acquire, Release},
    time::Duration,
};

use contracts::frames::Lane;
use eventlog::{Delivered, Error};
use kit::{Backoff, BoxError, CancellationToken};
use tokio::time::MissedTickBehavior;

use super::Gateway;
use crate::metrics;

/// Records of one read.
const BATCH: usize = 512;

impl Gateway {
    /// Reads the forward topic from its present end until the node stops.
    ///
    /// # Errors
    /// The log's, after every connection was told to come back.
    pub(crate) async fn follow_forward(&self, stop: CancellationToken) -> Result<(), BoxError> {
        let mut tail = self.log.tail(&self.names.forward_message).await?;
        self.is_following.store(true, Release);
        let waits = || Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = waits();
        let failure = loop {
            let records = tokio::select! {
                records = tail.next(BATCH) => records,
                () = stop.cancelled() => return Ok(()),
            };
            let records = match records {
                Ok(records) => records,
                // The place is kept: what happens meanwhile comes later.
                Err(Error::Unavailable(why)) => {
                    tracing::warn!(why, "the forward topic cannot be read; trying again");
                    stop.run_until_cancelled(tokio::time::sleep(backoff.next_wait()))
                        .await;
                    continue;
                }
                Err(error) => break error,
            };
            backoff = waits();
            metrics::forwarded(records.len());
            self.deliver(&records);
            tokio::task::yield_now().await;
        };
        self.is_following.store(false, Release);
        self.hub.restart_all("restart");
        Err(failure.into())
    }

    /// What was read together is written together.
    fn deliver(&self, records: &[Delivered]) {
        let mut burst = self.hub.burst();
        for record in records {
            match Lane::parse(&record.key) {
                Some(Lane::Chat(chat)) => self.topics.deliver(chat, &record.value, &mut burst),
                Some(Lane::User(user)) => self.people.deliver(user, &record.value, &self.topics),
                None => {}
            }
        }
    }

    /// Whether what happens reaches the connections of this process.
    pub(crate) fn is_following(&self) -> bool {
        self.is_following.load(Acquire)
    }

    /// Sends hints whose time has come, until the node stops.
    pub(crate) async fn send_hints(&self, stop: CancellationToken) -> Result<(), BoxError> {
        let mut ticks = tokio::time::interval(Duration::from_millis(250));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.topics.send_hints(),
                () = stop.cancelled() => return Ok(()),
            }
        }
    }
}
