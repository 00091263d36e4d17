//! The channels of the cache in which texts grow. Without the cache nothing is lost but pieces.

use std::{collections::HashSet, time::Duration};

use cache::{Cache, Subscriber, SubscriberHandle};
use contracts::frames::{self, Head, Lane};
use kit::Backoff;
use parking_lot::Mutex;
use realtime::Listeners;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::api::Gate;

/// Whose channels may have to be followed, or left.
#[derive(Default)]
pub(crate) struct Pieces {
    /// Those whose first connection came or whose last one went.
    changed: Mutex<HashSet<Uuid>>,
    has_changed: Notify,
}

impl Pieces {
    pub(crate) fn change(&self, user: Uuid) {
        self.changed.lock().insert(user);
        self.has_changed.notify_one();
    }

    /// Follows the channels of those who are here, for good.
    pub(crate) async fn follow(&self, cache: &dyn Cache, people: &Listeners<Gate>) {
        let waits = || Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
        let mut backoff = waits();
        loop {
            if let Ok(mut subscriber) = cache.subscriber().await {
                backoff = waits();
                let handle = subscriber.handle();
                tokio::select! {
                    () = receive(subscriber.as_mut(), people) => {}
                    () = self.keep_channels(&handle, people) => {}
                }
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Subscribes to the channels of those who are here; returns when the cache does not answer.
    async fn keep_channels(&self, handle: &SubscriberHandle, people: &Listeners<Gate>) {
        self.changed.lock().extend(people.people());
        loop {
            let changed = std::mem::take(&mut *self.changed.lock());
            for user in changed {
                let channel = format!("u:{user}");
                let done = if people.is_here(user) {
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

async fn receive(subscriber: &mut dyn Subscriber, people: &Listeners<Gate>) {
    while let Some((channel, frame)) = subscriber.next().await {
        let Some(Lane::User(user)) = Lane::parse(channel.as_bytes()) else {
            continue;
        };
        let is_piece = Head::parse(&frame)
            .is_ok_and(|head| matches!(head.t.as_ref(), frames::AI_DELTA | frames::AI_SNAP));
        if is_piece {
            people.hint(user.0, &frame);
        }
    }
}
