//! From the streams of the chats to the hint lane of the person in whose name an AI wrote.

use std::{collections::HashMap, sync::Arc, time::Duration};

use contracts::{
    ai::{Run, RunState},
    chat::BindingMode,
    events::Topics,
    frames::{self, Head},
    message::Message,
};
use eventlog::{Consumer, Delivered, EventLog, Poll, Record, StartAt, Subscription};
use kit::{BoxError, CancellationToken};

use crate::metrics as names;

/// The consumer group.
pub(crate) const GROUP: &str = "ws-autoreply";
/// What the frame of a message begins with.
const MESSAGE: &[u8] = br#"{"t":"msg.new""#;
/// What the frame of an AI's message holds; a person's may hold it in its text.
const LABEL: &[u8] = b"autoreply";

/// The consumer of the streams.
#[derive(Clone)]
pub(crate) struct Tell {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) member: Arc<str>,
    pub(crate) session_timeout: Duration,
    pub(crate) token: CancellationToken,
}

impl Tell {
    /// Works until the node stops.
    pub(crate) async fn run(self) -> Result<(), BoxError> {
        let mut consumer = self
            .log
            .subscribe(Subscription {
                group: GROUP.into(),
                member: self.member.clone(),
                topics: vec![self.topics.forward_message.as_str().into()],
                start: StartAt::Group,
                session_timeout: self.session_timeout,
            })
            .await?;
        loop {
            let polled = tokio::select! {
                polled = consumer.poll(500, Duration::from_secs(1)) => polled?,
                () = self.token.cancelled() => return Ok(()),
            };
            if let Poll::Records(records) = polled {
                self.hand_over(records, consumer.as_mut()).await?;
            }
        }
    }

    async fn hand_over(
        &self,
        records: Vec<Delivered>,
        consumer: &mut dyn Consumer,
    ) -> Result<(), BoxError> {
        let hints: Vec<_> = records
            .iter()
            .filter_map(|record| hint(&record.value))
            .collect();
        if !hints.is_empty() {
            metrics::counter!(names::TOLD).increment(hints.len() as u64);
            self.log.append(&self.topics.forward_message, hints).await?;
            self.log.flush().await?;
        }
        let ends: HashMap<_, _> = records
            .into_iter()
            .map(|record| (record.partition, record.offset + 1))
            .collect();
        for (partition, next) in ends {
            consumer.commit(&partition, next).await?;
        }
        Ok(())
    }
}

/// The hint about a frame, when it is a message that an AI wrote. Frames that cannot be read are not for us:
/// who stores from this topic puts them aside.
fn hint(frame: &[u8]) -> Option<Record> {
    if !frame.starts_with(MESSAGE) || !frame.windows(LABEL.len()).any(|word| word == LABEL) {
        return None;
    }
    let message: Message = Head::parse(frame).ok()?.content().ok()?;
    let via = message
        .via
        .filter(|via| via.mode == BindingMode::Autoreply)?;
    let run = Run {
        run: via.run,
        chat: message.chat,
        kind: BindingMode::Autoreply,
        state: RunState::Done,
        trigger_o: message.o,
        text: Some(message.text),
        why: None,
        model: Some(via.model).filter(|model| !model.is_empty()),
        at: None,
        created_at: message.ts,
    };
    Some(Record {
        key: frames::user_key(message.author),
        value: frames::ephemeral(frames::AI_RUN, &run),
    })
}
