//! From the topic of advice responses to the hint lane of the owner.

use std::{collections::HashMap, sync::Arc, time::Duration};

use contracts::{ai::Advice, events::Topics, frames};
use eventlog::{Consumer, Delivered, EventLog, Poll, Record, StartAt, Subscription};
use kit::{BoxError, CancellationToken};

use crate::metrics as names;

/// The consumer group.
pub(crate) const GROUP: &str = "ws-ai-advice";

/// The consumer of advice responses.
#[derive(Clone)]
pub(crate) struct Deliver {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) member: Arc<str>,
    pub(crate) session_timeout: Duration,
    pub(crate) token: CancellationToken,
}

impl Deliver {
    /// Works until the node stops.
    pub(crate) async fn run(self) -> Result<(), BoxError> {
        let mut consumer = self
            .log
            .subscribe(Subscription {
                group: GROUP.into(),
                member: self.member.clone(),
                topics: vec![self.topics.ai_advice_response.as_str().into()],
                start: StartAt::Group,
                session_timeout: self.session_timeout,
            })
            .await?;
        loop {
            let polled = tokio::select! {
                polled = consumer.poll(100, Duration::from_secs(1)) => polled?,
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
        if records.is_empty() {
            return Ok(());
        }
        let mut ends = HashMap::new();
        for record in records {
            let (topic, hint) = self.hint(&record);
            self.log.append(&topic, vec![hint]).await?;
            ends.insert(record.partition, record.offset + 1);
        }
        self.log.flush().await?;
        for (partition, next) in ends {
            consumer.commit(&partition, next).await?;
        }
        Ok(())
    }

    /// Where a record goes, and as what.
    fn hint(&self, record: &Delivered) -> (String, Record) {
        match serde_json::from_slice::<Advice>(&record.value) {
            Ok(advice) => {
                metrics::counter!(names::DELIVERED).increment(1);
                let value = frames::ephemeral(frames::AI_RUN, &advice.run);
                (
                    self.topics.forward_message.clone(),
                    Record {
                        key: frames::user_key(advice.owner),
                        value,
                    },
                )
            }
            Err(error) => {
                tracing::warn!(%error, offset = record.offset, "an advice record is not readable");
                metrics::counter!(names::DEAD).increment(1);
                (
                    Topics::dead_letters(GROUP),
                    Record {
                        key: record.key.clone(),
                        value: record.value.clone(),
                    },
                )
            }
        }
    }
}
