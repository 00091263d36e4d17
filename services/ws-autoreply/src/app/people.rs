//! The people who listen here, and their lane of the log that is followed for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use contracts::{
    SessionId, UserId,
    auth::Verifier,
    chat::BindingMode,
    frames::{self, Head, Lane},
};
use eventlog::{Error, EventLog};
use kit::{Backoff, BoxError, CancellationToken};
use realtime::{Close, Frame, Hub, Socket, Watchers};
use serde::Deserialize;

/// Records of one read.
const BATCH: usize = 512;

/// The people who listen here.
#[derive(Default)]
pub(crate) struct People {
    sockets: Watchers<UserId>,
    is_following: AtomicBool,
}

/// What has to be known of a run to decide whether it is a reply.
#[derive(Deserialize)]
struct Kind {
    kind: BindingMode,
}

impl People {
    pub(crate) fn join(&self, user: UserId, socket: &Arc<Socket>) {
        self.sockets.watch(user, socket);
    }

    pub(crate) fn leave(&self, user: UserId, socket: &Socket) {
        self.sockets.unwatch(user, socket);
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
        if !self.sockets.is_watched(&user) || !is_reply(frame) {
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
}

fn is_reply(frame: &[u8]) -> bool {
    let Ok(head) = Head::parse(frame) else {
        return false;
    };
    let is_run = matches!(head.t.as_ref(), frames::AI_RUN | frames::AI_HOLD);
    is_run
        && head
            .content::<Kind>()
            .is_ok_and(|run| run.kind == BindingMode::Autoreply)
}
