//! From the streams of the chats to the lane of the person in whose name an AI wrote, and from there to the sockets here.

use std::{sync::Arc, time::Duration};

use contracts::{
    ai::{Run, RunState},
    chat::BindingMode,
    events::Topics,
    frames::{self, Head, Lane},
    message::Message,
};
use eventlog::{Delivered, EventLog, Pace, Record, StartAt, Subscription};
use kit::{BoxError, CancellationToken};
use realtime::Listeners;

use crate::{api::Gate, metrics as names};

/// The consumer group.
pub(crate) const GROUP: &str = "ws-autoreply";
/// What the frame of a message begins with.
const MESSAGE: &[u8] = br#"{"t":"msg.new""#;
/// What the frame of an AI's message holds; a person's may hold it in its text.
const LABEL: &[u8] = b"autoreply";

/// What the tasks stand on.
pub(crate) struct Replies {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) people: Arc<Listeners<Gate>>,
    pub(crate) member: Arc<str>,
    pub(crate) session_timeout: Duration,
    pub(crate) stop: CancellationToken,
}

impl Replies {
    /// Puts what was said onto the lanes of those in whose name it stands.
    pub(crate) async fn tell(self: Arc<Self>) -> Result<(), BoxError> {
        let subscription = Subscription {
            group: GROUP.into(),
            member: self.member.clone(),
            topics: vec![self.topics.forward_message.as_str().into()],
            start: StartAt::Group,
            session_timeout: self.session_timeout,
            pace: Pace::Relaxed,
        };
        let take = |records| self.hand_over(records);
        eventlog::consume(self.log.as_ref(), subscription, 500, &self.stop, take).await
    }

    async fn hand_over(&self, records: Vec<Delivered>) -> Result<(), BoxError> {
        let hints: Vec<_> = records
            .iter()
            .filter_map(|record| hint(&record.value))
            .collect();
        if !hints.is_empty() {
            metrics::counter!(names::TOLD).increment(hints.len() as u64);
            self.log.append(&self.topics.forward_message, hints).await?;
            self.log.flush().await?;
        }
        Ok(())
    }

    /// Tells those who are here what comes along their lanes.
    pub(crate) async fn follow_lanes(self: Arc<Self>) -> Result<(), BoxError> {
        let lanes = self
            .log
            .tail(&self.topics.forward_message, Pace::Relaxed)
            .await?;
        let tell = |records: Vec<Delivered>| {
            for record in &records {
                if let Some(Lane::User(user)) = Lane::parse(&record.key) {
                    self.people.tell(user.0, &record.value, is_reply);
                }
            }
        };
        let feed = eventlog::follow(lanes, &self.stop, tell);
        Ok(self.people.while_fed(feed).await?)
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

fn is_reply(frame: &[u8]) -> bool {
    Head::parse(frame).is_ok_and(|head| {
        matches!(head.t.as_ref(), frames::AI_RUN | frames::AI_HOLD)
            && head.run_kind() == Some(BindingMode::Autoreply)
    })
}
