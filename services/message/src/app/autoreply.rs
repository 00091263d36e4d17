//! Takes replies of the AI in: finds chat and owner by the thread and sends them the one way there is.
//!
//! Nothing is decided here. The commit checks the binding and the newest message again, and sets the
//! label; the run is the idempotency key, so a reply that is taken in twice is stored once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use contracts::{
    Key,
    events::{Autoreply, Send, Topics},
    pipeline,
};
use eventlog::{Consumer, Delivered, EventLog, Pace, Poll, Record, StartAt, Subscription};
use kit::{BoxError, CancellationToken};

use crate::{metrics as names, store::Store};

/// The consumer group of the reply topic.
pub(crate) const GROUP: &str = "message-autoreply";

/// The consumer of replies.
#[derive(Clone)]
pub(crate) struct Replies {
    pub(crate) store: Store,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) token: CancellationToken,
    pub(crate) member: Arc<str>,
    pub(crate) session_timeout: Duration,
}

impl Replies {
    /// Works until the node stops.
    pub(crate) async fn run(self) -> Result<(), BoxError> {
        let mut consumer = self
            .log
            .subscribe(Subscription {
                group: GROUP.into(),
                member: self.member.clone(),
                topics: vec![self.topics.ai_autoreply.as_str().into()],
                start: StartAt::Group,
                session_timeout: self.session_timeout,
                pace: Pace::Prompt,
            })
            .await?;
        loop {
            let polled = tokio::select! {
                polled = consumer.poll(100, Duration::from_secs(1)) => match polled {
                    // The consumer has stopped that one partition and said so; the others go on.
                    Err(eventlog::Error::OutOfRange { .. }) => continue,
                    polled => polled?,
                },
                () = self.token.cancelled() => return Ok(()),
            };
            if let Poll::Records(records) = polled {
                self.take_in(records, consumer.as_mut()).await?;
            }
        }
    }

    async fn take_in(
        &self,
        records: Vec<Delivered>,
        consumer: &mut dyn Consumer,
    ) -> Result<(), BoxError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut ends = HashMap::new();
        for record in records {
            self.submit(&record).await?;
            ends.insert(record.partition, record.offset);
        }
        self.log.flush().await?;
        for (partition, offset) in ends {
            consumer.commit(&partition, offset + 1).await?;
        }
        Ok(())
    }

    async fn submit(&self, record: &Delivered) -> Result<(), BoxError> {
        let reply: Autoreply = match serde_json::from_slice(&record.value) {
            Ok(reply) => reply,
            Err(error) => {
                tracing::warn!(%error, offset = record.offset, "a reply record is not readable");
                metrics::counter!(names::DEAD).increment(1);
                let dead = Record {
                    key: record.key.clone(),
                    value: record.value.clone(),
                };
                return Ok(self
                    .log
                    .append(&self.topics.dead_letters(GROUP), vec![dead])
                    .await?);
            }
        };
        let Some((chat, owner)) = self.store.thread(reply.thread).await? else {
            tracing::info!(run.id = %reply.run, "the reply of run {} came after its binding had gone", reply.run);
            return Ok(());
        };
        let (key, value) = pipeline::send_record(Send {
            chat,
            author: owner,
            key: Key(reply.run.0),
            text: reply.text.clone(),
            reply_to: None,
            from_run: None,
            ai: Some(reply),
            request: None,
        });
        kit::failpoint!("message.release");
        self.log
            .append(&self.topics.message_persist, vec![Record { key, value }])
            .await?;
        Ok(())
    }
}
