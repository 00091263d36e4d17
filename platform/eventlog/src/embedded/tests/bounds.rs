//! What happens at the limits: memory, backlog, disk, age and size.

use std::{sync::atomic::Ordering, time::Duration};

use crate::{
    Error, EventLog, Pace,
    embedded::{engine::Engine, store},
    suite::Ledger,
};

use super::{
    stops::{child, say, told_as_child},
    *,
};

impl EmbeddedLog {
    /// Lets the file grow by so many pages and no more; none takes the limit away.
    async fn limit_pages(&self, more: Option<u32>) {
        let engine = &self.engine;
        let mut writer = engine.writer.lock().await;
        let pages: u32 = sqlx::query_scalar("PRAGMA page_count")
            .fetch_one(&engine.file.readers)
            .await
            .unwrap();
        engine
            .file
            .page_limit
            .store(more.map_or(0, |more| pages + more), Ordering::SeqCst);
        writer.0 = None;
    }
}

/// fault:F18: a full disk refuses appends, disturbs no reader, and heals by itself in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_appends_and_heals_by_itself() {
    let home = Home::new();
    let log = home.open().await;
    topic(&log, 3).await;
    let mut consumer = subscribe(&log, StartAt::Group).await;
    log.limit_pages(Some(40)).await;
    let mut taken = 0;
    let deadline = Instant::now() + PATIENCE;
    let refusal = loop {
        assert!(Instant::now() < deadline, "the disk is never full");
        match log.append("topic", numbered(taken..taken + 10, 1000)).await {
            Ok(()) => taken += 10,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&refusal, Error::Unavailable(why) if why.contains("full")),
        "{refusal}"
    );
    assert!(log.check().await.is_err(), "it is not ready");
    assert!(matches!(log.flush().await, Err(Error::Unavailable(_))));
    let read = take(&mut *consumer, taken as usize).await;
    assert_eq!(read.len(), taken as usize, "what was taken is visible");

    log.limit_pages(None).await;
    while log.check().await.is_err() {
        assert!(Instant::now() < deadline, "it does not heal");
        tokio::task::yield_now().await;
    }
    log.append("topic", numbered(taken..taken + 10, 1000))
        .await
        .unwrap();
    log.close().await;
    assert_eq!(
        numbers_in_order(&home.open().await).await,
        (0..taken + 10).collect::<Vec<_>>()
    );
}

/// fault:F19: after an input/output error nothing is written any more and the process stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_output_error_fails_the_log_for_good() {
    if let Some(path) = told_as_child() {
        return fail_for_good(&path).await;
    }
    let home = Home::new();
    // A limit on the size of files makes a write fail as a broken disk does.
    let program = "trap '' XFSZ; ulimit -f 3000; exec \"$0\" \"$@\"";
    let test = "bounds::an_input_output_error_fails_the_log_for_good";
    let mut command = child(program, test, &home.path());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("the node stopped: task event log writer failed"),
        "{said}"
    );
    // The next process finds a file that works, with everything that was written.
    let numbers = numbers_in_order(&home.open().await).await;
    assert_eq!(numbers, first(numbers.len()));
    assert!(numbers.len() > 100, "{}", numbers.len());
}

async fn fail_for_good(path: &Path) {
    let node = Node::new();
    let clock = Arc::new(ManualClock::at(100 * DAY));
    let log = EmbeddedLog::open(
        path.to_owned(),
        Config::default(),
        clock,
        Arc::new(RandomIds),
        node.spawner(),
    );
    let log = log.await.unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let node = node
        .bind(any, any)
        .await
        .unwrap()
        .serve(std::future::pending());
    let work = async {
        topic(&log, 3).await;
        let mut next = 0;
        while log
            .append("topic", numbered(next..next + 10, 1000))
            .await
            .is_ok()
        {
            next += 10;
            // What it says is seen by the next append.
            let _ = log.flush().await;
        }
        for _ in 0..3 {
            assert!(matches!(
                log.append("topic", numbered(0..1, 10)).await,
                Err(Error::Unavailable(_))
            ));
            assert!(matches!(log.flush().await, Err(Error::Unavailable(_))));
            assert!(log.read("topic", 0, 0, 1).await.is_err());
            assert!(log.check().await.is_err());
        }
    };
    let (stopped, ()) = tokio::join!(node, work);
    log.close().await;
    say(&format!("the node stopped: {}", stopped.unwrap_err()));
}

#[tokio::test]
async fn memory_stays_within_its_bound_and_older_records_come_from_the_file() {
    let mut home = Home::new();
    home.config.memory_bytes = 3 << 20;
    home.config.backlog_bytes = 2 << 20;
    let log = home.open().await;
    topic(&log, 3).await;
    let mut tail = log.tail("topic", Pace::Prompt).await.unwrap();
    for start in (0..20_000).step_by(100) {
        log.append("topic", numbered(start..start + 100, 1000))
            .await
            .unwrap();
        let bytes = log.engine.memory.lock().bytes();
        assert!(bytes <= home.config.memory_bytes, "{bytes}");
    }
    let mut seen = Vec::new();
    while seen.len() < 20_000 {
        seen.extend(tail.next(500).await.unwrap());
    }
    let mut numbers: Vec<u32> = seen.iter().map(number).collect();
    numbers.sort_unstable();
    assert_eq!(
        numbers,
        (0..20_000).collect::<Vec<_>>(),
        "a tail that fell behind reads on from the file"
    );
    let read = take(&mut *subscribe(&log, StartAt::Group).await, 20_000).await;
    assert_eq!(read.len(), 20_000);
}

#[tokio::test]
async fn an_append_waits_for_room_until_its_deadline() {
    let mut home = Home::new();
    home.config.backlog_bytes = 2 << 20;
    home.config.append_timeout = Duration::from_millis(200);
    let log = home.open().await;
    topic(&log, 1).await;
    let stuck = log.engine.writer.lock().await;
    let mut taken = 0;
    let refused = loop {
        match log
            .append("topic", numbered(taken..taken + 100, 1000))
            .await
        {
            Ok(()) => taken += 100,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    assert!((1500..2100).contains(&taken), "{taken}");
    drop(stuck);
    log.append("topic", numbered(taken..taken + 100, 1000))
        .await
        .unwrap();
    assert_eq!(
        numbers_in_order(&log).await,
        (0..taken + 100).collect::<Vec<_>>()
    );
}

/// fault:K14, ruling 5: age removes nothing that a group has still to read.
#[tokio::test]
async fn retention_never_passes_a_group_and_stops_readers_that_it_overtook() {
    let home = Home::new();
    let log = home.open().await;
    topic(&log, 1).await;
    let mut tail = log.tail("topic", Pace::Prompt).await.unwrap();
    log.append("topic", numbered(0..100, 100)).await.unwrap();
    let mut consumer = subscribe(&log, StartAt::Group).await;
    let records = take(&mut *consumer, 100).await;
    let partition = records[0].partition.clone();
    consumer.commit(&partition, 60).await.unwrap();
    log.flush().await.unwrap();

    log.engine.retain().await.unwrap();
    assert_eq!(
        log.watermarks("topic").await.unwrap(),
        [(0, 100)],
        "nothing is old"
    );
    home.clock.advance(DAY + 1);
    log.engine.retain().await.unwrap();
    assert_eq!(
        log.watermarks("topic").await.unwrap(),
        [(60, 100)],
        "the group's place bounds it"
    );
    assert_eq!(numbers_in_order(&log).await, (60..100).collect::<Vec<_>>());
    assert!(matches!(
        tail.next(10).await,
        Err(Error::OutOfRange {
            position: 0,
            low: 60,
            ..
        })
    ));
    assert!(matches!(
        consumer.seek(&partition, 59).await,
        Err(Error::OutOfRange { .. })
    ));

    log.append("topic", numbered(100..110, 100)).await.unwrap();
    consumer.commit(&partition, 110).await.unwrap();
    log.flush().await.unwrap();
    log.engine.retain().await.unwrap();
    assert_eq!(
        log.watermarks("topic").await.unwrap(),
        [(100, 110)],
        "what is young stays"
    );

    // The service lost its row's last changes: its place is gone, and it is told.
    drop(consumer);
    let ledger = Ledger::default();
    ledger.set(&partition, 60);
    let mut consumer = subscribe(&log, StartAt::Stored(Arc::new(ledger))).await;
    let told = consumer.poll(10, Duration::ZERO).await;
    assert!(
        matches!(
            told,
            Err(Error::OutOfRange {
                position: 60,
                low: 100,
                ..
            })
        ),
        "{told:?}"
    );
    log.close().await;
    let log = home.open().await;
    assert_eq!(
        log.watermarks("topic").await.unwrap(),
        [(100, 110)],
        "it stays so after a restart"
    );
}

#[tokio::test]
async fn size_removes_the_oldest_first_and_never_what_a_group_has_to_read() {
    let mut home = Home::new();
    home.config.retention_bytes = 2 << 20;
    let log = home.open().await;
    topic(&log, 2).await;
    let consumer = {
        let mut consumer = subscribe(&log, StartAt::Group).await;
        assert!(matches!(
            consumer.poll(1, Duration::ZERO).await.unwrap(),
            Poll::Assigned(_)
        ));
        consumer
    };
    for start in (0..8000).step_by(500) {
        log.append("topic", numbered(start..start + 500, 1000))
            .await
            .unwrap();
        home.clock.advance(1);
    }
    log.flush().await.unwrap();
    log.engine.retain().await.unwrap();
    assert_eq!(
        numbers_in_order(&log).await.len(),
        8000,
        "the group has read nothing"
    );

    let mut consumer = consumer;
    for (number, end) in (0..).zip(ends(&log).await) {
        let partition = all(&log).await.into_iter().map(|record| record.partition);
        let partition = partition
            .into_iter()
            .find(|partition| partition.number == number)
            .unwrap();
        consumer.commit(&partition, end).await.unwrap();
    }
    log.engine.retain().await.unwrap();
    let numbers = numbers_in_order(&log).await;
    assert!(
        !numbers.is_empty() && numbers.len() < 3000,
        "{}",
        numbers.len()
    );
    assert!(numbers.contains(&7999), "the youngest stay");
    assert!(live_bytes(&log.engine).await <= home.config.retention_bytes);
}

async fn live_bytes(engine: &Engine) -> u64 {
    store::live_bytes(&engine.file.readers).await.unwrap()
}

/// A poll that is abandoned, as by a `select`, has taken nothing.
#[tokio::test]
async fn an_abandoned_poll_or_flush_loses_nothing() {
    let home = Home::new();
    let log = home.open().await;
    topic(&log, 3).await;
    let mut consumer = subscribe(&log, StartAt::Group).await;
    let mut records = Vec::new();
    for start in (0..2000).step_by(10) {
        log.append("topic", numbered(start..start + 10, 100))
            .await
            .unwrap();
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            _ = log.flush() => {}
            poll = consumer.poll(7, Duration::from_mins(1)) => {
                if let Poll::Records(more) = poll.unwrap() {
                    records.extend(more);
                }
            }
        }
    }
    records.extend(take(&mut *consumer, 2000 - records.len()).await);
    let mut numbers: Vec<u32> = records.iter().map(number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..2000).collect::<Vec<_>>());
    log.flush().await.unwrap();
    assert_eq!(numbers_in_order(&log).await, (0..2000).collect::<Vec<_>>());
}

/// 100,000 records of 256 bytes in batches of 100; the floor is far below what an idle machine does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_records_are_visible_and_written_quickly() {
    let home = Home::new();
    let log = home.open().await;
    topic(&log, 8).await;
    let mut tail = log.tail("topic", Pace::Prompt).await.unwrap();
    let batches: Vec<_> = (0..100_000)
        .step_by(100)
        .map(|start| numbered(start..start + 100, 256))
        .collect();
    let begun = Instant::now();
    let reader = async {
        let mut seen = 0;
        while seen < 100_000 {
            seen += tail.next(1000).await.unwrap().len();
        }
        begun.elapsed()
    };
    let writer = async {
        for batch in batches {
            log.append("topic", batch).await.unwrap();
        }
        let appended = begun.elapsed();
        log.flush().await.unwrap();
        (appended, begun.elapsed())
    };
    let (visible, (appended, flushed)) = tokio::join!(reader, writer);
    let rate = |time: Duration| 100_000.0 / time.as_secs_f64();
    say(&format!(
        "records per second: appended {:.0}, visible {:.0}, flushed {:.0}",
        rate(appended),
        rate(visible),
        rate(flushed)
    ));
    let written: i64 = sqlx::query_scalar("SELECT count(*) FROM records")
        .fetch_one(&log.engine.file.readers)
        .await
        .unwrap();
    assert_eq!(written, 100_000);
    assert!(rate(flushed) > 5_000.0, "{flushed:?}");
}
