//! The chats that somebody here watches. A chat that nobody watches costs nothing but a look at its key.

use std::sync::Arc;

use contracts::{
    ChatId, UserId,
    frames::Head,
    message::{Attachment, Summary},
    pipeline,
};
use dashmap::{
    DashMap,
    mapref::{entry::Entry, one::RefMut},
};
use parking_lot::Mutex;
use realtime::Burst;
use tokio::time::Instant;

use super::{
    event::{Event, Kind, News, Why},
    sending::Unanswered,
    topic::{Link, Topic},
};

/// The chats that somebody here watches.
#[derive(Default)]
pub(crate) struct Topics {
    by_chat: DashMap<ChatId, Topic>,
    /// Chats whose hint waits for its time.
    hints: Mutex<Vec<ChatId>>,
}

impl Topics {
    /// Takes a record of a chat in: the answer first, then the event, both to the sender's connection. Says who has left
    /// the chat, if that is what has happened.
    pub(crate) fn deliver(
        &self,
        chat: ChatId,
        bytes: &[u8],
        burst: &mut Burst<'_>,
    ) -> Option<UserId> {
        if !self.by_chat.contains_key(&chat) {
            return None;
        }
        let Ok(head) = Head::parse(bytes) else {
            tracing::error!(chat.id = %chat, "a record of chat {chat} is no frame");
            return None;
        };
        let news = News::of(&head, bytes);
        self.with(chat, |topic| {
            if topic.has_unanswered()
                && let Some((waiter, result)) = pipeline::answer(&head)
            {
                topic.answer(waiter, &result);
            }
            match &news {
                News::Event(event) => {
                    if topic.happened(event, Instant::now(), burst) {
                        self.hints.lock().push(chat);
                    }
                }
                News::Passing { frame, replaces } => topic.passing(frame, *replaces),
                News::Internal => {}
            }
        });
        match news {
            News::Event(Event {
                kind: Kind::Left(user),
                ..
            }) => Some(user),
            _ => None,
        }
    }

    /// Sends the hints whose time has come.
    pub(crate) fn send_hints(&self) {
        let now = Instant::now();
        let mut waiting = std::mem::take(&mut *self.hints.lock());
        waiting.retain(|chat| {
            self.with(*chat, |topic| !topic.hint_if_due(now))
                .unwrap_or(false)
        });
        if !waiting.is_empty() {
            self.hints.lock().extend(waiting);
        }
    }

    /// The person behind a connection has these chats.
    pub(crate) fn own_all(&self, link: &Arc<Link>, summaries: &[Summary]) {
        for summary in summaries {
            self.own(summary.chat, link, summary.seq, summary.pos.o);
        }
    }

    /// The person behind a connection has this chat, of which so much has happened.
    pub(crate) fn own(&self, chat: ChatId, link: &Arc<Link>, seq: i64, o: i64) {
        let mut topic = self.topic(chat);
        topic.saw(seq, o);
        topic.own(link);
    }

    /// The person is not a member any more; nothing after `o` is for them.
    pub(crate) fn disown(&self, chat: ChatId, link: &Link, o: i64) {
        self.with(chat, |topic| topic.disown(link, o));
    }

    /// Begins to keep what happens for a subscriber.
    pub(crate) fn subscribe(&self, chat: ChatId, link: &Arc<Link>) {
        self.topic(chat).subscribe(link);
    }

    /// What the database says of a stream that is subscribed.
    pub(crate) fn attached(&self, chat: ChatId, link: &Link, at: &Attachment) {
        self.with(chat, |topic| {
            topic.saw(at.seq, at.head.o);
            topic.set_epoch(&at.head.e, link);
        });
    }

    /// Says where a subscriber begins.
    pub(crate) fn start(&self, chat: ChatId, link: &Link, last: i64, until: Option<i64>) {
        self.with(chat, |topic| topic.start(link, last, until));
    }

    /// How far a subscriber has got; `None` when the subscription is over.
    pub(crate) fn position(&self, chat: ChatId, link: &Link) -> Option<i64> {
        self.by_chat.get(&chat)?.position(link)
    }

    /// See [`Topic::replayed`].
    pub(crate) fn replayed(&self, chat: ChatId, link: &Link, event: &Event) -> bool {
        self.with(chat, |topic| topic.replayed(link, event))
            .unwrap_or(false)
    }

    /// See [`Topic::release`].
    pub(crate) fn release(&self, chat: ChatId, link: &Link) -> bool {
        self.with(chat, |topic| topic.release(link)).unwrap_or(true)
    }

    /// Ends a subscription without a word.
    pub(crate) fn unsubscribe(&self, chat: ChatId, link: &Link) {
        self.with(chat, |topic| topic.unsubscribe(link));
    }

    /// Ends a subscription and tells why.
    pub(crate) fn end(&self, chat: ChatId, link: &Link, why: Why) {
        self.with(chat, |topic| topic.give_up(link, why));
    }

    /// Somebody waits for the answer to a send.
    pub(crate) fn expect(&self, chat: ChatId, unanswered: Arc<Unanswered>) {
        self.topic(chat).expect(unanswered);
    }

    /// Somebody does not wait any more.
    pub(crate) fn forget(&self, chat: ChatId, unanswered: &Arc<Unanswered>) {
        self.with(chat, |topic| topic.forget(unanswered));
    }

    /// No answer will come to anybody who waits for one.
    pub(crate) fn give_up_sends(&self) {
        let waited = self.by_chat.iter().filter(|topic| topic.has_unanswered());
        let waited: Vec<_> = waited.map(|topic| *topic.key()).collect();
        for chat in waited {
            self.with(chat, Topic::give_up_sends);
        }
    }

    /// A connection is gone.
    pub(crate) fn leave(&self, link: &Link) {
        // The lock is not held below: a seat that goes takes its chat out itself.
        let chats = std::mem::take(&mut *link.chats.lock());
        for chat in chats {
            self.with(chat, |topic| topic.remove(link));
        }
    }

    fn topic(&self, chat: ChatId) -> RefMut<'_, ChatId, Topic> {
        self.by_chat.entry(chat).or_insert_with(|| Topic::new(chat))
    }

    /// Does something with a chat that is watched, and forgets it when nobody watches any more.
    fn with<R>(&self, chat: ChatId, work: impl FnOnce(&mut Topic) -> R) -> Option<R> {
        let Entry::Occupied(mut topic) = self.by_chat.entry(chat) else {
            return None;
        };
        let result = work(topic.get_mut());
        if topic.get().is_idle() {
            topic.remove();
        }
        Some(result)
    }
}
