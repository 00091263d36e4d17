//! Every way to stop: in order, by kill, by a power cut, with an older copy put back.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::EventLog;

use super::*;
use crate::embedded::store::Level;

/// Says to a child of a test which file it shall write.
const CHILD: &str = "EVENTLOG_TEST_CHILD";

#[expect(
    clippy::disallowed_methods,
    reason = "a test tells its own child process what to do"
)]
pub(super) fn told_as_child() -> Option<PathBuf> {
    std::env::var(CHILD).ok().map(PathBuf::from)
}

/// This test binary again, with one test only.
pub(super) fn child(program: &str, test: &str, path: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", program])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("embedded::tests::{test}"),
            "--nocapture",
        ])
        .env(CHILD, path)
        .stdout(Stdio::piped());
    command
}

pub(super) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

/// row:C16, guarantee:G1, fault:F9: what was flushed is there after `kill -9`, in order, and new offsets
/// are above all that were ever given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_nine_every_flushed_record_is_there_and_no_offset_comes_twice() {
    if let Some(path) = told_as_child() {
        append_until_killed(&path).await;
    }
    let home = Home::new();
    let test = "stops::after_kill_nine_every_flushed_record_is_there_and_no_offset_comes_twice";
    let path = home.path();
    let (flushed, issued) = tokio::task::spawn_blocking(move || {
        kill_after(40, child("exec \"$0\" \"$@\"", test, &path))
    })
    .await
    .unwrap();

    let log = home.open().await;
    let numbers = numbers_in_order(&log).await;
    assert!(
        numbers.len() >= flushed as usize,
        "{} of {flushed} flushed records",
        numbers.len()
    );
    assert_eq!(
        numbers,
        first(numbers.len()),
        "only the newest may be missing"
    );
    for (now, given) in ends(&log).await.into_iter().zip(&issued) {
        assert!(now >= *given, "{now} may have been given before {given}");
    }
    // Consumers cross the gap; whoever has everything before it has nothing left to read.
    let mut consumer = subscribe(&log, StartAt::Group).await;
    let old = take(&mut *consumer, numbers.len()).await;
    for record in &old {
        let next = record.offset + 1;
        consumer.commit(&record.partition, next).await.unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while kept(&log) != ends(&log).await {
        assert!(Instant::now() < deadline, "{:?}", kept(&log));
        let polled = consumer.poll(500, Duration::ZERO).await.unwrap();
        assert!(matches!(polled, Poll::Records(records) if records.is_empty()));
    }
    log.append("topic", numbered(1_000_000..1_000_100, 50))
        .await
        .unwrap();
    let new = take(&mut *consumer, 100).await;
    assert_eq!((old.len(), new.len()), (numbers.len(), 100));
    assert!(
        new.iter()
            .all(|record| record.offset >= issued[record.partition.number as usize])
    );
}

/// Where the group is in each partition.
fn kept(log: &EmbeddedLog) -> Vec<i64> {
    let groups = log.engine.groups.lock();
    let position = |slot| groups.position("group", slot).unwrap();
    (0..3).map(position).collect()
}

async fn append_until_killed(path: &Path) -> ! {
    let log = open(
        path,
        Config::default(),
        Arc::new(ManualClock::at(100 * DAY)),
    )
    .await
    .unwrap();
    topic(&log, 3).await;
    let mut next = 0;
    loop {
        for _ in 0..5 {
            log.append("topic", numbered(next..next + 20, 300))
                .await
                .unwrap();
            next += 20;
            let ends = ends(&log).await;
            say(&format!("issued {} {} {}", ends[0], ends[1], ends[2]));
        }
        log.flush().await.unwrap();
        say(&format!("flushed {next}"));
    }
}

/// Kills the child in the middle of its work after so many flushes; returns the last number that it said
/// to be flushed, and the ends of the partitions.
fn kill_after(count: usize, mut command: Command) -> (u32, Vec<i64>) {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let (mut seen, mut flushed, mut issued) = (0, 0, Vec::new());
    let mut note = |line: &str| {
        if let Some(number) = line.strip_prefix("flushed ") {
            flushed = number.parse().unwrap();
            seen += 1;
        } else if let Some(ends) = line.strip_prefix("issued ") {
            issued = ends.split(' ').map(|end| end.parse().unwrap()).collect();
        }
        seen
    };
    lines
        .by_ref()
        .find(|line| note(line) == count)
        .expect("the child flushes");
    child.kill().unwrap();
    for line in lines {
        note(&line);
    }
    child.wait().unwrap();
    (flushed, issued)
}

/// fault:F38: the disk has what it had at the last sync; later offsets were given and are not given again.
#[tokio::test]
async fn after_a_power_cut_no_offset_comes_twice() {
    let (home, after) = (Home::new(), Home::new());
    let log = home.open().await;
    let before = topic(&log, 3).await;
    log.append("topic", numbered(0..1000, 100)).await.unwrap();
    log.flush().await.unwrap();
    home.copy_to(&after, &["", "-wal", ".lock"]);
    log.append("topic", numbered(1000..3000, 100))
        .await
        .unwrap();
    let issued = ends(&log).await;

    let log = after.open().await;
    assert_eq!(topic(&log, 3).await, before, "it is the same topic");
    assert_eq!(numbers_in_order(&log).await, (0..1000).collect::<Vec<_>>());
    assert_new_offsets(&log, &issued).await;
}

/// fault:F37: an older copy of the file is put back while the mark beside it knows better.
#[tokio::test]
async fn with_an_older_copy_put_back_no_offset_comes_twice() {
    let (home, after) = (Home::new(), Home::new());
    let log = home.open().await;
    topic(&log, 1).await;
    log.append("topic", numbered(0..100, 10)).await.unwrap();
    log.flush().await.unwrap();
    home.copy_to(&after, &["", "-wal"]);
    for start in (100..150_000).step_by(1000) {
        log.append("topic", numbered(start..start + 1000, 10))
            .await
            .unwrap();
    }
    let issued = ends(&log).await;
    assert!(issued[0] > 2 * crate::embedded::memory::BLOCK);
    log.flush().await.unwrap();
    home.copy_to(&after, &[".lock"]);
    assert_new_offsets(&after.open().await, &issued).await;
}

#[tokio::test]
async fn with_a_copy_of_an_orderly_stop_put_back_no_offset_comes_twice() {
    let (home, after) = (Home::new(), Home::new());
    let log = home.open().await;
    topic(&log, 2).await;
    log.append("topic", numbered(0..100, 10)).await.unwrap();
    log.close().await;
    home.copy_to(&after, &[""]);
    let log = home.open().await;
    log.append("topic", numbered(100..300, 10)).await.unwrap();
    let issued = ends(&log).await;
    log.close().await;
    home.copy_to(&after, &[".lock"]);
    assert_new_offsets(&after.open().await, &issued).await;
}

async fn assert_new_offsets(log: &EmbeddedLog, issued: &[i64]) {
    let begin = ends(log).await;
    for (now, given) in begin.iter().zip(issued) {
        assert!(now >= given, "{now} may have been given before {given}");
    }
    log.append("topic", numbered(5_000_000..5_000_100, 10))
        .await
        .unwrap();
    let new: Vec<_> = all(log)
        .await
        .into_iter()
        .filter(|record| number(record) >= 5_000_000)
        .collect();
    assert_eq!(new.len(), 100);
    assert!(
        new.iter()
            .all(|record| record.offset >= begin[record.partition.number as usize])
    );
}

#[tokio::test]
async fn after_an_orderly_stop_offsets_and_places_go_on_without_a_gap() {
    let home = Home::new();
    let log = home.open().await;
    topic(&log, 2).await;
    log.append("topic", numbered(0..100, 10)).await.unwrap();
    let mut consumer = subscribe(&log, StartAt::Group).await;
    let records = take(&mut *consumer, 100).await;
    for record in &records[..60] {
        consumer
            .commit(&record.partition, record.offset + 1)
            .await
            .unwrap();
    }
    let before = ends(&log).await;
    drop(consumer);
    log.close().await;

    let log = home.open().await;
    assert_eq!(ends(&log).await, before);
    let rest = take(&mut *subscribe(&log, StartAt::Group).await, 40).await;
    let numbers = |records: &[Delivered]| {
        let mut numbers: Vec<u32> = records.iter().map(number).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers(&rest), numbers(&records[60..]));
}

/// fault:F38: a half-written end of the write-ahead log takes nothing with it that was flushed.
#[tokio::test]
async fn a_torn_end_of_the_file_loses_nothing_that_was_flushed() {
    let (home, after) = (Home::new(), Home::new());
    let log = home.open().await;
    topic(&log, 3).await;
    log.append("topic", numbered(0..1000, 200)).await.unwrap();
    log.flush().await.unwrap();
    let length = |home: &Home| {
        std::fs::metadata(home.folder.path().join("log.db-wal"))
            .unwrap()
            .len()
    };
    let flushed = length(&home);
    for start in (1000..2000).step_by(100) {
        log.append("topic", numbered(start..start + 100, 200))
            .await
            .unwrap();
        log.engine.write(Level::Process).await.unwrap();
    }
    let issued = ends(&log).await;
    home.copy_to(&after, &["", "-wal", ".lock"]);
    let torn = flushed + (length(&home) - flushed) / 2 + 123;
    let path = after.folder.path().join("log.db-wal");
    let mut wal = std::fs::read(&path).unwrap();
    wal.truncate(usize::try_from(torn).unwrap());
    let end = wal.len();
    wal[end - 2000..].fill(0xa5);
    std::fs::write(&path, wal).unwrap();

    let log = after.open().await;
    let numbers = numbers_in_order(&log).await;
    assert!((1000..2000).contains(&numbers.len()), "{}", numbers.len());
    assert_eq!(numbers, first(numbers.len()));
    assert_new_offsets(&log, &issued).await;
}
