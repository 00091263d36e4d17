//! What concerns one person: records with the key of a user, and ephemera from the cache.

use std::{collections::HashSet, sync::Arc, time::Duration};

use cache::{Cache, Subscriber, SubscriberHandle};
use contracts::{
    UserId,
    frames::{self, ChatRef, Head, Lane},
};
use kit::{Backoff, BoxError, CancellationToken};
use parking_lot::Mutex;
use realtime::{Frame, Watchers};
use tokio::sync::Notify;

use super::{topic::Link, topics::Topics};

/// The people who are connected here.
#[derive(Default)]
pub(crate) struct People {
    links: Watchers<UserId, Link>,
    /// People whose first connection came or whose last one went.
    changed: Mutex<HashSet<UserId>>,
    has_changed: Notify,
}

impl People {
    pub(crate) fn join(&self, link: &Arc<Link>) {
        if self.links.watch(link.user, link) {
            self.change(link.user);
        }
    }

    pub(crate) fn leave(&self, link: &Link) {
        if self.links.unwatch(link.user, link) {
            self.change(link.user);
        }
    }

    fn change(&self, user: UserId) {
        self.changed.lock().insert(user);
        self.has_changed.notify_one();
    }

    /// Takes a record of a person in: it goes to all of their connections as it is, and when it says
    /// that their chats have changed, they watch others.
    pub(crate) fn deliver(&self, user: UserId, bytes: &[u8], topics: &Topics) {
        if !self.links.is_watched(&user) {
            return;
        }
        let Ok(head) = Head::parse(bytes) else {
            return tracing::error!(user.id = %user, "a record of user {user} is no frame");
        };
        let frame = Frame::text(bytes);
        let change = matches!(head.t.as_ref(), frames::CHAT_ADDED | frames::CHAT_REMOVED)
            .then(|| head.content::<ChatRef>().ok())
            .flatten();
        self.links.each(&user, |link| {
            match &change {
                Some(added) if head.t == frames::CHAT_ADDED => {
                    topics.own(added.chat, link, 0, added.o);
                }
                Some(removed) => topics.disown(removed.chat, link, removed.o),
                None => {}
            }
            link.lasting_hint(&frame);
        });
    }

    /// Follows the channels of connected people in the cache for as long as the node runs. Without the
    /// cache nothing is lost but what nobody may depend on.
    pub(crate) async fn follow(
        &self,
        cache: &dyn Cache,
        stop: CancellationToken,
    ) -> Result<(), BoxError> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
        loop {
            if let Ok(mut subscriber) = cache.subscriber().await {
                backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
                let handle = subscriber.handle();
                tokio::select! {
                    () = self.receive(subscriber.as_mut()) => {}
                    () = self.keep_channels(&handle) => {}
                    () = stop.cancelled() => return Ok(()),
                }
                tracing::warn!("the cache has ended the subscription to ephemera; beginning anew");
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn receive(&self, subscriber: &mut dyn Subscriber) {
        while let Some((channel, payload)) = subscriber.next().await {
            let Some(Lane::User(user)) = Lane::parse(channel.as_bytes()) else {
                continue;
            };
            let frame = Frame::text(&payload);
            self.links.each(&user, |link| link.hint(&frame, None));
        }
    }

    /// Subscribes to the channels of those who are here; returns when the cache does not answer.
    async fn keep_channels(&self, handle: &SubscriberHandle) {
        self.changed.lock().extend(self.links.keys());
        loop {
            let changed = std::mem::take(&mut *self.changed.lock());
            for user in changed {
                let channel = format!("u:{user}");
                let is_here = self.links.is_watched(&user);
                let done = if is_here {
                    handle.add(&channel).await
                } else {
                    handle.remove(&channel).await
                };
                if done.is_err() {
                    return;
                }
            }
            self.has_changed.notified().await;
        }
    }
}
