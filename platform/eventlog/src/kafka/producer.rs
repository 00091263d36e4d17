//! Appends: everything is enqueued in order, then all of it is waited for.

use std::{sync::Arc, time::Duration};

use kit::{Breaker, Spawner};
use parking_lot::RwLock;
use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};
use tokio::sync::watch;

use super::{
    away,
    client::Client,
    reader::{self, Marks, kafka_number},
    settings::Settings,
};
use crate::{Error, Record, Topic, metrics};

/// How long a stop waits for what is under way.
const CLOSING: Duration = Duration::from_secs(5);

/// The producer of a log; another one takes its place after an error that it cannot survive, and with each era of
/// [`Topics`](super::topics::Topics).
pub(super) struct Appender {
    settings: Settings,
    /// Absent after the close.
    client: RwLock<Option<Arc<Client>>>,
}

impl Appender {
    pub(super) fn new(settings: Settings) -> Result<Self, KafkaError> {
        let client = RwLock::new(Some(Client::new(&settings)?));
        Ok(Self { settings, client })
    }

    /// Begins anew with each era, and closes the breaker, until the node stops or nobody needs the appender any more.
    pub(super) fn keep(
        this: &Arc<Self>,
        mut eras: watch::Receiver<u64>,
        breaker: Breaker,
        spawner: &Spawner,
    ) {
        let (weak, stop) = (Arc::downgrade(this), spawner.token().clone());
        spawner.spawn("event log producer", async move {
            while let Some(Ok(())) = stop.run_until_cancelled(eras.changed()).await {
                if let Some(appender) = weak.upgrade()
                    && let Ok(client) = appender.client()
                {
                    appender.replace(&client);
                    breaker.note(false);
                }
            }
        });
    }

    fn client(&self) -> Result<Arc<Client>, Error> {
        let client = self.client.read().clone();
        client.ok_or_else(closed)
    }

    /// Whether anything may be appended.
    pub(super) fn check(&self) -> Result<(), Error> {
        let is_open = self.client.read().is_some();
        if is_open { Ok(()) } else { Err(closed()) }
    }

    /// The marks of every partition of `topic`, over the connections that are there.
    pub(super) async fn marks(&self, topic: Topic) -> Result<Vec<Marks>, Error> {
        let client = self.client()?;
        let asking = tokio::task::spawn_blocking(move || {
            let ask = |number| reader::marks(client.client(), &topic.name, kafka_number(number));
            (0..topic.partitions).map(ask).collect()
        });
        asking.await.map_err(away)?
    }

    /// Appends in order, and returns when every record is where all replicas have it. After a failure the outcome of each is
    /// unknown.
    pub(super) async fn append(&self, topic: &Topic, records: &[Record]) -> Result<(), Error> {
        let client = self.client()?;
        let Err(error) = client.append(topic, records).await else {
            return Ok(());
        };
        let name = Arc::clone(&topic.name);
        ::metrics::counter!(metrics::APPEND_FAILURES, "topic" => name).increment(1);
        self.after_failure(&client);
        Err(match error.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge) => {
                Error::Invalid(format!("topic {}: {error}", topic.name))
            }
            _ => away(error),
        })
    }

    fn after_failure(&self, client: &Arc<Client>) {
        if client.is_replaced() {
            // What was sent in the moment in which it was replaced.
            client.give_up();
        } else if let Some((code, why)) = client.fatal_error() {
            // A producer takes nothing any more.
            tracing::warn!(?code, why, "the producer has failed");
            self.replace(client);
        }
    }

    /// A new producer takes the place of `old`. What is under way with the old one is given up, lest it arrives after what comes
    /// next.
    fn replace(&self, old: &Arc<Client>) {
        let mut client = self.client.write();
        if !client.as_ref().is_some_and(|now| Arc::ptr_eq(now, old)) {
            return;
        }
        match Client::new(&self.settings) {
            Ok(new) => {
                old.retire();
                *client = Some(new);
            }
            Err(error) => tracing::error!(%error, "there is no new producer"),
        }
    }

    /// Waits for what is under way, within a bound; nothing is taken afterwards.
    pub(super) async fn close(&self) {
        let Some(client) = self.client.write().take() else {
            return;
        };
        if tokio::time::timeout(CLOSING, client.drain()).await.is_err() {
            tracing::warn!("not all records have arrived before the stop");
        }
    }
}

fn closed() -> Error {
    away("the event log is closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, kafka::Broker};

    #[tokio::test]
    async fn a_producer_that_was_replaced_sends_nothing_more() {
        let brokers = Broker::list("//127.0.0.1:1").unwrap();
        let settings = Settings::new(brokers, Config::default()).unwrap();
        let appender = Appender::new(settings).unwrap();
        let old = appender.client().unwrap();
        appender.replace(&old);
        assert!(old.is_replaced());
        let topic = Topic {
            name: "topic".into(),
            id: uuid::Uuid::nil(),
            partitions: 1,
        };
        let record = Record {
            key: "key".into(),
            value: "value".into(),
        };
        let failed = old.append(&topic, &[record]).await.unwrap_err();
        let purged = KafkaError::MessageProduction(Code::PurgeQueue);
        assert_eq!(failed, purged, "nobody was asked");
        let new = appender.client().unwrap();
        assert!(!Arc::ptr_eq(&new, &old) && !new.is_replaced());
        // Who was late replaces nobody.
        appender.replace(&old);
        assert!(Arc::ptr_eq(&new, &appender.client().unwrap()));
    }
}
