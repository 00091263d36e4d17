//! The handle of one connection: whoever has something for its client puts it here and never waits.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::{
    Close, Crowded, Frame, Hub,
    pulse::{Pulse, Verdict},
    queue::{Pushed, Queue, Refused},
    wire::Wire,
};

/// Whose connection it is, as a checked token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The person.
    pub user: Uuid,
    /// The login that the token belongs to.
    pub login: Uuid,
    /// When the token ends, milliseconds since 1970.
    pub expires_ms: i64,
}

/// One connection. Every method returns at once; what cannot be sent any more is dropped silently,
/// because the client will come back and resume.
pub struct Socket {
    id: u64,
    hub: Arc<Hub>,
    address: IpAddr,
    queue: Mutex<Queue>,
    wire: Mutex<Wire>,
    driver: AtomicWaker,
    owner: OnceLock<(Uuid, Uuid)>,
    is_poked: AtomicBool,
    is_aborted: AtomicBool,
    timer: Mutex<Timer>,
    sent: AtomicU64,
    received: AtomicU64,
    asked: AtomicU64,
    blocked: AtomicU64,
    close_by: AtomicU64,
}

/// The one live entry of a connection in the wheel of its hub.
#[derive(Clone, Copy, Debug, Default)]
struct Timer {
    armed: u64,
    turn_at: u64,
}

/// How long a client may take to answer a close, in milliseconds.
const LINGER_MS: u64 = 5_000;

impl Socket {
    pub(crate) fn new(id: u64, hub: Arc<Hub>, address: IpAddr) -> Arc<Self> {
        let now = hub.now();
        let socket = Arc::new(Self {
            id,
            address,
            queue: Mutex::new(Queue::new(hub.config().queue_bytes)),
            wire: Mutex::default(),
            driver: AtomicWaker::new(),
            owner: OnceLock::new(),
            is_poked: AtomicBool::new(false),
            is_aborted: AtomicBool::new(false),
            timer: Mutex::default(),
            sent: AtomicU64::new(now),
            received: AtomicU64::new(now),
            asked: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            close_by: AtomicU64::new(0),
            hub,
        });
        socket.rearm();
        socket
    }

    /// Unique among the connections of its hub.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How the client and the logs call this connection; unique among all processes.
    pub fn name(&self) -> String {
        self.hub.name_of(self.id)
    }

    /// The hub it belongs to.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Where the client comes from; behind a trusted proxy, what that one says.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Whose connection it is, once that is known.
    pub fn user(&self) -> Option<Uuid> {
        self.owner.get().map(|(user, _)| *user)
    }

    /// The login it belongs to, once that is known.
    pub fn login(&self) -> Option<Uuid> {
        self.owner.get().map(|(_, login)| *login)
    }

    /// Whether frames are still taken.
    pub fn is_open(&self) -> bool {
        !self.queue.lock().is_closed()
    }

    /// Whether the client has been written everything. What can be merged waits for it, so that it does not pile up.
    pub fn is_quiet(&self) -> bool {
        self.queue.lock().is_empty()
    }

    /// Sends what may not be dropped: answers, and what the protocol itself says. A connection without
    /// room even for this is closed with 4002.
    pub fn send(&self, frame: &Frame) {
        let pushed = self.queue.lock().push_kept(frame);
        match pushed {
            Ok(pushed) => self.after(pushed),
            Err(Refused::Closed) => {}
            Err(Refused::Full) => self.close(Close::TOO_SLOW),
        }
    }

    /// Sends an event of a stream.
    ///
    /// # Errors
    /// [`Crowded`] when half of the queue is used: nothing was sent, and the whole stream has to lag. Where there is
    /// no way to catch up, [`Socket::close`] with [`Close::TOO_SLOW`] instead.
    pub fn send_event(&self, frame: &Frame) -> Result<(), Crowded> {
        let queued = self.queue_event(frame);
        if queued.inspect_err(|Crowded| self.lags())? {
            self.driver.wake();
        }
        Ok(())
    }

    /// Puts an event into the queue; `true` when the caller has to see to it that it is written.
    pub(crate) fn queue_event(&self, frame: &Frame) -> Result<bool, Crowded> {
        let pushed = self.queue.lock().push_event(frame)?;
        self.count_dropped(pushed);
        Ok(pushed.was_idle)
    }

    pub(crate) fn lags(&self) {
        self.hub.metrics().lags.increment(1);
    }

    /// Sends something that soon loses its worth and is dropped first. With `replaces`, it takes the
    /// place of the one with the same value that still waits.
    pub fn send_ephemeral(&self, frame: &Frame, replaces: Option<u64>) {
        let pushed = self.queue.lock().push_ephemeral(frame, replaces);
        self.after(pushed);
    }

    /// Sends what is queued and then closes; nothing is taken afterwards. Only the first close counts.
    /// [`Close::TOO_SLOW`] forgets what is queued: its client would not take it.
    pub fn close(&self, close: Close) {
        if close == Close::TOO_SLOW && self.is_open() {
            self.hub.metrics().slow.increment(1);
            self.queue.lock().clear();
        }
        self.close_with(close.code, close.reason);
    }

    /// Asks for a turn of the session as soon as it is free; see [`crate::Session::tend`].
    pub fn poke(&self) {
        self.is_poked.store(true, Relaxed);
        self.driver.wake();
    }

    /// Waits until the client has taken most of what was queued; returns at once on a closed
    /// connection. Only for the session's own turn, which runs in the task that writes.
    pub async fn room(&self) {
        std::future::poll_fn(|_| {
            if self.queue.lock().is_roomy() {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }

    pub(crate) fn identify(&self, identity: &Identity) {
        // A connection says hello once.
        let _ = self.owner.set((identity.user, identity.login));
    }

    /// The next turn of the session, if nothing else causes one before.
    pub(crate) fn turn_in(&self, after: Duration) {
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.timer.lock().turn_at = self.hub.now().saturating_add(after).max(1);
        self.rearm();
    }

    pub(crate) fn close_with(&self, code: u16, reason: &str) {
        if self.queue.lock().close(code, reason) {
            self.hub.metrics().closed(code);
            self.close_by.store(self.hub.now() + LINGER_MS, Relaxed);
            self.rearm();
            self.driver.wake();
        }
    }

    /// The client said goodbye: its own code goes back, and that is no close of ours.
    pub(crate) fn close_echo(&self, code: u16) {
        self.queue.lock().close(code, "");
        self.close_by.store(self.hub.now() + LINGER_MS, Relaxed);
        self.rearm();
    }

    fn after(&self, pushed: Pushed) {
        self.count_dropped(pushed);
        if pushed.was_idle {
            self.driver.wake();
        }
    }

    fn count_dropped(&self, pushed: Pushed) {
        if pushed.dropped > 0 {
            self.hub
                .metrics()
                .dropped
                .increment(u64::from(pushed.dropped));
        }
    }
}

/// What the hub's wheel does.
impl Socket {
    /// Looks after the connection because its entry of the wheel for `at` is due.
    pub(crate) fn fire(&self, at: u64, now: u64) {
        {
            let mut timer = self.timer.lock();
            if timer.armed != at {
                return;
            }
            timer.armed = 0;
            if timer.turn_at > 0 && timer.turn_at <= now {
                timer.turn_at = 0;
                self.is_poked.store(true, Relaxed);
                self.driver.wake();
            }
        }
        match self.pulse().check(now, self.hub.config()).0 {
            Verdict::Fine => {}
            Verdict::Ask => {
                self.asked.store(now, Relaxed);
                self.send(self.hub.heartbeat());
            }
            Verdict::Lost => self.close(Close::HEARTBEAT_LOST),
            Verdict::Stalled => {
                self.close(Close::TOO_SLOW);
                self.abort();
            }
            Verdict::GiveUp => self.abort(),
        }
        self.rearm();
    }

    /// Enters the wheel for the nearest of its times, unless it is there for an earlier one.
    fn rearm(&self) {
        let now = self.hub.now();
        let check_at = self.pulse().check(now, self.hub.config()).1;
        let mut timer = self.timer.lock();
        let turn_at = if timer.turn_at > 0 {
            timer.turn_at
        } else {
            u64::MAX
        };
        let at = Hub::tick_after(check_at.min(turn_at).max(now + 1));
        if timer.armed == 0 || timer.armed > at {
            timer.armed = at;
            self.hub.enter(self.id, at);
        }
    }

    fn pulse(&self) -> Pulse {
        Pulse {
            sent: self.sent.load(Relaxed),
            received: self.received.load(Relaxed),
            asked: self.asked.load(Relaxed),
            blocked: self.blocked.load(Relaxed),
            close_by: self.close_by.load(Relaxed),
        }
    }

    fn abort(&self) {
        self.is_aborted.store(true, Relaxed);
        self.driver.wake();
    }
}

/// What the driver and bursts do.
impl Socket {
    /// The connection begins.
    pub(crate) fn attach(&self, stream: &Arc<TcpStream>) {
        self.wire.lock().stream = Some(stream.clone());
    }

    /// The connection is over, whoever still holds its handle.
    pub(crate) fn detach(&self) {
        self.wire.lock().stream = None;
    }

    /// See [`Wire::write`].
    pub(crate) fn write(&self) -> io::Result<bool> {
        self.wire.lock().write(self)
    }

    /// Writes what waits, unless somebody else does; the driver does what is left.
    pub(crate) fn flush(&self) {
        let written = self.wire.try_lock().map(|mut wire| wire.write(self));
        if !matches!(written, Some(Ok(true))) {
            self.driver.wake();
        }
    }

    pub(crate) fn register(&self, waker: &Waker) {
        self.driver.register(waker);
    }

    pub(crate) fn take_poke(&self) -> bool {
        self.is_poked.load(Relaxed) && self.is_poked.swap(false, Relaxed)
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.is_aborted.load(Relaxed)
    }

    /// Whether the close frame has left.
    pub(crate) fn is_finished(&self) -> bool {
        let queue = self.queue.lock();
        queue.is_closed() && queue.is_empty()
    }

    pub(crate) fn take(&self, batch: &mut Vec<Bytes>) {
        self.queue.lock().take(batch);
    }

    pub(crate) fn heard(&self) {
        self.received.store(self.hub.now(), Relaxed);
    }

    pub(crate) fn wrote(&self, bytes: usize) {
        if self.queue.lock().wrote(bytes) {
            self.driver.wake();
        }
        self.sent.store(self.hub.now(), Relaxed);
        self.blocked.store(0, Relaxed);
    }

    /// Nothing waits for the client, whoever has written it.
    pub(crate) fn is_served(&self) {
        self.blocked.store(0, Relaxed);
    }

    /// The client takes nothing more for now.
    pub(crate) fn is_stuck(&self) {
        if self.blocked.load(Relaxed) == 0 {
            self.blocked.store(self.hub.now().max(1), Relaxed);
            self.rearm();
        }
    }
}
