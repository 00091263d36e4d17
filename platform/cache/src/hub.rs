//! Publish and subscribe inside one process. What comes from a server is handed on by the same hub.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use metrics::Counter;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::{Channels, Error, Subscriber, SubscriberHandle};

/// What one slow subscriber may hold back.
const QUEUE_PAYLOADS: usize = 4096;
const QUEUE_BYTES: usize = 4 << 20;

/// Who listens to what.
pub(crate) struct Hub {
    channels: RwLock<HashMap<Arc<str>, Vec<Arc<Queue>>>>,
    dropped: Counter,
}

/// What waits for one subscriber, and its channels. The lock of the hub is taken before the locks in here.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    ready: Notify,
    /// `None` when the subscriber is gone: a handle that is left can add nothing then.
    channels: Mutex<Option<HashSet<Arc<str>>>>,
}

#[derive(Default)]
struct Waiting {
    payloads: VecDeque<(Arc<str>, Bytes)>,
    bytes: usize,
}

impl Queue {
    fn push(&self, channel: &Arc<str>, payload: &Bytes, dropped: &Counter) {
        let mut waiting = self.waiting.lock();
        waiting.bytes += payload.len();
        waiting
            .payloads
            .push_back((channel.clone(), payload.clone()));
        while waiting.payloads.len() > QUEUE_PAYLOADS
            || (waiting.bytes > QUEUE_BYTES && waiting.payloads.len() > 1)
        {
            waiting.pop();
            dropped.increment(1);
        }
        drop(waiting);
        self.ready.notify_one();
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<(Arc<str>, Bytes)> {
        let (channel, payload) = self.payloads.pop_front()?;
        self.bytes -= payload.len();
        Some((channel, payload))
    }
}

impl Hub {
    pub(crate) fn new(dropped: Counter) -> Self {
        Self {
            channels: RwLock::default(),
            dropped,
        }
    }

    pub(crate) fn publish(&self, channel: &str, payload: &Bytes) {
        let channels = self.channels.read();
        if let Some((channel, queues)) = channels.get_key_value(channel) {
            for queue in queues {
                queue.push(channel, payload, &self.dropped);
            }
        }
    }

    /// Whether anybody listens to `channel`.
    pub(crate) fn has(&self, channel: &str) -> bool {
        self.channels.read().contains_key(channel)
    }

    pub(crate) fn subscriber(self: &Arc<Self>) -> Listener {
        let queue = Queue {
            channels: Mutex::new(Some(HashSet::new())),
            ..Queue::default()
        };
        Listener(Arc::new(Subscription {
            hub: self.clone(),
            queue: Arc::new(queue),
        }))
    }

    fn leave(channels: &mut HashMap<Arc<str>, Vec<Arc<Queue>>>, channel: &str, queue: &Arc<Queue>) {
        if let Some(queues) = channels.get_mut(channel) {
            queues.retain(|other| !Arc::ptr_eq(other, queue));
            if queues.is_empty() {
                channels.remove(channel);
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.channels.read().len()
    }
}

/// A subscriber's place in the hub.
pub(crate) struct Subscription {
    hub: Arc<Hub>,
    queue: Arc<Queue>,
}

impl Subscription {
    /// Adds a channel, unless the subscriber is gone.
    pub(crate) fn join(&self, channel: &str) {
        let mut channels = self.hub.channels.write();
        let name = channels
            .get_key_value(channel)
            .map_or_else(|| channel.into(), |(name, _)| name.clone());
        if self
            .queue
            .channels
            .lock()
            .as_mut()
            .is_some_and(|own| own.insert(name.clone()))
        {
            channels.entry(name).or_default().push(self.queue.clone());
        }
    }

    /// Removes a channel.
    pub(crate) fn leave(&self, channel: &str) {
        let mut channels = self.hub.channels.write();
        if self
            .queue
            .channels
            .lock()
            .as_mut()
            .is_some_and(|own| own.remove(channel))
        {
            Hub::leave(&mut channels, channel, &self.queue);
        }
    }

    /// Removes all channels for good; the answer is which they were.
    pub(crate) fn close(&self) -> HashSet<Arc<str>> {
        let mut channels = self.hub.channels.write();
        let own = self.queue.channels.lock().take().unwrap_or_default();
        for channel in &own {
            Hub::leave(&mut channels, channel, &self.queue);
        }
        own
    }
}

#[async_trait]
impl Channels for Subscription {
    async fn add(&self, channel: &str) -> Result<(), Error> {
        self.join(channel);
        Ok(())
    }

    async fn remove(&self, channel: &str) -> Result<(), Error> {
        self.leave(channel);
        Ok(())
    }
}

/// The subscriber of the process's own memory.
pub(crate) struct Listener(Arc<Subscription>);

impl Listener {
    pub(crate) fn subscription(&self) -> &Arc<Subscription> {
        &self.0
    }
}

#[async_trait]
impl Subscriber for Listener {
    fn handle(&self) -> SubscriberHandle {
        SubscriberHandle::new(self.0.clone())
    }

    async fn next(&mut self) -> Option<(String, Bytes)> {
        let queue = &self.0.queue;
        loop {
            if let Some((channel, payload)) = queue.waiting.lock().pop() {
                return Some((channel.to_string(), payload));
            }
            // A payload that came since the look leaves a permit, so this returns at once.
            queue.ready.notified().await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> Arc<Hub> {
        Arc::new(Hub::new(Counter::noop()))
    }

    #[tokio::test]
    async fn a_subscriber_that_does_not_read_holds_a_bounded_number_of_the_newest() {
        let hub = hub();
        let mut subscriber = hub.subscriber();
        subscriber.handle().add("c").await.unwrap();
        for n in 0..QUEUE_PAYLOADS + 10 {
            hub.publish("c", &Bytes::from(n.to_string()));
        }
        assert_eq!(
            subscriber.0.queue.waiting.lock().payloads.len(),
            QUEUE_PAYLOADS
        );
        assert_eq!(subscriber.next().await.unwrap().1, "10");
        let large = Bytes::from(vec![0; QUEUE_BYTES / 2]);
        for _ in 0..3 {
            hub.publish("c", &large);
        }
        assert_eq!(subscriber.0.queue.waiting.lock().payloads.len(), 2);
    }

    #[tokio::test]
    async fn a_dropped_subscriber_leaves_nothing_behind_and_its_handles_add_nothing() {
        let hub = hub();
        let subscriber = hub.subscriber();
        let handle = subscriber.handle();
        handle.add("a").await.unwrap();
        handle.add("b").await.unwrap();
        handle.remove("a").await.unwrap();
        assert_eq!(hub.len(), 1);
        drop(subscriber);
        assert_eq!(hub.len(), 0);
        handle.add("c").await.unwrap();
        assert_eq!(hub.len(), 0);
    }
}
