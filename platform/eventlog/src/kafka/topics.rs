//! What is known of topics: made when they are missing, looked at each second, noticed when made again.
//!
//! The look each second is also what readiness says: a broker has answered lately.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use kit::{Backoff, Spawner};
use parking_lot::{Mutex, RwLock};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    types::RDKafkaErrorCode as Code,
};
use tokio::{runtime::Handle, sync::watch, time::Instant};
use uuid::Uuid;

use super::{
    away,
    context::Quiet,
    metadata::{Answer, Asker, Standing},
    settings::{ANSWER_TIMEOUT, MAX_MESSAGE, Settings},
};
use crate::{Error, Topic, TopicSpec};

/// How often the topics in use are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The same while no broker answers, and how soon readers see that an era has begun.
pub(super) const LOOK_OUT: Duration = Duration::from_millis(250);
/// Brokers that were silent for so long may have been started anew.
const OUTAGE: Duration = Duration::from_secs(2);
/// An answer that is older says nothing about now.
const FRESH: Duration = Duration::from_secs(4);
/// How long topics are tried to be made while the brokers start or elect somebody.
const PATIENCE: Duration = Duration::from_secs(15);

/// The topics that this process has to do with.
pub(super) struct Topics {
    settings: Settings,
    asker: Asker,
    known: RwLock<HashMap<Arc<str>, Topic>>,
    /// How often the leaders of each had taken office.
    terms: Mutex<HashMap<Arc<str>, i64>>,
    /// Counts how often the clients had to begin anew.
    eras: watch::Sender<u64>,
    made_again: watch::Sender<u64>,
    look: Mutex<Look>,
}

#[derive(Default)]
struct Look {
    answered: Option<Instant>,
    /// Since when they are silent, and why.
    trouble: Option<(Instant, String)>,
    most_brokers: usize,
}

impl Topics {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            asker: Asker::new(settings.brokers.clone()),
            settings,
            known: RwLock::default(),
            terms: Mutex::default(),
            eras: watch::Sender::new(0),
            made_again: watch::Sender::new(0),
            look: Mutex::default(),
        })
    }

    /// Looks at the topics until the node stops or nobody needs them any more.
    pub(super) fn watch(this: &Arc<Self>, spawner: &Spawner) {
        let (weak, stop) = (Arc::downgrade(this), spawner.token().clone());
        spawner.spawn("event log topics", async move {
            let looking = async {
                while let Some(topics) = Weak::upgrade(&weak) {
                    let names: Vec<_> = topics.known.read().keys().cloned().collect();
                    // What is wrong with it was logged.
                    let found = topics.find(&names).await;
                    drop(topics);
                    tokio::time::sleep(if found.is_ok() { LOOK } else { LOOK_OUT }).await;
                }
            };
            tokio::select! {
                () = looking => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Asks for topics; `None` for one that is not there.
    pub(super) async fn find(&self, names: &[Arc<str>]) -> Result<Vec<Option<Topic>>, Error> {
        let Answer { brokers, standings } = match self.asker.ask(names).await {
            Ok(answer) => answer,
            Err(error) => {
                self.note_silence(&error);
                return Err(error);
            }
        };
        let (mut is_new_era, is_lone) = self.note_answer(brokers);
        let mut led = HashSet::new();
        let found = names.iter().zip(standings);
        let found = found.map(|(name, standing)| match standing {
            Standing::Known {
                id,
                partitions,
                terms,
            } => {
                let (topic, is_another) = self.note(name, id, partitions);
                is_new_era |= self.has_elected(name, terms, is_another) && is_lone || is_another;
                led.extend(terms.map(|_| name));
                Ok(Some(topic))
            }
            Standing::Missing => Ok(None),
            Standing::Unsettled(code) => Err(away(format!(
                "topic {name} is in trouble: Kafka's error {code}"
            ))),
        });
        // All are noted, whatever one of them has.
        let found: Vec<_> = found.collect();
        if is_new_era {
            // What the others have to tell of it is no news.
            self.terms.lock().retain(|name, _| led.contains(name));
            self.eras.send_modify(|era| *era += 1);
        }
        found.into_iter().collect()
    }

    /// Notes a topic; `true` when it was made again.
    fn note(&self, name: &Arc<str>, id: Uuid, partitions: u32) -> (Topic, bool) {
        let topic = Topic {
            name: Arc::clone(name),
            id,
            partitions,
        };
        let before = self.known.write().insert(Arc::clone(name), topic.clone());
        let before = before.filter(|before| before.id != id);
        if let Some(before) = &before {
            tracing::error!(
                topic = &**name,
                before = %before.id,
                now = %id,
                "a topic was deleted and made again; its readers begin anew"
            );
            self.made_again.send_modify(|times| *times += 1);
        }
        (topic, before.is_some())
    }

    /// Whether a topic has other leaders than before. A lone broker that elects itself was away, or not heard of by its cluster:
    /// then it has named no brokers, and a client of the library that has asked it meanwhile has forgotten the only one that
    /// it knew, for good.
    fn has_elected(&self, name: &Arc<str>, terms: Option<i64>, is_another: bool) -> bool {
        let mut known = self.terms.lock();
        if is_another {
            known.remove(name);
        }
        let Some(terms) = terms else { return false };
        // Answers may come out of their order.
        let before = known.get(name).copied();
        known.insert(Arc::clone(name), terms.max(before.unwrap_or(terms)));
        before.is_some_and(|before| before < terms)
    }

    /// Notes an answer; says whether it ends an outage, and whether there was never more than one broker.
    fn note_answer(&self, brokers: usize) -> (bool, bool) {
        let mut look = self.look.lock();
        look.answered = Some(Instant::now());
        look.most_brokers = look.most_brokers.max(brokers);
        let is_end = look.trouble.take().is_some_and(|(since, _)| {
            tracing::info!("the event log answers again");
            since.elapsed() >= OUTAGE
        });
        (is_end, look.most_brokers == 1)
    }

    fn note_silence(&self, error: &Error) {
        let mut look = self.look.lock();
        if look.trouble.is_none() {
            tracing::warn!(%error, "the event log does not answer");
        }
        let since = look
            .trouble
            .take()
            .map_or_else(Instant::now, |(since, _)| since);
        let why = match error {
            Error::Unavailable(why) => why.clone(),
            other => other.to_string(),
        };
        look.trouble = Some((since, why));
    }

    /// A topic, from what is known or from a broker.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is none.
    pub(super) async fn topic(&self, name: &str) -> Result<Topic, Error> {
        if let Some(topic) = self.known.read().get(name) {
            return Ok(topic.clone());
        }
        self.topic_now(name).await
    }

    /// A topic as a broker knows it now.
    pub(super) async fn topic_now(&self, name: &str) -> Result<Topic, Error> {
        let found = self.find(&[name.into()]).await?.pop().flatten();
        found.ok_or_else(|| Error::Invalid(format!("there is no topic {name} in the event log")))
    }

    /// The identity of a topic, as far as it is known.
    pub(super) fn id(&self, name: &str) -> Option<Uuid> {
        self.known.read().get(name).map(|topic| topic.id)
    }

    /// Rises when every client has to begin anew: after an outage of the brokers, and when a topic was made again.
    pub(super) fn era(&self) -> u64 {
        *self.eras.borrow()
    }

    /// Tells when the era changes, as long as anybody needs the topics.
    pub(super) fn eras(&self) -> watch::Receiver<u64> {
        self.eras.subscribe()
    }

    /// See [`crate::EventLog::made_again`].
    pub(super) fn made_again(&self) -> watch::Receiver<u64> {
        self.made_again.subscribe()
    }

    /// Whether a broker has answered lately.
    pub(super) async fn check(&self) -> Result<(), Error> {
        let answered = self.look.lock().answered;
        match answered {
            Some(at) if at.elapsed() < FRESH => Ok(()),
            Some(_) => {
                let trouble = self.look.lock().trouble.clone();
                let why = trouble.map_or_else(
                    || "the brokers are not asked any more".to_owned(),
                    |(_, why)| why,
                );
                Err(Error::Unavailable(why))
            }
            None => self.find(&[]).await.map(drop),
        }
    }

    /// Makes the topics that are missing, and waits until the brokers know them.
    pub(super) async fn ensure(&self, specs: &[TopicSpec]) -> Result<Vec<Topic>, Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let mut made = false;
        loop {
            let trouble = match self.missing(specs).await {
                Ok(Ok(topics)) => return Ok(topics),
                Ok(Err(missing)) if !made => match self.make(missing).await {
                    Ok(()) => {
                        made = true;
                        continue;
                    }
                    Err(error) => error,
                },
                Ok(Err(missing)) => {
                    let names: Vec<_> = missing.iter().map(|spec| &*spec.name).collect();
                    away(format!("the topics {} do not appear", names.join(", ")))
                }
                Err(error) => error,
            };
            if !matches!(trouble, Error::Unavailable(_)) || Instant::now() >= deadline {
                return Err(trouble);
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// All topics, or those that are not there.
    async fn missing(
        &self,
        specs: &[TopicSpec],
    ) -> Result<Result<Vec<Topic>, Vec<TopicSpec>>, Error> {
        let names: Vec<_> = specs.iter().map(|spec| Arc::clone(&spec.name)).collect();
        let (mut topics, mut missing) = (Vec::new(), Vec::new());
        for (spec, found) in specs.iter().zip(self.find(&names).await?) {
            match found {
                Some(topic) if topic.partitions != spec.partitions => {
                    return Err(Error::PartitionMismatch {
                        topic: spec.name.to_string(),
                        wanted: spec.partitions,
                        found: topic.partitions,
                    });
                }
                Some(topic) => topics.push(topic),
                None => missing.push(spec.clone()),
            }
        }
        Ok(if missing.is_empty() {
            Ok(topics)
        } else {
            Err(missing)
        })
    }

    /// Asks for new topics; that somebody else was faster is fine.
    async fn make(&self, specs: Vec<TopicSpec>) -> Result<(), Error> {
        let (client, config) = (self.settings.client(), self.settings.config.kafka.clone());
        let making = tokio::task::spawn_blocking(move || {
            let admin: AdminClient<Quiet> = client.create_with_context(Quiet).map_err(away)?;
            let size = MAX_MESSAGE.to_string();
            let least = config.min_insync_replicas.map(|least| least.to_string());
            let copies = config.replication_factor.map_or(-1, i32::from);
            let topics: Vec<_> = specs
                .iter()
                .map(|spec| {
                    let count = i32::try_from(spec.partitions).unwrap_or(i32::MAX);
                    let topic = NewTopic::new(&spec.name, count, TopicReplication::Fixed(copies))
                        .set("max.message.bytes", &size);
                    match &least {
                        Some(least) => topic.set("min.insync.replicas", least),
                        None => topic,
                    }
                })
                .collect();
            let options = AdminOptions::new()
                .request_timeout(Some(ANSWER_TIMEOUT))
                .operation_timeout(Some(ANSWER_TIMEOUT));
            // The client waits for its thread when it is dropped, which must not happen on a runtime's.
            Handle::current()
                .block_on(admin.create_topics(&topics, &options))
                .map_err(away)
        });
        for result in making.await.map_err(away)?? {
            match result {
                Ok(name) => tracing::info!(topic = name, "topic made"),
                Err((_, Code::TopicAlreadyExists)) => {}
                Err((
                    name,
                    code @ (Code::RequestTimedOut
                    | Code::NotController
                    | Code::BrokerNotAvailable
                    | Code::InvalidReplicationFactor),
                )) => {
                    // While brokers start there may be fewer than copies are wanted.
                    return Err(away(format!("topic {name} cannot be made: {code}")));
                }
                Err((name, code)) => {
                    return Err(Error::Invalid(format!(
                        "topic {name} cannot be made: {code}"
                    )));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, kafka::Broker};

    fn topics() -> Arc<Topics> {
        let brokers = Broker::list("//127.0.0.1:1").unwrap();
        Topics::new(Settings::new(brokers, Config::default()).unwrap())
    }

    #[test]
    fn leaders_that_take_office_anew_are_noticed_once() {
        let (topics, name) = (topics(), Arc::from("topic"));
        let seen = [Some(5), None, Some(5), Some(6), Some(5), Some(6), Some(7)];
        let anew = seen.map(|terms| topics.has_elected(&name, terms, false));
        assert_eq!(anew, [false, false, false, true, false, false, true]);
        assert!(
            !topics.has_elected(&name, Some(0), true),
            "it was made again"
        );
        assert!(topics.has_elected(&name, Some(1), false));
    }

    #[test]
    fn a_broker_is_alone_when_there_never_was_another() {
        let topics = topics();
        assert_eq!(topics.note_answer(1), (false, true));
        assert_eq!(topics.note_answer(3), (false, false));
        assert_eq!(topics.note_answer(1), (false, false));
    }
}
