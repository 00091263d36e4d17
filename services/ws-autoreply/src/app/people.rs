//! The people who listen here, and their lane of the log that is followed for them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use contracts::{
    UserId,
    chat::BindingMode,
    frames::{self, Head, Lane},
};
use eventlog::EventLog;
use kit::{BoxError, CancellationToken};
use realtime::{Frame, Hub, Socket, Watchers};
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
        loop {
            let records = tokio::select! {
                records = tail.next(BATCH) => records,
                () = stop.cancelled() => return Ok(()),
            };
            let records = match records {
                Ok(records) => records,
                Err(error) => {
                    self.is_following.store(false, Ordering::Release);
                    hub.restart_all("restart");
                    return Err(error.into());
                }
            };
            for record in records {
                if let Some(Lane::User(user)) = Lane::parse(&record.key) {
                    self.tell(user, &record.value);
                }
            }
        }
    }

    fn tell(&self, user: UserId, frame: &[u8]) {
        if !self.sockets.is_watched(&user) || !is_reply(frame) {
            return;
        }
        let frame = Frame::text(frame);
        // A connection without room for a hint reads everything again when it comes back.
        self.sockets.each(&user, |socket| {
            let _ = socket.send_event(&frame);
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
