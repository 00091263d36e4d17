//! How a subscription reaches the present: from the database first, then from what happens.

use std::sync::Arc;

use contracts::{
    ChatId,
    message::{MAX_PAGE, MessageClient},
};
use kit::{Call, Code, Fault};
use realtime::ResumeAt;
use tokio::sync::Semaphore;

use super::{
    event::{Event, Why},
    topic::Link,
    topics::Topics,
};

/// The most events that are replayed; who is farther behind reads history over HTTP.
const MAX_BEHIND: i64 = 1000;
/// How often the database is read to its end before a stream is called too quick to catch up with.
const MAX_ROUNDS: usize = 20;
/// Reads of this process at once, so that a thousand clients that come back do not overrun `message`.
const MAX_READS: usize = 64;

/// Reads streams from `message`.
pub(crate) struct Replay {
    pub(crate) message: MessageClient,
    pub(crate) topics: Arc<Topics>,
    reads: Semaphore,
}

/// Where a subscription begins.
#[derive(Clone, Debug)]
pub(crate) struct Attached {
    /// The epoch.
    pub(crate) e: String,
    /// The head.
    pub(crate) o: i64,
    /// How many events are replayed; `None` when there was nothing to go on from.
    pub(crate) replayed: Option<i64>,
    /// Why the client has to begin anew; then it is not subscribed.
    pub(crate) why: Option<Why>,
}

impl Replay {
    pub(crate) fn new(message: MessageClient, topics: Arc<Topics>) -> Self {
        Self {
            message,
            topics,
            reads: Semaphore::new(MAX_READS),
        }
    }

    /// Subscribes: from now on what happens is kept, and [`Replay::catch_up`] makes it flow.
    ///
    /// # Errors
    /// Those of `message`: `not_found`, `unavailable`.
    pub(crate) async fn attach(
        &self,
        link: &Arc<Link>,
        chat: ChatId,
        since: Option<&ResumeAt>,
    ) -> Result<Attached, Fault> {
        self.topics.subscribe(chat, link);
        let call = Call::internal("subscribe");
        let at = self
            .read(&call, self.message.attach(&call, link.user, chat))
            .await;
        let at = at.inspect_err(|_| self.topics.unsubscribe(chat, link))?;
        self.topics.attached(chat, link, &at);
        let (e, o) = (at.head.e, at.head.o);
        let why = match since {
            None => at.until_o.map(|_| Why::Access),
            Some(since) if since.e != e || since.o > o => Some(Why::Epoch),
            Some(since) if since.o < at.from_o.saturating_sub(1) => Some(Why::Access),
            Some(since) if o - since.o > MAX_BEHIND => Some(Why::TooLong),
            Some(_) => None,
        };
        if why.is_some() {
            self.topics.unsubscribe(chat, link);
            return Ok(Attached {
                e,
                o,
                replayed: None,
                why,
            });
        }
        self.topics
            .start(chat, link, since.map_or(o, |since| since.o), at.until_o);
        Ok(Attached {
            e,
            o,
            replayed: since.map(|since| o - since.o),
            why,
        })
    }

    /// Sends what a subscription lacks until it follows what happens.
    ///
    /// # Errors
    /// Those of `message`; the subscription goes on to keep what happens, and this is called again.
    pub(crate) async fn catch_up(&self, link: &Link, chat: ChatId) -> Result<(), Fault> {
        for _ in 0..MAX_ROUNDS {
            while let Some(after) = self.topics.position(chat, link) {
                let call = Call::internal("replay");
                let events = self.message.events(&call, link.user, chat, after, MAX_PAGE);
                let page = match self.read(&call, events).await {
                    Ok(page) => page,
                    Err(fault) if fault.is(Code::NotFound) => {
                        self.topics.end(chat, link, Why::Access);
                        return Ok(());
                    }
                    Err(fault) => return Err(fault),
                };
                for (_, frame) in &page.frames {
                    let event = Event::read(frame)
                        .ok_or_else(|| Fault::internal("a stored event is no frame"))?;
                    link.socket.room().await;
                    if !self.topics.replayed(chat, link, &event) {
                        return Ok(());
                    }
                }
                if !page.more {
                    break;
                }
            }
            if self.topics.release(chat, link) {
                return Ok(());
            }
        }
        self.topics.end(chat, link, Why::TooLong);
        Ok(())
    }

    /// A read of `message` with its place among those of this process.
    pub(crate) async fn read<T>(
        &self,
        call: &Call,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        call.run(async {
            let _place = self.reads.acquire().await.map_err(Fault::internal)?;
            work.await
        })
        .await
    }
}
