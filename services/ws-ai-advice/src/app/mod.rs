//! From the topic of advice responses to the owner's lane, and from there to the sockets here.

pub(crate) mod pieces;

use std::{sync::Arc, time::Duration};

use cache::{Cache, Following};
use contracts::{
    ai,
    chat::BindingMode,
    events::Topics,
    frames::{self, Head, Lane},
};
use eventlog::{Delivered, EventLog, Pace, Record, StartAt, Subscription};
use kit::{BoxError, CancellationToken};
use realtime::Listeners;

use crate::{api::Gate, metrics as names};
use pieces::Pieces;

/// The consumer group.
pub(crate) const GROUP: &str = "ws-ai-advice";

/// What the tasks stand on.
pub(crate) struct Advice {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) cache: Arc<dyn Cache>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) people: Arc<Listeners<Gate>>,
    pub(crate) following: Arc<Following>,
    pub(crate) member: Arc<str>,
    pub(crate) session_timeout: Duration,
    pub(crate) stop: CancellationToken,
}

impl Advice {
    /// Brings advice onto the lanes of its owners.
    pub(crate) async fn deliver(self: Arc<Self>) -> Result<(), BoxError> {
        let subscription = Subscription {
            group: GROUP.into(),
            member: self.member.clone(),
            topics: vec![self.topics.ai_advice_response.as_str().into()],
            start: StartAt::Group,
            session_timeout: self.session_timeout,
            pace: Pace::Prompt,
        };
        let take = |records| self.hand_over(records);
        eventlog::consume(self.log.as_ref(), subscription, 100, &self.stop, take).await
    }

    async fn hand_over(&self, records: Vec<Delivered>) -> Result<(), BoxError> {
        for record in records {
            let (topic, hint) = self.hint(record);
            self.log.append(&topic, vec![hint]).await?;
        }
        Ok(self.log.flush().await?)
    }

    /// Where a record goes, and as what.
    fn hint(
        &self,
        Delivered {
            offset, key, value, ..
        }: Delivered,
    ) -> (String, Record) {
        match serde_json::from_slice::<ai::Advice>(&value) {
            Ok(advice) => {
                metrics::counter!(names::DELIVERED).increment(1);
                let key = frames::user_key(advice.owner);
                let value = frames::ephemeral(frames::AI_RUN, &advice.run);
                (self.topics.forward_message.clone(), Record { key, value })
            }
            Err(error) => {
                tracing::warn!(%error, offset, "an advice record is not readable");
                metrics::counter!(names::DEAD).increment(1);
                (self.topics.dead_letters(GROUP), Record { key, value })
            }
        }
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
                    self.people.tell(user.0, &record.value, is_advice);
                }
            }
        };
        let feed = eventlog::follow(lanes, &self.stop, tell);
        Ok(self.people.while_fed(feed).await?)
    }

    /// Sends those who are here the pieces of texts that are still growing.
    pub(crate) async fn follow_pieces(self: Arc<Self>) -> Result<(), BoxError> {
        let pieces = Pieces(&self.people);
        let following = self.following.follow(self.cache.as_ref(), &pieces);
        self.stop.run_until_cancelled(following).await;
        Ok(())
    }
}

fn is_advice(frame: &[u8]) -> bool {
    Head::parse(frame)
        .is_ok_and(|head| head.t == frames::AI_RUN && head.run_kind() == Some(BindingMode::Advice))
}
