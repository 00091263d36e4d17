//! The subscribers of one connection: what it receives goes to the hub of the process, and the channels that anybody here
//! listens to are those that the server sends.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use redis::{RedisResult, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{PREFIX, line::Link};
use crate::{
    Channels, Error, Subscriber, SubscriberHandle,
    hub::{Hub, Listener, Subscription},
    metrics::{self, Calls},
};

/// The hub of a connection, and what is to be told to the server.
pub(super) struct Exchange {
    hub: Arc<Hub>,
    /// Channels that somebody joined or left since the server was told, and who waits for that.
    unsettled: Mutex<HashMap<Arc<str>, Vec<oneshot::Sender<()>>>>,
    has_changed: Notify,
}

impl Exchange {
    pub(super) fn new() -> Self {
        Self {
            hub: Arc::new(Hub::new(metrics::dropped())),
            unsettled: Mutex::default(),
            has_changed: Notify::new(),
        }
    }

    /// Takes a message of the server in: its channel and its payload.
    pub(super) fn receive(&self, message: Vec<Value>) {
        let Ok([Value::BulkString(channel), Value::BulkString(payload)]) =
            <[Value; 2]>::try_from(message)
        else {
            return;
        };
        let channel = std::str::from_utf8(&channel).ok();
        if let Some(channel) = channel.and_then(|channel| channel.strip_prefix(PREFIX)) {
            self.hub.publish(channel, &Bytes::from(payload));
        }
    }

    /// Returns when there is something to settle.
    pub(super) async fn changed(&self) {
        self.has_changed.notified().await;
    }

    /// Tells the server which of the changed channels are listened to now. Each change is followed by another settling,
    /// so in the end the server knows the truth, in whatever order things happen here.
    pub(super) async fn settle(&self, mut connection: MultiplexedConnection) -> RedisResult<()> {
        let changed = std::mem::take(&mut *self.unsettled.lock());
        let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
        for channel in changed.keys() {
            let list = if self.hub.has(channel) {
                &mut wanted
            } else {
                &mut unwanted
            };
            list.push(format!("{PREFIX}{channel}"));
        }
        if !wanted.is_empty() {
            connection.subscribe(wanted).await?;
        }
        if !unwanted.is_empty() {
            connection.unsubscribe(unwanted).await?;
        }
        for waiting in changed.into_values().flatten() {
            // Who does not wait any more need not know.
            let _ = waiting.send(());
        }
        Ok(())
    }

    /// Has `channel` settled; the answer comes when it is.
    fn unsettle(&self, channel: &str) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let mut unsettled = self.unsettled.lock();
        unsettled.entry(channel.into()).or_default().push(tell);
        drop(unsettled);
        self.has_changed.notify_one();
        told
    }
}

/// A subscriber as long as its connection lives.
pub(super) struct Remote {
    listener: Listener,
    place: Arc<Place>,
}

struct Place {
    subscription: Arc<Subscription>,
    link: Link,
    calls: Calls,
}

impl Remote {
    pub(super) fn new(link: Link, calls: Calls) -> Self {
        let listener = link.exchange().hub.subscriber();
        let subscription = listener.subscription().clone();
        Self {
            listener,
            place: Arc::new(Place {
                subscription,
                link,
                calls,
            }),
        }
    }
}

#[async_trait]
impl Subscriber for Remote {
    fn handle(&self) -> SubscriberHandle {
        SubscriberHandle::new(self.place.clone())
    }

    async fn next(&mut self) -> Option<(String, Bytes)> {
        tokio::select! {
            biased;
            next = self.listener.next() => next,
            () = self.place.link.over() => None,
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        for channel in self.place.subscription.close() {
            drop(self.place.link.exchange().unsettle(&channel));
        }
    }
}

impl Place {
    async fn settled(&self, channel: &str) -> Result<(), Error> {
        let started = Instant::now();
        let told = self.link.exchange().unsettle(channel);
        let answer = self.link.told(told).await;
        self.calls.count(started.elapsed(), &answer);
        answer
    }
}

#[async_trait]
impl Channels for Place {
    async fn add(&self, channel: &str) -> Result<(), Error> {
        self.subscription.join(channel);
        self.settled(channel).await
    }

    async fn remove(&self, channel: &str) -> Result<(), Error> {
        self.subscription.leave(channel);
        self.settled(channel).await
    }
}
