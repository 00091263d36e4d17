//! One chat that somebody here watches: its watchers, and those who wait for an answer from it.

use std::{sync::Arc, time::Duration};

use contracts::{
    ChatId, UserId,
    pipeline::{SendResult, Waiter},
};
use parking_lot::Mutex;
use realtime::{Frame, Socket, Watcher};
use tokio::time::Instant;

use super::{
    event::{self, Event, Kind, Why},
    sending::Unanswered,
};
use crate::{
    domain::{Release, Step, Subscription},
    metrics,
};

/// The least time between two hints about a chat.
const HINT_PAUSE: Duration = Duration::from_secs(1);

/// What all parts know of one connection.
pub(crate) struct Link {
    pub(crate) socket: Arc<Socket>,
    pub(crate) user: UserId,
    /// The chats among whose watchers it is.
    pub(crate) chats: Mutex<Vec<ChatId>>,
    /// Subscriptions that need the database.
    pub(crate) holes: Mutex<Vec<ChatId>>,
}

impl Watcher for Link {
    fn id(&self) -> u64 {
        self.socket.id()
    }
}

/// One chat.
pub(crate) struct Topic {
    chat: ChatId,
    seats: Vec<Seat>,
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
    link: Arc<Link>,
    is_own: bool,
    place: Option<Box<Subscription<Event>>>,
}

impl Topic {
    pub(crate) fn new(chat: ChatId) -> Self {
        Self {
            chat,
            seats: Vec::new(),
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
        if !is_change {
            return;
        }
        for at in (0..self.seats.len()).rev() {
            let seat = &self.seats[at];
            if seat.place.is_some() && seat.link.socket.id() != reader.socket.id() {
                self.end(at, Why::Epoch);
            }
        }
    }

    /// The seat of a connection; `true` when it is new.
    fn seat(&mut self, link: &Arc<Link>) -> (&mut Seat, bool) {
        let found = self.find(link);
        let at = found.unwrap_or(self.seats.len());
        if found.is_none() {
            self.seats.push(Seat { link: link.clone(), is_own: false, place: None });
        }
        (&mut self.seats[at], found.is_none())
    }

    fn find(&self, link: &Link) -> Option<usize> {
        self.seats.iter().position(|seat| seat.link.socket.id() == link.socket.id())
    }

    /// The chat is one of the person's own.
    pub(crate) fn own(&mut self, link: &Arc<Link>) -> bool {
        let (seat, is_new) = self.seat(link);
        seat.is_own = true;
        is_new
    }

    /// The chat is no longer one of the person's own; nothing after `o` is for them.
    pub(crate) fn disown(&mut self, link: &Link, o: i64) {
        let Some(at) = self.find(link) else { return };
        let seat = &mut self.seats[at];
        seat.is_own = false;
        match &mut seat.place {
            None => drop(self.seats.swap_remove(at)),
            Some(place) => {
                place.end_at(o);
                if place.is_over() {
                    self.end(at, Why::Access);
                }
            }
        }
    }

    /// Begins to keep what happens for a subscriber; an older subscription of the connection ends.
    pub(crate) fn subscribe(&mut self, link: &Arc<Link>) -> bool {
        let (seat, is_new) = self.seat(link);
        seat.place = Some(Box::new(Subscription::waiting()));
        is_new
    }

    /// Says where a subscriber begins.
    pub(crate) fn start(&mut self, link: &Link, last: i64, until: Option<i64>) {
        if let Some(place) = self.place(link) {
            place.start(last, until);
        }
    }

    /// How far a subscriber has got; `None` when the subscription is over.
    pub(crate) fn position(&self, link: &Link) -> Option<i64> {
        let seat = &self.seats[self.find(link)?];
        seat.place.as_ref().map(|place| place.last())
    }

    fn place(&mut self, link: &Link) -> Option<&mut Subscription<Event>> {
        let at = self.find(link)?;
        self.seats[at].place.as_deref_mut()
    }

    /// Ends a subscription without a word.
    pub(crate) fn unsubscribe(&mut self, link: &Link) {
        if let Some(at) = self.find(link) {
            self.leave(at);
        }
    }

    /// Ends a subscription and tells why.
    pub(crate) fn end_for(&mut self, link: &Link, why: Why) {
        if let Some(at) = self.find(link) {
            self.end(at, why);
        }
    }

    /// Takes a connection out altogether.
    pub(crate) fn remove(&mut self, link: &Link) {
        if let Some(at) = self.find(link) {
            self.seats.swap_remove(at);
        }
    }

    fn end(&mut self, at: usize, why: Why) {
        let gap = event::gap(self.chat, &self.epoch, self.o, why);
        self.seats[at].link.socket.send(&gap);
        self.leave(at);
    }

    fn leave(&mut self, at: usize) {
        self.seats[at].place = None;
        if !self.seats[at].is_own {
            self.seats.swap_remove(at);
        }
    }

    /// An event that the database held, for one subscriber; `false` when the subscription is over.
    pub(crate) fn replayed(&mut self, link: &Link, event: &Event) -> bool {
        let Some(at) = self.find(link) else { return false };
        let Some(place) = &mut self.seats[at].place else { return false };
        match place.advance(event.o) {
            Step::Nothing => true,
            Step::Send => self.send(at, event),
            Step::Over | Step::Fetch => {
                self.end(at, Why::Access);
                false
            }
        }
    }

    /// The database has nothing more for a subscriber: what waited follows. `true` when it is done,
    /// `false` when more has to be read.
    pub(crate) fn release(&mut self, link: &Link) -> bool {
        let Some(at) = self.find(link) else { return true };
        let Some(place) = &mut self.seats[at].place else { return true };
        let Release { events, is_live } = place.release();
        for event in events {
            if !self.send(at, &event) {
                return true;
            }
        }
        if self.seats[at].place.as_ref().is_some_and(|place| place.is_over()) {
            self.end(at, Why::Access);
            return true;
        }
        is_live
    }

    /// Sends the next event to a subscriber; `false` when the subscription ended with it.
    fn send(&mut self, at: usize, event: &Event) -> bool {
        let link = &self.seats[at].link;
        if link.socket.send_event(&event.frame).is_err() {
            link.socket.send(&event::lag(self.chat, event.o - 1));
            self.leave(at);
            return false;
        }
        if matches!(event.kind, Kind::Message(_)) {
            metrics::received();
        }
        if event.kind == Kind::Left(link.user) {
            self.seats[at].is_own = false;
            self.end(at, Why::Access);
            return false;
        }
        true
    }

    /// Something has happened: the event to subscribers, a hint to the others whose chat it is. `true`
    /// when a hint has to follow later.
    pub(crate) fn happened(&mut self, event: &Event, now: Instant) -> bool {
        let seq = if let Kind::Message(seq) = event.kind { seq } else { 0 };
        let is_old = event.o <= self.forwarded;
        self.forwarded = self.forwarded.max(event.o);
        self.saw(seq, event.o);
        let mut is_hint_wanted = false;
        // From the end, because a seat that is left is replaced by the last one.
        for at in (0..self.seats.len()).rev() {
            let seat = &mut self.seats[at];
            let Some(place) = &mut seat.place else {
                if event.kind == Kind::Left(seat.link.user) {
                    self.seats.swap_remove(at);
                } else {
                    is_hint_wanted = true;
                }
                continue;
            };
            match place.offer(event.o, event) {
                Step::Nothing => {}
                Step::Send => drop(self.send(at, event)),
                Step::Over => self.end(at, Why::Access),
                Step::Fetch => {
                    metrics::hole();
                    seat.link.holes.lock().push(self.chat);
                    seat.link.socket.poke();
                }
            }
        }
        if is_old || !is_hint_wanted || self.hint_waits {
            return false;
        }
        if self.hinted.is_some_and(|hinted| now < hinted + HINT_PAUSE) {
            self.hint_waits = true;
            return true;
        }
        self.hint(now);
        false
    }

    /// Something without a position has happened.
    pub(crate) fn passing(&self, frame: &Frame, replaces: Option<u64>) {
        for seat in self.seats.iter().filter(|seat| seat.place.is_some()) {
            seat.link.socket.send_ephemeral(frame, replaces);
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
        for seat in self.seats.iter().filter(|seat| seat.is_own && seat.place.is_none()) {
            seat.link.socket.send_ephemeral(&frame, replaces);
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

    /// Somebody does not wait any more.
    pub(crate) fn forget(&mut self, gone: &Arc<Unanswered>) {
        self.unanswered.retain(|unanswered| !Arc::ptr_eq(unanswered, gone));
    }
}
