//! The two ways of reading that services share: as a member of a group, and along a tail.

use std::{collections::HashMap, time::Duration};

use kit::{Backoff, BoxError, CancellationToken};

use crate::{Delivered, Error, EventLog, Poll, Subscription, Tail};

/// How long a poll waits.
const IDLE: Duration = Duration::from_secs(1);
/// Records of one read of a tail.
const BATCH: usize = 512;

/// Reads as a member of a group until `stop`, at least once: [`crate::StartAt::Group`]. `take` gets at most `max` records
/// and returns when all that follows from them is safe; only then is the place kept.
///
/// # Errors
/// The log's, and those of `take`.
pub async fn consume<F: Future<Output = Result<(), BoxError>>>(
    log: &dyn EventLog,
    subscription: Subscription,
    max: usize,
    stop: &CancellationToken,
    mut take: impl FnMut(Vec<Delivered>) -> F,
) -> Result<(), BoxError> {
    let mut consumer = log.subscribe(subscription).await?;
    loop {
        let polled = tokio::select! {
            polled = consumer.poll(max, IDLE) => match polled {
                // The consumer has stopped that one partition and said so; the others go on.
                Err(Error::OutOfRange { .. }) => continue,
                polled => polled?,
            },
            () = stop.cancelled() => return Ok(()),
        };
        let Poll::Records(records) = polled else {
            continue;
        };
        if records.is_empty() {
            continue;
        }
        let ends: HashMap<_, _> = records
            .iter()
            .map(|record| (record.partition.clone(), record.offset + 1))
            .collect();
        take(records).await?;
        for (partition, next) in ends {
            consumer.commit(&partition, next).await?;
        }
    }
}

/// Gives `take` what comes along `tail`, as it comes together, until `stop`. While the log is away the place is kept: what happens meanwhile
/// comes later.
///
/// # Errors
/// The place is lost.
pub async fn follow(
    mut tail: Box<dyn Tail>,
    stop: &CancellationToken,
    mut take: impl FnMut(Vec<Delivered>),
) -> Result<(), Error> {
    let waits = || Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let mut backoff = waits();
    loop {
        let read = tokio::select! {
            read = tail.next(BATCH) => read,
            () = stop.cancelled() => return Ok(()),
        };
        match read {
            Ok(records) => {
                backoff = waits();
                take(records);
                // What waits in memory comes without waiting: others have their turn as well.
                tokio::task::yield_now().await;
            }
            Err(Error::Unavailable(why)) => {
                tracing::warn!(why, "the topic cannot be read; trying again");
                stop.run_until_cancelled(tokio::time::sleep(backoff.next_wait()))
                    .await;
            }
            Err(lost) => return Err(lost),
        }
    }
}
