//! The one reader of the forward topic in this process.
//!
//! It hands records to chats and people and never waits for a socket. What the topic loses, streams
//! fetch from the database; when the reader itself loses its place, every client comes back with resume.

use std::{
    sync::atomic::Ordering::{Acquire, Release},
    time::Duration,
};

use contracts::frames::Lane;
use eventlog::{Delivered, Pace};
use kit::{BoxError, CancellationToken};
use tokio::time::MissedTickBehavior;

use super::Gateway;
use crate::metrics;

/// Records whose events leave together.
const BURST: usize = 64;

/// Everybody has to come back when it is dropped, which a reader that fails or panics does.
struct Lost<'g>(Option<&'g Gateway>);

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        if let Some(gateway) = self.0 {
            gateway.is_following.store(false, Release);
            gateway.hub.restart_all("restart");
        }
    }
}

impl Gateway {
    /// Reads the forward topic from its present end until the node stops.
    ///
    /// # Errors
    /// The log's, after every connection was told to come back.
    pub(crate) async fn follow_forward(&self, stop: CancellationToken) -> Result<(), BoxError> {
        let tail = self
            .log
            .tail(&self.names.forward_message, Pace::Prompt)
            .await?;
        let mut lost = Lost(Some(self));
        self.is_following.store(true, Release);
        eventlog::follow(tail, &stop, |records| {
            metrics::forwarded(records.len());
            records
                .chunks(BURST)
                .for_each(|records| self.deliver(records));
        })
        .await?;
        lost.0 = None;
        Ok(())
    }

    /// What was read together is written together.
    fn deliver(&self, records: &[Delivered]) {
        let mut burst = self.hub.burst();
        for record in records {
            match Lane::parse(&record.key) {
                Some(Lane::Chat(chat)) => {
                    let left = self.topics.deliver(chat, &record.value, &mut burst);
                    if let Some(user) = left {
                        self.presence.left(user);
                    }
                }
                Some(Lane::User(user)) => {
                    let (topics, presence) = (&self.topics, &self.presence);
                    self.people.deliver(user, &record.value, topics, presence);
                }
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
