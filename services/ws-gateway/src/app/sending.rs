//! The way of a message from a connection into the log, in order, and its answer back.
//!
//! Authorisation is not asked here: `message` decides it in the commit, where it is exact.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::AcqRel},
    },
    time::Duration,
};

use contracts::{
    ChatId, Key, MessageId, RunId,
    events::Send,
    message::Stored,
    pipeline::{self, SendResult, Waiter},
};
use eventlog::{
    Record,
    submit::{Submitter, unknown_outcome},
};
use kit::{Code, Fault};
use parking_lot::Mutex;
use realtime::{Close, Command, Socket};
use serde::Deserialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{Gateway, topic::Link};
use crate::{domain::Held, metrics};

/// Sends of one connection that may wait for their answers; then its client is not read.
const MAX_UNANSWERED: usize = 32;
/// Sends of one connection that may be awaited again; whoever has more has to come back.
const MAX_HELD: usize = 256;
/// How long a send waits for its answer.
const TIMEOUT: Duration = Submitter::<Waiter, SendResult>::TIMEOUT;

/// A send that waits for its answer.
pub(crate) struct Unanswered {
    pub(crate) waiter: Waiter,
    id: Option<u64>,
    socket: Arc<Socket>,
    deadline: Instant,
    is_done: AtomicBool,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Unanswered {
    /// Tells the client what became of it. Only the first answer counts.
    pub(crate) fn answer(&self, result: Result<Stored, Fault>) {
        if self.is_done.swap(true, AcqRel) {
            return;
        }
        if result.as_ref().is_ok_and(|stored| !stored.dup) {
            metrics::sent();
        }
        self.socket.reply(self.id, result);
        drop(self.permit.lock().take());
    }

    fn is_done(&self) -> bool {
        self.is_done.load(std::sync::atomic::Ordering::Acquire)
    }
}

/// The content of `msg.send`. Who sends is never read from it.
#[derive(Deserialize)]
struct Content {
    chat: ChatId,
    key: Key,
    text: String,
    reply_to: Option<MessageId>,
    from_run: Option<RunId>,
}

/// The sends of one connection.
#[derive(Default)]
pub(crate) struct Sending {
    /// Made with the first send: most connections never send.
    permits: Option<Arc<Semaphore>>,
    unanswered: VecDeque<(ChatId, Arc<Unanswered>)>,
    batch: Vec<Record>,
    held: Held,
}

impl Sending {
    /// Takes a `msg.send` up; [`Sending::flush`] appends it.
    pub(crate) async fn take(&mut self, gateway: &Gateway, link: &Link, command: &Command) {
        let content = match check(command) {
            Ok(content) => content,
            Err(fault) => return link.socket.reply::<()>(command.id, Err(fault)),
        };
        let permit = self.permit(gateway).await;
        // Asked after the wait: a send before this one may have failed meanwhile.
        if !self.held.lets_through(content.chat, content.key) {
            self.hold(link, &content);
            return link.socket.reply::<()>(command.id, Err(overtaking()));
        }
        let request = match command.id {
            Some(id) => format!("{}-{id}", link.socket.name()),
            None => link.socket.name(),
        };
        tracing::debug!(request.id = request, chat.id = %content.chat, "a message on its way");
        let send = Send {
            chat: content.chat,
            author: link.user,
            key: content.key,
            text: content.text,
            reply_to: content.reply_to,
            from_run: content.from_run,
            ai: None,
            request: Some(request),
        };
        let unanswered = Arc::new(Unanswered {
            waiter: pipeline::waiter(&send),
            id: command.id,
            socket: link.socket.clone(),
            deadline: Instant::now() + TIMEOUT,
            is_done: AtomicBool::new(false),
            permit: Mutex::new(permit),
        });
        gateway.topics.expect(content.chat, unanswered.clone());
        self.unanswered.push_back((content.chat, unanswered));
        let (key, value) = pipeline::send_record(send);
        self.batch.push(Record { key, value });
    }

    /// A `msg.send` was refused before it came here; those behind it must not overtake it.
    pub(crate) fn refused(&mut self, link: &Link, command: &Command) {
        if let Ok(content) = check(command) {
            self.hold(link, &content);
        }
    }

    fn hold(&mut self, link: &Link, content: &Content) {
        self.held.push(content.chat, content.key);
        if self.held.len() > MAX_HELD {
            link.socket.close(Close::TOO_SLOW);
        }
    }

    /// Waits until the connection may have one more send without an answer.
    async fn permit(&mut self, gateway: &Gateway) -> Option<OwnedSemaphorePermit> {
        let permits = self
            .permits
            .get_or_insert_with(|| Arc::new(Semaphore::new(MAX_UNANSWERED)))
            .clone();
        loop {
            if let Ok(permit) = permits.clone().try_acquire_owned() {
                return Some(permit);
            }
            self.flush(gateway).await;
            let Some(deadline) = self.expire(gateway) else {
                // All are answered; the last permit is on its way back.
                tokio::task::yield_now().await;
                continue;
            };
            let free = permits.clone().acquire_owned();
            if let Ok(permit) = tokio::time::timeout_at(deadline, free).await {
                return permit.ok();
            }
        }
    }

    /// Appends what was taken up, in order. When that fails, nothing later goes to those chats before
    /// the client has sent it again.
    pub(crate) async fn flush(&mut self, gateway: &Gateway) {
        if self.batch.is_empty() {
            return;
        }
        let records: Vec<_> = self.batch.drain(..).collect();
        let first = self.unanswered.len().saturating_sub(records.len());
        let append = gateway.log.append(&gateway.names.message_persist, records);
        let failure: Fault = match tokio::time::timeout(TIMEOUT, append).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.into(),
            Err(_) => unknown_outcome(),
        };
        failure.report("socket");
        metrics::append_failed();
        let failed = self.unanswered.split_off(first);
        for (chat, unanswered) in failed.iter().rev() {
            self.held.push_front(*chat, unanswered.waiter.1);
        }
        for (chat, unanswered) in failed {
            gateway.topics.forget(chat, &unanswered);
            unanswered.answer(Err(Fault::new(Code::Unavailable, failure.public())));
        }
    }

    /// Gives up on those whose time is over; says when the next one's is.
    pub(crate) fn expire(&mut self, gateway: &Gateway) -> Option<Instant> {
        let now = Instant::now();
        while let Some((chat, first)) = self.unanswered.front() {
            if !first.is_done() {
                if first.deadline > now {
                    return Some(first.deadline);
                }
                gateway.topics.forget(*chat, first);
                first.answer(Err(unknown_outcome()));
            }
            self.unanswered.pop_front();
        }
        None
    }

    /// The connection is gone: nobody waits any more.
    pub(crate) fn abandon(&mut self, gateway: &Gateway) {
        for (chat, unanswered) in self.unanswered.drain(..) {
            gateway.topics.forget(chat, &unanswered);
        }
    }
}

fn check(command: &Command) -> Result<Content, Fault> {
    let content: Content = command.content()?;
    pipeline::check_text(&content.text)?;
    Ok(content)
}

fn overtaking() -> Fault {
    let text = "an earlier message to this chat was not taken; repeat it first, or connect again";
    Fault::new(Code::Unavailable, text)
}
