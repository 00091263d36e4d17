//! The people who listen here, and what is followed for them: their lane of the log and their channel of the cache.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cache::{Cache, Subscriber, SubscriberHandle};
use contracts::{
    SessionId, UserId,
    auth::Verifier,
    chat::BindingMode,
    frames::{self, Head, Lane},
};
use eventlog::{Error, EventLog};
use kit::{Backoff, BoxError, CancellationToken};
use parking_lot::Mutex;
use realtime::{Close, Frame, Hub, Socket, Watchers};
use serde::Deserialize;
use tokio::sync::Notify;

/// Records of one read.
const BATCH: usize = 512;

/// The people who listen here.
#[derive(Default)]
pub(crate) struct People {
    sockets: Watchers<UserId>,
    is_following: AtomicBool,
    /// Those whose first connection came or whose last one went.
    changed: Mutex<HashSet<UserId>>,
    has_changed: Notify,
}

/// What has to be known of a run to decide whether it is advice.
#[derive(Deserialize)]
struct Kind {
    kind: BindingMode,
}

impl People {
    pub(crate) fn join(&self, user: UserId, socket: &Arc<Socket>) {
        if self.sockets.watch(user, socket) {
            self.change(user);
        }
    }

    pub(crate) fn leave(&self, user: UserId, socket: &Socket) {
        if self.sockets.unwatch(user, socket) {
            self.change(user);
        }
    }

    fn change(&self, user: UserId) {
        self.changed.lock().insert(user);
        self.has_changed.notify_one();
    }

    /// Whether what happens reaches the connections of this process.
    pub(crate) fn is_following(&self) -> bool {
        self.is_following.load(Ordering::Acquire)
    }

    /// Follows the lanes from their present end until the node stops. When the place is lost, everybody comes back.
    pub(crate) async fn follow_lanes(
        &self,
        log: &dyn EventLog,
        topic: &str,
        hub: &Hub,
        stop: CancellationToken,
    ) -> Result<(), BoxError> {
        let mut tail = log.tail(topic).await?;
        self.is_following.store(true, Ordering::Release);
        let waits = || Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = waits();
        loop {
            let records = tokio::select! {
                records = tail.next(BATCH) => records,
                () = stop.cancelled() => return Ok(()),
            };
            let records = match records {
                Ok(records) => records,
                // The place is kept: what happens meanwhile comes later.
                Err(Error::Unavailable(why)) => {
                    tracing::warn!(why, "the lanes cannot be read; trying again");
                    stop.run_until_cancelled(tokio::time::sleep(backoff.next_wait()))
                        .await;
                    continue;
                }
                Err(error) => {
                    self.is_following.store(false, Ordering::Release);
                    hub.restart_all("restart");
                    return Err(error.into());
                }
            };
            backoff = waits();
            for record in records {
                if let Some(Lane::User(user)) = Lane::parse(&record.key) {
                    self.tell(user, &record.value);
                }
            }
        }
    }

    /// Closes the connections of logins that end, until the node stops.
    pub(crate) async fn close_ended(
        &self,
        hub: &Hub,
        verifier: &Verifier,
        stop: CancellationToken,
    ) -> Result<(), BoxError> {
        let mut ended = verifier.revocations();
        let is_ended = |login| verifier.is_revoked(SessionId(login));
        loop {
            hub.close_where(
                |socket| socket.login().is_some_and(is_ended),
                Close::LOGIN_ENDED,
            );
            // News that were lost in a crowd are seen by the next look as well.
            if stop.run_until_cancelled(ended.recv()).await.is_none() {
                return Ok(());
            }
        }
    }

    fn tell(&self, user: UserId, frame: &[u8]) {
        if !self.sockets.is_watched(&user) || !is_advice(frame) {
            return;
        }
        let frame = Frame::text(frame);
        // A connection without room for it ends; when it comes back, it reads everything again.
        self.sockets.each(&user, |socket| {
            if socket.send_event(&frame).is_err() {
                socket.close(Close::TOO_SLOW);
            }
        });
    }

    /// Follows the channels of those who are here. Without the cache nothing is lost but pieces.
    pub(crate) async fn follow_pieces(
        &self,
        cache: &dyn Cache,
        stop: CancellationToken,
    ) -> Result<(), BoxError> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            if let Ok(mut subscriber) = cache.subscriber().await {
                backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
                let handle = subscriber.handle();
                tokio::select! {
                    () = self.receive(subscriber.as_mut()) => {}
                    () = self.keep_channels(&handle) => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn receive(&self, subscriber: &mut dyn Subscriber) {
        while let Some((channel, frame)) = subscriber.next().await {
            let Some(Lane::User(user)) = Lane::parse(channel.as_bytes()) else {
                continue;
            };
            let is_piece = Head::parse(&frame)
                .is_ok_and(|head| matches!(head.t.as_ref(), frames::AI_DELTA | frames::AI_SNAP));
            if is_piece {
                let frame = Frame::text(&frame);
                self.sockets
                    .each(&user, |socket| socket.send_ephemeral(&frame, None));
            }
        }
    }

    /// Subscribes to the channels of those who are here; returns when the cache does not answer.
    async fn keep_channels(&self, handle: &SubscriberHandle) {
        self.changed.lock().extend(self.sockets.keys());
        loop {
            let changed = std::mem::take(&mut *self.changed.lock());
            for user in changed {
                let channel = format!("u:{user}");
                let is_here = self.sockets.is_watched(&user);
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

fn is_advice(frame: &[u8]) -> bool {
    let Ok(head) = Head::parse(frame) else {
        return false;
    };
    head.t == frames::AI_RUN
        && head
            .content::<Kind>()
            .is_ok_and(|run| run.kind == BindingMode::Advice)
}
