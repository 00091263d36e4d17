//! From the streams of the chats to the lines of the log.

use std::{sync::Arc, time::Duration};

use contracts::{
    ChatId,
    chat::BindingMode,
    events::Topics,
    frames::{self, Head, Lane},
    message::{Message, MessageClient, Readers},
};
use eventlog::{Delivered, EventLog, Pace, StartAt, Subscription};
use kit::{BoxError, Call, CancellationToken, Clock, Code, Fault};
use tokio::sync::Mutex;

use crate::{domain::Followed, metrics as names};

/// The consumer group.
pub(crate) const GROUP: &str = "notification";
/// The records of one batch: few enough that a `message` that is slow does not cost the partitions.
const BATCH: usize = 100;
/// How long is waited for who reads, before it is tried again.
const ANSWER: Duration = Duration::from_secs(2);
/// The people that a line names at most, the author not counted.
const NAMED: usize = 32;

/// What the task stands on.
pub(crate) struct Notices {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) message: MessageClient,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) member: Arc<str>,
    pub(crate) session_timeout: Duration,
    pub(crate) stop: CancellationToken,
    /// Outlives a restart of the task, so that nothing is told twice because of one.
    pub(crate) followed: Mutex<Followed>,
}

impl Notices {
    /// Tells of every message until the node stops.
    pub(crate) async fn tell(self: Arc<Self>) -> Result<(), BoxError> {
        let subscription = Subscription {
            group: GROUP.into(),
            member: self.member.clone(),
            topics: vec![self.topics.forward_message.as_str().into()],
            start: StartAt::Group,
            session_timeout: self.session_timeout,
            pace: Pace::Relaxed,
        };
        let take = |records| self.take(records);
        eventlog::consume(self.log.as_ref(), subscription, BATCH, &self.stop, take).await
    }

    /// Fails while it cannot be learned who reads: the records come again, and what was told stays told.
    async fn take(&self, records: Vec<Delivered>) -> Result<(), BoxError> {
        let mut followed = self.followed.lock().await;
        for record in &records {
            let Some((chat, o, message)) = event(record) else {
                continue;
            };
            if followed.has(chat, o) {
                continue;
            }
            let mut readers = None;
            if let Some(message) = message {
                readers = match followed.readers(chat, o) {
                    None => self.ask(chat, o).await?,
                    known => known,
                };
                self.write(&message, readers.as_ref());
            }
            followed.reach(chat, o, readers);
        }
        Ok(())
    }

    /// Who reads the event `o`; `None` when `message` does not say so though it answers.
    async fn ask(&self, chat: ChatId, o: i64) -> Result<Option<Readers>, Fault> {
        let call = Call::internal(GROUP).within(ANSWER);
        let asked = self.message.readers(&call, chat, o, NAMED + 1).await;
        let is_outage = |fault: &Fault| {
            matches!(
                fault.code(),
                Code::Unavailable | Code::Timeout | Code::Exhausted
            )
        };
        match asked {
            Err(fault) if is_outage(&fault) => Err(fault),
            Err(fault) => {
                metrics::counter!(names::FAILURES, "why" => "readers").increment(1);
                tracing::warn!(chat.id = %chat, error = ?fault, "who reads is not known");
                Ok(None)
            }
            Ok(readers) => Ok(Some(readers)),
        }
    }

    fn write(&self, message: &Message, readers: Option<&Readers>) {
        let committed = message.ts.parse().map(jiff::Timestamp::as_millisecond);
        let now = self.clock.now_ms();
        let took_ms = now.saturating_sub(committed.unwrap_or(now)).max(0);
        let to = readers.map(|readers| {
            let others = readers.first.iter().filter(|user| **user != message.author);
            let named: Vec<_> = others.take(NAMED).map(ToString::to_string).collect();
            named.join(",")
        });
        let ai = message.via.as_ref().map(|via| match via.mode {
            BindingMode::Advice => "advice",
            BindingMode::Autoreply => "autoreply",
        });
        tracing::info!(
            target: GROUP,
            seq = message.seq,
            message.id = %message.id,
            chat.id = %message.chat,
            from = %message.author,
            to,
            to_count = readers.map(|readers| readers.count.saturating_sub(1)),
            ai,
            took_ms,
            "a message is stored"
        );
        metrics::counter!(names::MESSAGES).increment(1);
        metrics::histogram!(names::SECONDS).record(seconds(took_ms));
    }
}

/// The event of a chat that a record holds, and its message if it is one.
fn event(record: &Delivered) -> Option<(ChatId, i64, Option<Message>)> {
    let Lane::Chat(chat) = Lane::parse(&record.key)? else {
        return None;
    };
    let read = || {
        let head = Head::parse(&record.value)?;
        let is_message = head.t == frames::MSG_NEW;
        let message = is_message.then(|| head.content()).transpose()?;
        Ok::<_, serde_json::Error>(head.o.map(|o| (chat, o, message)))
    };
    read().unwrap_or_else(|_| {
        metrics::counter!(names::FAILURES, "why" => "unreadable").increment(1);
        // What is wrong with it could quote a text.
        let part = record.partition.number;
        tracing::warn!(chat.id = %chat, part, offset = record.offset, "a frame cannot be read");
        None
    })
}

#[expect(clippy::cast_precision_loss, reason = "a histogram is of floats")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
