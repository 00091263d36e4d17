//! How the client library is set: every setting and its reason in one place.

use std::{fmt, time::Duration};

use rdkafka::{ClientConfig, config::RDKafkaLogLevel};

use crate::{Config, OpenError, Pace, Subscription, rules};

/// The name under which brokers know us.
pub(super) const CLIENT: &str = "messenger";
/// A group that nobody joins: whoever assigns itself partitions has to name one.
const READER_GROUP: &str = "messenger-reader";
/// The longest question to a broker.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// What a topic and a producer accept: the largest payload and key, and what Kafka puts around them.
pub(super) const MAX_MESSAGE: usize = rules::MAX_VALUE + (64 << 10);
/// How often the library reports how far its consumers are.
const STATISTICS: Duration = Duration::from_secs(5);

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broker {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Broker {
    /// Reads what follows `kafka:` in a URL.
    pub(crate) fn list(rest: &str) -> Result<Vec<Self>, OpenError> {
        let wrong = |text: &str| OpenError::Brokers(text.to_owned());
        let list = rest
            .strip_prefix("//")
            .ok_or_else(|| wrong("`//` is missing"))?;
        let list = list.strip_suffix('/').unwrap_or(list);
        if list.contains('@') {
            return Err(wrong("names and passwords are not supported"));
        }
        list.split(',')
            .map(|text| {
                Self::read(text).ok_or_else(|| wrong(&format!("`{text}` is no broker address")))
            })
            .collect()
    }

    fn read(text: &str) -> Option<Self> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let host = match host.strip_prefix('[') {
            Some(address) => address
                .strip_suffix(']')
                .filter(|text| text.parse::<std::net::Ipv6Addr>().is_ok())?,
            None => host,
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        let is_host = !host.is_empty() && host.bytes().all(is_plain);
        // Without brackets a colon in the host is a second port.
        let is_host = is_host && (text.contains('[') || !host.contains(':'));
        is_host.then(|| Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// What every client of one log is made from.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) brokers: Vec<Broker>,
    pub(super) config: Config,
}

impl Settings {
    /// Refuses what cannot work.
    pub(super) fn new(brokers: Vec<Broker>, config: Config) -> Result<Self, OpenError> {
        let wrong = |text: &str| Err(OpenError::Config(text.to_owned()));
        let kafka = &config.kafka;
        if config.backlog_bytes < 2 * rules::MAX_VALUE || config.backlog_bytes > 1 << 30 {
            return wrong("backlog_bytes must be 2 MiB to 1 GiB");
        }
        if !(Duration::from_secs(1)..=Duration::from_mins(5)).contains(&kafka.delivery_timeout) {
            return wrong("kafka.delivery_timeout must be 1 s to 5 min");
        }
        if kafka
            .replication_factor
            .is_some_and(|copies| !(1..=99).contains(&copies))
        {
            return wrong("kafka.replication_factor must be 1 to 99");
        }
        if kafka.min_insync_replicas == Some(0)
            || matches!((kafka.min_insync_replicas, kafka.replication_factor), (Some(least), Some(all)) if least > all)
        {
            return wrong("kafka.min_insync_replicas must be 1 to kafka.replication_factor");
        }
        if !kafka
            .group_prefix
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        {
            return wrong("kafka.group_prefix may have letters, digits, `.`, `-` and `_`");
        }
        Ok(Self { brokers, config })
    }

    /// What all clients have in common.
    pub(super) fn client(&self) -> ClientConfig {
        let brokers: Vec<_> = self.brokers.iter().map(Broker::to_string).collect();
        let mut client = ClientConfig::new();
        if let [_] = &brokers[..] {
            // We begin anew ourselves after an outage of a lone broker; the library would try twenty times a second all the while.
            client.set("metadata.recovery.strategy", "none");
        }
        client
            .set("bootstrap.servers", brokers.join(","))
            .set("client.id", CLIENT)
            // By default it waits up to 10 s before it connects again.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.connection.setup.timeout.ms", "5000")
            .set("socket.timeout.ms", "10000")
            .set("socket.keepalive.enable", "true")
            .set_log_level(RDKafkaLogLevel::Info);
        client
    }

    /// Appends: everything or an error, once and in order per partition. Waits `gathering` for more to go along.
    pub(super) fn producer(&self, gathering: Duration) -> ClientConfig {
        let mut client = self.client();
        let gathering = gathering.as_millis().to_string();
        let timeout = self.config.kafka.delivery_timeout.as_millis().to_string();
        client
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", gathering)
            .set("delivery.timeout.ms", timeout)
            // The backlog waits with us.
            .set("queue.buffering.max.kbytes", "2097151")
            .set("queue.buffering.max.messages", "0")
            .set("message.max.bytes", MAX_MESSAGE.to_string())
            // The partitioner of the Java clients: a key has one partition, whoever appends.
            .set("partitioner", "murmur2_random");
        client
    }

    /// A member of a group.
    pub(super) fn member(&self, subscription: &Subscription) -> ClientConfig {
        let mut client = self.consumer(subscription.pace);
        let session = subscription.session_timeout.as_millis();
        client
            .set(
                "group.id",
                format!("{}{}", self.config.kafka.group_prefix, subscription.group),
            )
            .set("group.instance.id", &*subscription.member)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session.to_string())
            .set("heartbeat.interval.ms", (session / 12).max(1).to_string())
            // A member that does not poll is as good as dead, though its process lives.
            .set("max.poll.interval.ms", session.to_string())
            .set("statistics.interval.ms", STATISTICS.as_millis().to_string());
        client
    }

    /// Reads partitions that it assigns itself.
    pub(super) fn reader(&self, pace: Pace) -> ClientConfig {
        let mut client = self.consumer(pace);
        client.set("group.id", READER_GROUP);
        client
    }

    fn consumer(&self, pace: Pace) -> ClientConfig {
        let mut client = self.client();
        client
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Nobody but us decides where to go on.
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            // What is fetched ahead, for all partitions of the consumer.
            .set("queued.max.messages.kbytes", "16384")
            .set("queued.min.messages", "10000")
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.error.backoff.ms", "100");
        if pace == Pace::Relaxed {
            // A broker answers when so much is there, or after so long.
            client
                .set("fetch.min.bytes", "65536")
                .set("fetch.wait.max.ms", "100");
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rest: &str) -> Result<Vec<String>, String> {
        match Broker::list(rest) {
            Ok(brokers) => Ok(brokers.iter().map(Broker::to_string).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_relaxed_reader_lets_the_broker_gather_for_a_tenth_of_a_second() {
        let brokers = Broker::list("//127.0.0.1:1").unwrap();
        let settings = Settings::new(brokers, Config::default()).unwrap();
        let gathers = |pace| {
            let reader = settings.reader(pace);
            ["fetch.min.bytes", "fetch.wait.max.ms"].map(|name| reader.get(name).map(str::to_owned))
        };
        assert_eq!(gathers(Pace::Prompt), [None, None]);
        assert_eq!(
            gathers(Pace::Relaxed),
            [Some("65536".into()), Some("100".into())]
        );
    }

    #[test]
    fn brokers_are_a_list_of_hosts_with_ports() {
        assert_eq!(list("//one:9092").unwrap(), ["one:9092"]);
        assert_eq!(
            list("//10.0.0.1:1, kafka-2.example:65535,[::1]:9092/").unwrap(),
            ["10.0.0.1:1", "kafka-2.example:65535", "[::1]:9092"]
        );
    }

    #[test]
    fn a_bad_address_is_named_and_a_password_is_not_repeated() {
        for bad in [
            "//",
            "one:9092",
            "//one",
            "//one:0",
            "//one:99999",
            "//one:9092,",
            "//one:1:2",
            "//a b:9092",
            "//[one]:9092",
            "//one:9092/topic",
        ] {
            let error = list(bad).expect_err(bad);
            assert!(error.contains("kafka://HOST:PORT"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
        let error = list("//ann:hunter2@one:9092").unwrap_err();
        assert!(
            !error.contains("hunter2") && !error.contains("ann"),
            "{error}"
        );
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let refused = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            matches!(Settings::new(Vec::new(), config), Err(OpenError::Config(_)))
        };
        assert!(!refused(|_| {}));
        assert!(refused(|config| config.backlog_bytes = 1024));
        assert!(refused(
            |config| config.kafka.delivery_timeout = Duration::ZERO
        ));
        assert!(refused(|config| config.kafka.replication_factor = Some(0)));
        assert!(refused(|config| config.kafka.min_insync_replicas = Some(0)));
        assert!(refused(|config| config.kafka.group_prefix = "a b".into()));
        assert!(refused(|config| {
            config.kafka.replication_factor = Some(1);
            config.kafka.min_insync_replicas = Some(2);
        }));
    }
}
