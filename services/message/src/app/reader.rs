//! What other services and people ask of the streams, and sends that come over HTTP.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use contracts::{
    ChatId, ThreadId, UserId,
    events::{Send, Topics},
    frames::{self, Head},
    message::{
        Attachment, Events, History, MAX_PAGE, MAX_PEERS, Marks, Message, MessageApi, Page,
        Readers, Stored, Summary,
    },
    pipeline::{self, SendResult, Waiter},
};
use eventlog::{EventLog, Pace, Record, submit::Submitter};
use kit::{BoxError, Call, CancellationToken, Fault};

use crate::store::Store;

/// The largest number of chats in one answer.
const MAX_CHATS: usize = 500;

/// The service as others see it.
pub(crate) struct Reader {
    pub(crate) store: Store,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) submitter: Submitter<Waiter, SendResult>,
}

/// Whoever sends over HTTP often finds the answers read; nobody reads them for those who send over sockets.
const UNUSED: Duration = Duration::from_mins(1);

/// Answers the sends of this process from the forward topic, as long as there are any.
pub(crate) async fn answer_sends(
    log: Arc<dyn EventLog>,
    topics: Arc<Topics>,
    submitter: Submitter<Waiter, SendResult>,
    token: CancellationToken,
) -> Result<(), BoxError> {
    while let Some(answers) = token.run_until_cancelled(submitter.wanted()).await {
        let tail = log.tail(&topics.forward_message, Pace::Prompt);
        let Some(tail) = token.run_until_cancelled(tail).await else {
            break;
        };
        let tail = tail?;
        answers.begin();
        let followed = eventlog::follow(tail, &token, |records| {
            if submitter.waiting() == 0 {
                return;
            }
            for record in records {
                let head = Head::parse(&record.value).ok();
                if let Some((waiter, result)) = head.as_ref().and_then(pipeline::answer) {
                    submitter.answer(&waiter, result);
                }
            }
        });
        tokio::select! {
            followed = followed => followed?,
            () = answers.unused_for(UNUSED) => {}
        }
    }
    Ok(())
}

fn found<T>(value: Option<T>) -> Result<T, Fault> {
    value.ok_or_else(|| Fault::not_found("chat"))
}

fn check_limit(limit: usize, most: usize) -> Result<(), Fault> {
    if (1..=most).contains(&limit) {
        Ok(())
    } else {
        Err(Fault::invalid(format!("limit is not within 1..={most}")))
    }
}

#[async_trait]
impl MessageApi for Reader {
    async fn send(&self, call: &Call, message: Send) -> Result<Stored, Fault> {
        pipeline::check_text(&message.text)?;
        // Nobody but this service says that the AI wrote something.
        let message = Send {
            ai: None,
            request: Some(call.request_id().to_owned()),
            ..message
        };
        let waiter = pipeline::waiter(&message);
        let (key, value) = pipeline::send_record(message);
        let record = Record { key, value };
        let submitted = self.submitter.submit(
            self.log.as_ref(),
            &self.topics.message_persist,
            record,
            waiter,
        );
        Ok(call.run(submitted).await??)
    }

    async fn history(
        &self,
        call: &Call,
        reader: UserId,
        chat: ChatId,
        page: Page,
        limit: usize,
    ) -> Result<History, Fault> {
        check_limit(limit, MAX_PAGE)?;
        call.run(async { found(self.store.history(reader, chat, page, limit).await?) })
            .await
    }

    async fn private_chat(&self, call: &Call, one: UserId, other: UserId) -> Result<ChatId, Fault> {
        call.run(async {
            // Nobody has a private chat with themselves.
            let chat = if one == other {
                None
            } else {
                self.store.private_chat(one, other).await?
            };
            found(chat)
        })
        .await
    }

    async fn attach(&self, call: &Call, reader: UserId, chat: ChatId) -> Result<Attachment, Fault> {
        call.run(async { found(self.store.attach(reader, chat).await?) })
            .await
    }

    async fn events(
        &self,
        call: &Call,
        reader: UserId,
        chat: ChatId,
        after: i64,
        limit: usize,
    ) -> Result<Events, Fault> {
        check_limit(limit, MAX_PAGE)?;
        call.run(async { found(self.store.events(reader, chat, after, limit).await?) })
            .await
    }

    async fn chats(
        &self,
        call: &Call,
        reader: UserId,
        limit: usize,
    ) -> Result<Vec<Summary>, Fault> {
        check_limit(limit, MAX_CHATS)?;
        call.run(async { Ok(self.store.chats(reader, None, limit).await?) })
            .await
    }

    async fn summary(&self, call: &Call, reader: UserId, chat: ChatId) -> Result<Summary, Fault> {
        call.run(async { found(self.store.chats(reader, Some(chat), 1).await?.pop()) })
            .await
    }

    async fn mark(
        &self,
        call: &Call,
        reader: UserId,
        chat: ChatId,
        delivered: i64,
        read: i64,
    ) -> Result<Marks, Fault> {
        if delivered < 0 || read < 0 {
            return Err(Fault::invalid("a mark is the number of a message"));
        }
        call.run(async {
            let (marks, moved) = found(self.store.mark(reader, chat, delivered, read).await?)?;
            if moved {
                // Best effort: whoever misses it reads the marks again.
                let record = Record {
                    key: frames::chat_key(chat),
                    value: frames::ephemeral(frames::MARKS, &marks),
                };
                if let Err(error) = self
                    .log
                    .append(&self.topics.forward_message, vec![record])
                    .await
                {
                    tracing::debug!(chat.id = %chat, %error, "marks of chat {chat} were not told");
                }
            }
            Ok(marks)
        })
        .await
    }

    async fn marks(&self, call: &Call, reader: UserId, chat: ChatId) -> Result<Vec<Marks>, Fault> {
        call.run(async { found(self.store.marks(reader, chat).await?) })
            .await
    }

    async fn peers(
        &self,
        call: &Call,
        reader: UserId,
        people: Vec<UserId>,
    ) -> Result<Vec<UserId>, Fault> {
        if people.len() > MAX_PEERS {
            return Err(Fault::invalid(format!(
                "at most {MAX_PEERS} people are looked up at once"
            )));
        }
        call.run(async { Ok(self.store.peers(reader, people).await?) })
            .await
    }

    async fn thread_messages(
        &self,
        call: &Call,
        thread: ThreadId,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Message>, Fault> {
        check_limit(limit, MAX_PAGE)?;
        call.run(async {
            let gone = || Fault::not_found("binding");
            let (chat, _) = self.store.thread(thread).await?.ok_or_else(gone)?;
            Ok(self.store.thread_messages(chat, after, limit).await?)
        })
        .await
    }

    async fn readers(
        &self,
        call: &Call,
        chat: ChatId,
        o: i64,
        limit: usize,
    ) -> Result<Readers, Fault> {
        check_limit(limit, MAX_PAGE)?;
        call.run(async { Ok(self.store.readers(chat, o, limit).await?) })
            .await
    }
}
