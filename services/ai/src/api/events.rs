//! What the topics say: new bindings, messages, requests for advice, and what became of releases.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use contracts::{
    RunId, ThreadId, UserId,
    chat::BindingMode,
    events::{AdviceRequest, BindingInit, Feed},
    frames::{self, Answer, Head},
    message::{MAX_PAGE, Message, MessageClient},
    pipeline,
};
use eventlog::{Delivered, Pace};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use kit::{Call, Code, Fault};
use serde::Deserialize;
use sql::Tx;

use super::intake::Handler;
use crate::{
    app::bindings::{After, Bindings},
    domain::kernel::{Author, Event, Line, Outcome},
    store::{BindingState, Error, NewRun, Thread},
};

/// Threads whose messages are read at the same time.
const READS: usize = 8;

fn read<'a, T: Deserialize<'a>>(record: &'a Delivered) -> Result<Option<T>, String> {
    serde_json::from_slice(&record.value)
        .map(Some)
        .map_err(|error| error.to_string())
}

/// New bindings.
pub(crate) struct Inits(pub(crate) Bindings);

#[async_trait]
impl Handler for Inits {
    type Item = BindingInit;
    type Known = ();

    fn parse(&self, record: &Delivered) -> Result<Option<BindingInit>, String> {
        read(record)
    }

    async fn learn(&self, _items: &[&BindingInit]) -> Result<(), Fault> {
        Ok(())
    }

    async fn apply(
        &self,
        tx: &mut Tx,
        init: &BindingInit,
        (): &(),
        after: &mut After,
    ) -> Result<(), Error> {
        self.0
            .begin(
                tx,
                Thread::new(init.thread, init.chat, init.owner, init.mode),
                after,
            )
            .await
    }
}

/// Messages for bindings. The records are triggers: what was said is read from `message`.
pub(crate) struct Feeds {
    pub(crate) bindings: Bindings,
    pub(crate) message: MessageClient,
}

impl Feeds {
    /// The messages of a thread that the guards do not know yet, up to the newest that was fed.
    async fn news(
        &self,
        thread: ThreadId,
        first_o: i64,
    ) -> Result<(ThreadId, Vec<Message>), Fault> {
        let known = self
            .bindings
            .store
            .thread(thread)
            .await
            .map_err(Fault::from)?;
        // A new binding begins with its first message; what was said before is context and triggers nothing.
        let after = known
            .map(|known| known.kernel.newest_o)
            .filter(|newest| *newest > 0)
            .unwrap_or(first_o - 1);
        match self
            .message
            .thread_messages(&Call::internal("ai feed"), thread, after, MAX_PAGE)
            .await
        {
            Ok(messages) => Ok((thread, messages)),
            // The binding is gone; the stream of the chat will say so.
            Err(fault) if fault.is(Code::NotFound) => Ok((thread, Vec::new())),
            Err(fault) => Err(fault),
        }
    }
}

#[async_trait]
impl Handler for Feeds {
    type Item = Feed;
    type Known = HashMap<ThreadId, Vec<Message>>;

    fn parse(&self, record: &Delivered) -> Result<Option<Feed>, String> {
        read(record)
    }

    async fn learn(&self, feeds: &[&Feed]) -> Result<Self::Known, Fault> {
        let mut first: BTreeMap<ThreadId, i64> = BTreeMap::new();
        for feed in feeds {
            let first_o = first.entry(feed.thread).or_insert(feed.o);
            *first_o = feed.o.min(*first_o);
        }
        let reads = first
            .into_iter()
            .map(|(thread, first_o)| self.news(thread, first_o));
        stream::iter(reads)
            .buffer_unordered(READS)
            .try_collect()
            .await
    }

    async fn apply(
        &self,
        tx: &mut Tx,
        feed: &Feed,
        known: &Self::Known,
        after: &mut After,
    ) -> Result<(), Error> {
        tracing::debug!(request.id = feed.request, chat.id = %feed.chat, thread.id = %feed.thread, "a message for the AI");
        let bindings = &self.bindings;
        let new = Thread::new(feed.thread, feed.chat, feed.owner, feed.mode);
        let mut thread = bindings.store.ensure_thread(tx, new, None).await?;
        if feed.o > thread.binding_o {
            // The stream was here already: the binding was this when the message was stored.
            thread.binding_o = feed.o;
            set_mode(&mut thread, feed.mode);
            bindings
                .apply(tx, &mut thread, Event::Bound(feed.mode), after)
                .await?;
        }
        for message in known.get(&feed.thread).into_iter().flatten() {
            if message.o > thread.kernel.newest_o {
                let line = line(message, thread.owner);
                bindings
                    .apply(tx, &mut thread, Event::Fed(line), after)
                    .await?;
            }
        }
        bindings.save(tx, &thread).await
    }
}

fn set_mode(thread: &mut Thread, mode: BindingMode) {
    thread.mode = mode;
    if thread.state == BindingState::Gone {
        thread.state = BindingState::Ready;
    }
}

fn line(message: &Message, owner: UserId) -> Line {
    let via = message
        .via
        .as_ref()
        .filter(|via| via.mode == BindingMode::Autoreply);
    Line {
        o: message.o,
        author: if message.author == owner {
            Author::Owner
        } else {
            Author::Other
        },
        automatic: pipeline::is_automatic(message),
        run: via.map(|via| via.run),
        at_ms: message
            .ts
            .parse::<jiff::Timestamp>()
            .map_or(0, jiff::Timestamp::as_millisecond),
    }
}

/// People who ask for advice.
pub(crate) struct Requests(pub(crate) Bindings);

#[async_trait]
impl Handler for Requests {
    type Item = AdviceRequest;
    type Known = ();

    fn parse(&self, record: &Delivered) -> Result<Option<AdviceRequest>, String> {
        read(record)
    }

    async fn learn(&self, _items: &[&AdviceRequest]) -> Result<(), Fault> {
        Ok(())
    }

    async fn apply(
        &self,
        tx: &mut Tx,
        request: &AdviceRequest,
        (): &(),
        after: &mut After,
    ) -> Result<(), Error> {
        tracing::debug!(request.id = request.request, run.id = %request.run, "a person asks for advice");
        let bindings = &self.0;
        let new = Thread::new(
            request.thread,
            request.chat,
            request.owner,
            BindingMode::Advice,
        );
        let mut thread = bindings.store.ensure_thread(tx, new, None).await?;
        let run = NewRun {
            id: request.run,
            thread: thread.id,
            chat: thread.chat,
            owner: thread.owner,
            kind: BindingMode::Advice,
            trigger_o: thread.kernel.newest_o,
            question: request.hint.clone(),
            now_ms: bindings.clock.now_ms(),
        };
        if !bindings.store.insert_run(tx, &run).await? {
            return Ok(());
        }
        // `chat` has checked the mode, and our own news of it may be a little behind; or the request is.
        if thread.state != BindingState::Gone && request.version > thread.version {
            thread.version = request.version;
            thread.mode = BindingMode::Advice;
            bindings
                .apply(tx, &mut thread, Event::Bound(BindingMode::Advice), after)
                .await?;
        }
        bindings
            .apply(tx, &mut thread, Event::Asked(request.run), after)
            .await?;
        bindings.save(tx, &thread).await
    }
}

/// What the streams of the chats say about bindings and releases.
pub(crate) struct Streams(pub(crate) Bindings);

/// The part of the forward topic that concerns the AI.
pub(crate) enum News {
    /// What became of a release; other people's messages are not in here.
    Told(RunId, Outcome),
    /// A binding is this now.
    Bound(ThreadId, BindingMode, Stamp),
    /// A binding is gone.
    Unbound(ThreadId, Stamp),
}

/// When a binding became so: its event's place in the chat, and the decision's number.
#[derive(Clone, Copy)]
pub(crate) struct Stamp {
    o: i64,
    version: i64,
}

#[derive(Deserialize)]
struct BindingFrame {
    thread: ThreadId,
    mode: Option<BindingMode>,
    version: i64,
}

/// What most frames of the topic begin with.
const MESSAGE: &[u8] = br#"{"t":"msg.new""#;

impl Streams {
    fn news(record: &Delivered) -> Result<Option<News>, serde_json::Error> {
        // Most messages were written by people; they hold no such word, or only in their text.
        let by_person = !record.value.windows(9).any(|word| word == b"autoreply");
        if record.value.starts_with(MESSAGE) && by_person {
            return Ok(None);
        }
        let head = Head::parse(&record.value)?;
        let stamp = |binding: &BindingFrame| Stamp {
            o: head.o.unwrap_or(0),
            version: binding.version,
        };
        Ok(match head.t.as_ref() {
            frames::MSG_NEW => {
                let message: Message = head.content()?;
                let via = message.via.filter(|via| via.mode == BindingMode::Autoreply);
                via.map(|via| News::Told(via.run, Outcome::Stored))
            }
            frames::ANSWER => {
                let answer: Answer = head.content()?;
                let outcome = match answer.outcome {
                    frames::Outcome::Ok(_) => Outcome::Stored,
                    frames::Outcome::Err(refusal) => match refusal.code.as_str() {
                        "superseded" => Outcome::Superseded,
                        "binding_gone" | "not_found" => Outcome::BindingGone,
                        // The record waits in the log until there is room: this is no outcome yet.
                        "storage_full" => return Ok(None),
                        _ => Outcome::Refused,
                    },
                };
                Some(News::Told(RunId(answer.key.0), outcome))
            }
            frames::BINDING_CHANGED => {
                let binding: BindingFrame = head.content()?;
                binding
                    .mode
                    .map(|mode| News::Bound(binding.thread, mode, stamp(&binding)))
            }
            frames::BINDING_REMOVED => {
                let binding: BindingFrame = head.content()?;
                Some(News::Unbound(binding.thread, stamp(&binding)))
            }
            _ => None,
        })
    }

    async fn told(
        &self,
        tx: &mut Tx,
        run: RunId,
        outcome: Outcome,
        after: &mut After,
    ) -> Result<(), Error> {
        let bindings = &self.0;
        // Answers to people's own sends look the same and name no run of ours.
        let Some(row) = bindings.store.run_in(tx, run).await? else {
            return Ok(());
        };
        let Some(mut thread) = bindings.store.lock_thread(tx, row.thread).await? else {
            return Ok(());
        };
        bindings
            .apply(tx, &mut thread, Event::Told(run, outcome), after)
            .await?;
        bindings.save(tx, &thread).await
    }

    async fn binding(
        &self,
        tx: &mut Tx,
        id: ThreadId,
        event: Event,
        stamp: Stamp,
        after: &mut After,
    ) -> Result<(), Error> {
        let bindings = &self.0;
        let Some(mut thread) = bindings.store.lock_thread(tx, id).await? else {
            return Ok(());
        };
        thread.version = thread.version.max(stamp.version);
        if stamp.o <= thread.binding_o {
            return bindings.save(tx, &thread).await;
        }
        thread.binding_o = stamp.o;
        if let Event::Bound(mode) = event {
            set_mode(&mut thread, mode);
        } else {
            thread.state = BindingState::Gone;
            thread.probe_ms = None;
        }
        bindings.apply(tx, &mut thread, event, after).await?;
        bindings.save(tx, &thread).await
    }
}

#[async_trait]
impl Handler for Streams {
    type Item = News;
    type Known = ();
    const PACE: Pace = Pace::Relaxed;

    fn parse(&self, record: &Delivered) -> Result<Option<News>, String> {
        Self::news(record).map_err(|error| error.to_string())
    }

    async fn learn(&self, _items: &[&News]) -> Result<(), Fault> {
        Ok(())
    }

    async fn apply(
        &self,
        tx: &mut Tx,
        news: &News,
        (): &(),
        after: &mut After,
    ) -> Result<(), Error> {
        match *news {
            News::Told(run, outcome) => self.told(tx, run, outcome, after).await,
            News::Bound(thread, mode, stamp) => {
                self.binding(tx, thread, Event::Bound(mode), stamp, after)
                    .await
            }
            News::Unbound(thread, stamp) => {
                self.binding(tx, thread, Event::Unbound, stamp, after).await
            }
        }
    }
}
