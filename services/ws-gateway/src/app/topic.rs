//! One chat that somebody here watches: its watchers, and those who wait for an answer from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use contracts::{
    ChatId, UserId,
    pipeline::{SendResult, Waiter},
};
use eventlog::submit::unknown_outcome;
use parking_lot::Mutex;
use realtime::{Burst, Close, Crowded, Frame, Socket, Watcher};
use tokio::time::Instant;

use super::{
    event::{self, Event, Kind, Why},
    sending::Unanswered,
};
use crate::{
    domain::{Release, Step, Subscription, Watchlist},
    metrics,
};

/// The least time between two hints about a chat.
const HINT_PAUSE: Duration = Duration::from_secs(1);

/// What all parts know of one connection.
pub(crate) struct Link {
    pub(crate) socket: Arc<Socket>,
    pub(crate) user: UserId,
    /// Whether `welcome` was sent: hints before it would tell what the client is about to read anyway.
    pub(crate) is_welcome: AtomicBool,
    /// The chats in which it has a seat.
    pub(crate) chats: Mutex<BTreeSet<ChatId>>,
    /// Subscriptions that need the database.
    pub(crate) holes: Mutex<Vec<ChatId>>,
    /// Whose presence it watches; `None` when it never did, or has ended.
    pub(crate) watchlist: Mutex<Option<Box<Watchlist>>>,
}

impl Watcher for Link {
    fn id(&self) -> u64 {
        self.socket.id()
    }
}

impl Link {
    pub(crate) fn new(socket: Arc<Socket>, user: UserId) -> Arc<Self> {
        let is_welcome = AtomicBool::new(false);
        Arc::new(Self {
            socket,
            user,
            is_welcome,
            chats: Mutex::default(),
            holes: Mutex::default(),
            watchlist: Mutex::default(),
        })
    }

    /// Sends something that soon loses its worth.
    pub(crate) fn hint(&self, frame: &Frame, replaces: Option<u64>) {
        if self.is_welcome.load(Relaxed) {
            self.socket.send_ephemeral(frame, replaces);
        }
    }

    /// Sends what must not be missed and cannot be asked for by position. A connection without room for it
    /// ends: when it comes back, it reads everything again.
    pub(crate) fn lasting_hint(&self, frame: &Frame) {
        if self.is_welcome.load(Relaxed) && self.socket.send_event(frame).is_err() {
            self.socket.close(Close::TOO_SLOW);
        }
    }
}

/// One chat.
pub(crate) struct Topic {
    chat: ChatId,
    seats: BTreeMap<u64, Seat>,
    unanswered: Vec<Arc<Unanswered>>,
    epoch: Box<str>,
    seq: i64,
    o: i64,
    /// The last event that came over the forward topic.
    forwarded: i64,
    hinted: Option<Instant>,
    hint_waits: bool,
}

/// A connection that watches a chat: as one of the own chats, as a subscriber, or both.
struct Seat {
    chat: ChatId,
    link: Arc<Link>,
    is_own: bool,
    place: Option<Box<Subscription<Event>>>,
}

/// How a subscription ends before the client ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client does not keep up; this is the last that was sent.
    Lag(i64),
    /// It cannot be gone on with.
    Gap(Why),
    /// The person is no longer a member.
    Left,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.link.chats.lock().remove(&self.chat);
    }
}

impl Seat {
    fn new(chat: ChatId, link: &Arc<Link>) -> Self {
        link.chats.lock().insert(chat);
        Self {
            chat,
            link: link.clone(),
            is_own: false,
            place: None,
        }
    }

    /// Sends the next event; says how the subscription ends, if it ends with it.
    fn send(&self, event: &Event) -> Option<End> {
        self.sent(event, self.link.socket.send_event(&event.frame))
    }

    fn sent(&self, event: &Event, sent: Result<(), Crowded>) -> Option<End> {
        if sent.is_err() {
            return Some(End::Lag(event.o - 1));
        }
        (event.kind == Kind::Left(self.link.user)).then_some(End::Left)
    }
}

impl Topic {
    pub(crate) fn new(chat: ChatId) -> Self {
        Self {
            chat,
            seats: BTreeMap::new(),
            unanswered: Vec::new(),
            epoch: "".into(),
            seq: 0,
            o: 0,
            forwarded: 0,
            hinted: None,
            hint_waits: false,
        }
    }

    /// Nobody watches and nobody waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.seats.is_empty() && self.unanswered.is_empty()
    }

    /// The newest that is known of the chat.
    pub(crate) fn saw(&mut self, seq: i64, o: i64) {
        self.seq = self.seq.max(seq);
        self.o = self.o.max(o);
    }

    /// The stream's epoch as the database tells `reader`. All others who are in another one begin anew.
    pub(crate) fn set_epoch(&mut self, epoch: &str, reader: &Link) {
        if *self.epoch == *epoch {
            return;
        }
        let is_change = !self.epoch.is_empty();
        self.epoch = epoch.into();
        if is_change {
            let others = self
                .seats
                .iter()
                .filter(|(id, seat)| seat.place.is_some() && **id != reader.id());
            let others: Vec<_> = others.map(|(id, _)| (*id, End::Gap(Why::Epoch))).collect();
            self.end_all(others);
        }
    }

    fn seat(&mut self, link: &Arc<Link>) -> &mut Seat {
        let new = || Seat::new(self.chat, link);
        self.seats.entry(link.id()).or_insert_with(new)
    }

    /// The chat is one of the person's own.
    pub(crate) fn own(&mut self, link: &Arc<Link>) {
        self.seat(link).is_own = true;
    }

    /// The chat is no longer one of the person's own; nothing after `o` is for them.
    pub(crate) fn disown(&mut self, link: &Link, o: i64) {
        let Some(seat) = self.seats.get_mut(&link.id()) else {
            return;
        };
        seat.is_own = false;
        match &mut seat.place {
            None => drop(self.seats.remove(&link.id())),
            Some(place) => {
                place.end_at(o);
                if place.is_over() {
                    self.end(link.id(), End::Left);
                }
            }
        }
    }

    /// Begins to keep what happens for a subscriber; an older subscription of the connection ends.
    pub(crate) fn subscribe(&mut self, link: &Arc<Link>) {
        self.seat(link).place = Some(Box::new(Subscription::waiting()));
    }

    /// Says where a subscriber begins.
    pub(crate) fn start(&mut self, link: &Link, last: i64, until: Option<i64>) {
        if let Some(place) = self
            .seats
            .get_mut(&link.id())
            .and_then(|seat| seat.place.as_mut())
        {
            place.start(last, until);
        }
    }

    /// How far a subscriber has got; `None` when the subscription is over.
    pub(crate) fn position(&self, link: &Link) -> Option<i64> {
        self.seats
            .get(&link.id())?
            .place
            .as_ref()
            .map(|place| place.last())
    }

    /// Ends a subscription without a word.
    pub(crate) fn unsubscribe(&mut self, link: &Link) {
        if let Some(seat) = self.seats.get_mut(&link.id()) {
            seat.place = None;
            if !seat.is_own {
                self.seats.remove(&link.id());
            }
        }
    }

    /// Ends a subscription and tells why.
    pub(crate) fn give_up(&mut self, link: &Link, why: Why) {
        self.end(link.id(), End::Gap(why));
    }

    /// Takes a connection out altogether.
    pub(crate) fn remove(&mut self, link: &Link) {
        self.seats.remove(&link.id());
    }

    fn end(&mut self, id: u64, end: End) {
        let Some(seat) = self.seats.get_mut(&id) else {
            return;
        };
        if seat.place.take().is_some() {
            seat.link.socket.send(&match end {
                End::Lag(o) => event::lag(self.chat, o),
                End::Gap(why) => event::gap(self.chat, &self.epoch, self.o, why),
                End::Left => event::gap(self.chat, &self.epoch, self.o, Why::Access),
            });
        }
        if end == End::Left || !seat.is_own {
            self.seats.remove(&id);
        }
    }

    fn end_all(&mut self, ends: Vec<(u64, End)>) {
        for (id, end) in ends {
            self.end(id, end);
        }
    }

    /// An event that the database held, for one subscriber; `false` when the subscription is over.
    pub(crate) fn replayed(&mut self, link: &Link, event: &Event) -> bool {
        let Some(seat) = self.seats.get_mut(&link.id()) else {
            return false;
        };
        let Some(place) = &mut seat.place else {
            return false;
        };
        let end = match place.advance(event.o) {
            Step::Nothing => None,
            Step::Send => {
                metrics::received(usize::from(event.is_message()));
                seat.send(event)
            }
            Step::Over | Step::Fetch => Some(End::Gap(Why::Access)),
        };
        end.map(|end| self.end(link.id(), end)).is_none()
    }

    /// The database has nothing more for a subscriber: what waited follows. `true` when it is done,
    /// `false` when more has to be read.
    pub(crate) fn release(&mut self, link: &Link) -> bool {
        let Some(seat) = self.seats.get_mut(&link.id()) else {
            return true;
        };
        let Some(place) = &mut seat.place else {
            return true;
        };
        let Release { events, is_live } = place.release();
        let is_over = place.is_over();
        metrics::received(events.iter().filter(|event| event.is_message()).count());
        let end = events
            .iter()
            .find_map(|event| seat.send(event))
            .or(is_over.then_some(End::Gap(Why::Access)));
        let is_ended = end.map(|end| self.end(link.id(), end)).is_some();
        is_ended || is_live
    }

    /// Something has happened: the event to subscribers, a hint to the others whose chat it is. `true`
    /// when a hint has to follow later.
    pub(crate) fn happened(&mut self, event: &Event, now: Instant, burst: &mut Burst<'_>) -> bool {
        let is_old = event.o <= self.forwarded;
        self.forwarded = self.forwarded.max(event.o);
        self.saw(
            if let Kind::Message(seq) = event.kind {
                seq
            } else {
                0
            },
            event.o,
        );
        let (mut ends, mut sent, mut is_hint_wanted) = (Vec::new(), 0, false);
        for (id, seat) in &mut self.seats {
            let Some(place) = &mut seat.place else {
                if event.kind == Kind::Left(seat.link.user) {
                    ends.push((*id, End::Left));
                } else {
                    is_hint_wanted = true;
                }
                continue;
            };
            match place.offer(event.o, event) {
                Step::Nothing => {}
                Step::Send => {
                    sent += 1;
                    let result = burst.send_event(&seat.link.socket, &event.frame);
                    ends.extend(seat.sent(event, result).map(|end| (*id, end)));
                }
                Step::Over => ends.push((*id, End::Gap(Why::Access))),
                Step::Fetch => {
                    metrics::hole();
                    seat.link.holes.lock().push(self.chat);
                    seat.link.socket.poke();
                }
            }
        }
        if event.is_message() {
            metrics::received(sent);
        }
        self.end_all(ends);
        if is_old || !is_hint_wanted || self.hint_waits {
            return false;
        }
        self.hint_waits = self.hinted.is_some_and(|hinted| now < hinted + HINT_PAUSE);
        if !self.hint_waits {
            self.hint(now);
        }
        self.hint_waits
    }

    /// Something without a position has happened: for those of whom `message` has said that they may see it.
    pub(crate) fn passing(&self, frame: &Frame, replaces: Option<u64>) {
        for seat in self.seats.values() {
            if seat.place.as_ref().is_some_and(|place| place.is_open()) {
                seat.link.hint(frame, replaces);
            }
        }
    }

    /// Sends the hint that waits, when its time has come; `false` while it still waits.
    pub(crate) fn hint_if_due(&mut self, now: Instant) -> bool {
        if self.hinted.is_some_and(|hinted| now < hinted + HINT_PAUSE) {
            return false;
        }
        self.hint_waits = false;
        self.hint(now);
        true
    }

    fn hint(&mut self, now: Instant) {
        self.hinted = Some(now);
        let frame = event::hint(self.chat, self.seq, self.o);
        let replaces = Some(event::key("chat.hint", &self.chat));
        for seat in self
            .seats
            .values()
            .filter(|seat| seat.is_own && seat.place.is_none())
        {
            seat.link.hint(&frame, replaces);
        }
    }

    /// Somebody waits for the answer to a send.
    pub(crate) fn expect(&mut self, unanswered: Arc<Unanswered>) {
        self.unanswered.push(unanswered);
    }

    /// Whether anybody waits for an answer.
    pub(crate) fn has_unanswered(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Answers everybody who waits for `waiter`.
    pub(crate) fn answer(&mut self, waiter: Waiter, result: &SendResult) {
        self.unanswered.retain(|unanswered| {
            let is_meant = unanswered.waiter == waiter;
            if is_meant {
                unanswered.answer(result.clone().map_err(Into::into));
            }
            !is_meant
        });
    }

    /// No answer will come to anybody who waits for one.
    pub(crate) fn give_up_sends(&mut self) {
        for unanswered in self.unanswered.drain(..) {
            unanswered.answer(Err(unknown_outcome()));
        }
    }

    /// Somebody does not wait any more.
    pub(crate) fn forget(&mut self, gone: &Arc<Unanswered>) {
        self.unanswered
            .retain(|unanswered| !Arc::ptr_eq(unanswered, gone));
    }
}
