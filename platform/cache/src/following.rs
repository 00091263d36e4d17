//! Following a set of channels that changes, across losses of the cache.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use kit::Backoff;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{Cache, Error, Subscriber, SubscriberHandle};

/// Channels that are added or removed at once; a server is told of them together.
const AT_ONCE: usize = 256;

/// Who listens: which channels it wants, and what it does with what comes along them.
pub trait Audience: Sync {
    /// All channels that are wanted now.
    fn channels(&self) -> Vec<String>;

    /// Whether `channel` is wanted now.
    fn wants(&self, channel: &str) -> bool;

    /// Something was published. Returns at once: what comes next waits for it.
    fn hear(&self, channel: &str, payload: Bytes);

    /// Everything that was wanted is heard from now on; what was published before may have been missed.
    fn begins(&self) {}
}

/// Keeps one subscriber at the channels that its [`Audience`] wants.
#[derive(Default)]
pub struct Following {
    /// Channels that may be wanted now or not any more; `None` while there is no subscriber to tell.
    changed: Mutex<Option<HashSet<String>>>,
    has_changed: Notify,
}

impl Following {
    /// `channel` has become wanted, or is not any more: whoever changes that calls this afterwards.
    pub fn change(&self, channel: String) {
        if let Some(changed) = &mut *self.changed.lock() {
            changed.insert(channel);
            self.has_changed.notify_one();
        }
    }

    /// Follows for good. While the cache is away nothing is heard, and it is asked again every two seconds at the latest.
    pub async fn follow(&self, cache: &dyn Cache, audience: &impl Audience) {
        let waits = || Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
        let mut backoff = waits();
        loop {
            if let Ok(mut subscriber) = cache.subscriber().await {
                backoff = waits();
                let handle = subscriber.handle();
                tokio::select! {
                    () = hear(subscriber.as_mut(), audience) => {}
                    _ = self.keep(&handle, audience) => {}
                }
                *self.changed.lock() = None;
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Adds and removes channels until the cache does not answer.
    async fn keep(&self, handle: &SubscriberHandle, audience: &impl Audience) -> Result<(), Error> {
        // What changes from here on is noted; what changed before is in the list.
        *self.changed.lock() = Some(HashSet::new());
        settle(handle, audience, &audience.channels()).await?;
        audience.begins();
        loop {
            self.has_changed.notified().await;
            let changed = self.changed.lock().as_mut().map(std::mem::take);
            let changed: Vec<_> = changed.into_iter().flatten().collect();
            settle(handle, audience, &changed).await?;
        }
    }
}

async fn settle(
    handle: &SubscriberHandle,
    audience: &impl Audience,
    channels: &[String],
) -> Result<(), Error> {
    for some in channels.chunks(AT_ONCE) {
        let settling = some
            .iter()
            .map(|channel| settle_one(handle, audience, channel));
        join_all(settling)
            .await
            .into_iter()
            .collect::<Result<(), _>>()?;
    }
    Ok(())
}

async fn settle_one(
    handle: &SubscriberHandle,
    audience: &impl Audience,
    channel: &str,
) -> Result<(), Error> {
    if audience.wants(channel) {
        handle.add(channel).await
    } else {
        handle.remove(channel).await
    }
}

async fn hear(subscriber: &mut dyn Subscriber, audience: &impl Audience) {
    while let Some((channel, payload)) = subscriber.next().await {
        audience.hear(&channel, payload);
    }
}
