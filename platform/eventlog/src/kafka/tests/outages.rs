//! Brokers that are away, and one that is killed.

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{own::Own, *};
use crate::{
    Error, Pace,
    kafka::{Appender, Settings},
};

/// An address where nobody listens.
const NOBODY: &str = "127.0.0.1:9";

fn hasty() -> Config {
    let mut config = Config {
        backlog_bytes: 2 << 20,
        append_timeout: Duration::from_secs(1),
        ..Config::default()
    };
    config.kafka.delivery_timeout = Duration::from_secs(2);
    config
}

/// Without a broker everything says so, and nothing waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_everything_is_unavailable_in_bounded_time() {
    let log = open(NOBODY, hasty());
    let begun = Instant::now();
    for refused in [
        log.check().await,
        log.append("topic", numbered(0..1, 10)).await,
        log.watermarks("topic").await.map(drop),
        log.tail("topic", Pace::Prompt).await.map(drop),
    ] {
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    }
    let spec = TopicSpec {
        name: "topic".into(),
        partitions: 1,
    };
    let ensured = log.ensure(&[spec]).await;
    assert!(matches!(ensured, Err(Error::Unavailable(_))));
    log.close().await;
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}

/// The queue of the producer is bounded; what has no room in time is refused, and what waits fails in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_and_what_waits_in_it_fails() {
    let brokers = Broker::list(&format!("//{NOBODY}")).unwrap();
    let appender = Appender::new(Settings::new(brokers, hasty()).unwrap()).unwrap();
    let topic = Topic {
        name: "topic".into(),
        id: uuid::Uuid::nil(),
        partitions: 2,
    };
    let begun = Instant::now();
    let records = numbered(0..5, crate::rules::MAX_VALUE);
    let failed = appender.append(&topic, &records).await.unwrap_err();
    assert!(failed.to_string().contains("Queue full"), "{failed}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );

    // The records of before time out and make room.
    let failed = appender
        .append(&topic, &numbered(0..1, 10))
        .await
        .unwrap_err();
    assert!(matches!(failed, Error::Unavailable(_)), "{failed}");
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
}

/// fault:F5: what waits behind somebody else's records in vain has no more time than they had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_behind_another_that_fails_ends_in_its_own_time() {
    let brokers = Broker::list(&format!("//{NOBODY}")).unwrap();
    let mut config = hasty();
    let time = Duration::from_secs(4);
    config.kafka.delivery_timeout = time;
    let appender = Appender::new(Settings::new(brokers, config).unwrap()).unwrap();
    let topic = Topic {
        name: "topic".into(),
        id: uuid::Uuid::nil(),
        partitions: 1,
    };
    let records = numbered(0..1, 10);
    // Its caller gives up; the record is still under way.
    let first = tokio::time::timeout(time / 16, appender.append(&topic, &records)).await;
    assert!(first.is_err());
    let begun = Instant::now();
    let failed = appender.append(&topic, &records).await.unwrap_err();
    assert!(matches!(failed, Error::Unavailable(_)), "{failed}");
    let taken = begun.elapsed();
    assert!(taken < time + Duration::from_millis(2500), "{taken:?}");
}

/// row:F10: while no broker answers appends soon fail at once; `a_killed_broker_costs_nothing_that_was_confirmed` shows
/// how it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_fail_at_once_when_the_brokers_are_known_to_be_away() {
    let log = open(NOBODY, hasty());
    let append = || log.append("topic", numbered(0..1, 10));
    let failed = futures_util::future::join_all((0..5).map(|_| append())).await;
    assert!(failed.iter().all(Result::is_err));
    assert!(log.breaker.is_open());
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(matches!(append().await, Err(Error::Unavailable(_))));
    }
    assert!(begun.elapsed() < Duration::from_millis(200));
}

/// row:C18, fault:F5, fault:F6: a broker is killed under load and comes back. What was confirmed is read once and in order by
/// those who were there before; what failed meanwhile was told to be unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_costs_nothing_that_was_confirmed() {
    let own = tokio::task::spawn_blocking(Own::start).await.unwrap();
    let log = Arc::new(open(&own.brokers(), hasty()));
    let topic = topic(log.as_ref(), "killed", 2).await;
    let start = subscription(&topic, "group", "one", StartAt::Group);
    let mut consumer = log.subscribe(start).await.unwrap();
    let mut tail = log.tail(&topic.name, Pace::Prompt).await.unwrap();
    log.append(&topic.name, numbered(0..10, 10)).await.unwrap();
    assert_eq!(take(consumer.as_mut(), 10).await.len(), 10);
    assert_eq!(follow(tail.as_mut(), 10).await.len(), 10);

    let (appending, name) = (Arc::clone(&log), Arc::clone(&topic.name));
    let mut killing = tokio::task::spawn_blocking(move || {
        own.script("kill");
        own.script("up");
        own
    });
    let (mut confirmed, mut unknown, mut next) = (Vec::new(), 0, 10);
    // Goes on until the broker is back and has taken something.
    let mut back = None;
    loop {
        let is_back = back.is_some();
        match appending.append(&name, numbered(next..next + 1, 10)).await {
            Ok(()) => {
                confirmed.push(next);
                if is_back {
                    break;
                }
            }
            Err(Error::Unavailable(_)) => unknown += 1,
            Err(other) => panic!("{other}"),
        }
        next += 1;
        if !is_back && killing.is_finished() {
            back = Some((&mut killing).await.unwrap());
        }
    }
    assert!(unknown > 0, "the outage was noticed");
    assert!(!log.breaker.is_open(), "row:F10: it closed");
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = log.check().await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Each waits for everything that was confirmed, and fails when it does not come.
    let (mut of_consumer, mut of_tail) = (Vec::new(), Vec::new());
    while !has_all(&of_consumer, &confirmed) {
        of_consumer.extend(take(consumer.as_mut(), 1).await);
    }
    while !has_all(&of_tail, &confirmed) {
        of_tail.extend(follow(tail.as_mut(), 1).await);
    }
    for records in [of_consumer, of_tail] {
        let mut newest = std::collections::HashMap::new();
        for record in &records {
            let before = newest.insert(record.partition.clone(), number(record));
            assert!(before < Some(number(record)), "in order, and once");
        }
    }
    drop((consumer, tail, log, appending));
    drop(tokio::task::spawn_blocking(move || drop(back)).await);
}

/// A way to the broker of all tests that can be closed. Only those who ask for the first time come along: others know the broker.
struct Gate {
    port: u16,
    passing: JoinSet<()>,
}

impl Gate {
    /// Opens at `port`, or at one of the system's choice when that is 0.
    async fn open(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut passing = JoinSet::new();
        passing.spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((mut one, _)) = listener.accept().await {
                let mut other = TcpStream::connect(brokers()).await.unwrap();
                passing.spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut one, &mut other).await;
                });
            }
        });
        Self { port, passing }
    }
}

/// fault:F5: after an outage every client begins anew, where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_every_client_goes_on_where_it_was() {
    let mut gate = Gate::open(0).await;
    let log = open(&format!("127.0.0.1:{}", gate.port), Config::default());
    let topic = topic(&log, "outage", 2).await;
    let start = subscription(&topic, "group", "one", StartAt::Group);
    let mut consumer = log.subscribe(start).await.unwrap();
    let mut tail = log.tail(&topic.name, Pace::Prompt).await.unwrap();
    log.append(&topic.name, numbered(0..10, 10)).await.unwrap();
    for record in take(consumer.as_mut(), 10).await {
        let next = record.offset + 1;
        consumer.commit(&record.partition, next).await.unwrap();
    }
    follow(tail.as_mut(), 10).await;

    gate.passing.shutdown().await;
    let deadline = Instant::now() + PATIENCE;
    while log.check().await.is_ok() {
        assert!(Instant::now() < deadline, "the outage is noticed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    log.append(&topic.name, numbered(10..20, 10)).await.unwrap();
    assert_eq!(log.topics.era(), 0);
    let _gate = Gate::open(gate.port).await;
    while log.topics.era() == 0 {
        assert!(Instant::now() < deadline, "the end of it is noticed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    log.append(&topic.name, numbered(20..30, 10)).await.unwrap();
    let expected: Vec<_> = (10..30).collect();
    assert_eq!(numbers(&take(consumer.as_mut(), 20).await), expected);
    assert_eq!(numbers(&follow(tail.as_mut(), 20).await), expected);
    assert_eq!(log.topics.era(), 1);
}

fn has_all(records: &[Delivered], confirmed: &[u32]) -> bool {
    let read = numbers(records);
    confirmed
        .iter()
        .all(|number| read.binary_search(number).is_ok())
}
