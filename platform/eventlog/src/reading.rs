//! The two ways of reading that services share: as a member of a group, and along a tail. And what neither sees: a topic that was
//! made again.

use std::{collections::HashMap, time::Duration};

use kit::{Backoff, BoxError, CancellationToken};

use crate::{Delivered, Error, EventLog, Partition, Poll, Subscription, Tail};

/// How long a poll waits.
const IDLE: Duration = Duration::from_secs(1);
/// Records of one read of a tail.
const BATCH: usize = 512;

/// How long is waited before what failed is tried again: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Reads as a member of a group until `stop`, at least once: [`crate::StartAt::Group`]. `take` gets at most `max` records
/// and returns when all that follows from them is safe; only then is the place kept. When it fails it gets the same
/// records again, and what came meanwhile, until it does not.
///
/// # Errors
/// The log's, but not that one partition is stopped: the others go on.
pub async fn consume<F: Future<Output = Result<(), BoxError>>>(
    log: &dyn EventLog,
    subscription: Subscription,
    max: usize,
    stop: &CancellationToken,
    mut take: impl FnMut(Vec<Delivered>) -> F,
) -> Result<(), BoxError> {
    let group = subscription.group.clone();
    let mut consumer = log.subscribe(subscription).await?;
    let mut failing: Option<Backoff> = None;
    loop {
        let polled = tokio::select! {
            polled = consumer.poll(max, IDLE) => match polled {
                // The consumer has said so.
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
        let mut stretches: HashMap<Partition, (i64, i64)> = HashMap::new();
        for record in &records {
            let offset = record.offset;
            let stretch = stretches.entry(record.partition.clone());
            stretch.or_insert((offset, offset)).1 = offset + 1;
        }
        let Err(error) = take(records).await else {
            if failing.take().is_some() {
                tracing::info!(group = &*group, "the records are handled again");
            }
            for (partition, (_, next)) in stretches {
                consumer.commit(&partition, next).await?;
            }
            continue;
        };
        if failing.is_none() {
            let error = kit::node::error_chain(error.as_ref());
            tracing::warn!(
                group = &*group,
                error,
                "records are not handled; trying again"
            );
        }
        for (partition, (first, _)) in stretches {
            consumer.seek(&partition, first).await?;
        }
        let backoff = failing.get_or_insert_with(|| Backoff::new(AGAIN.0, AGAIN.1));
        stop.run_until_cancelled(tokio::time::sleep(backoff.next_wait()))
            .await;
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
    let waits = || Backoff::new(AGAIN.0, AGAIN.1);
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

/// Calls `lost` whenever a topic was found deleted and made again, until `stop`: see [`EventLog::made_again`].
pub async fn watch_losses(log: &dyn EventLog, stop: &CancellationToken, mut lost: impl FnMut()) {
    let mut made_again = log.made_again();
    while let Some(Ok(())) = stop.run_until_cancelled(made_again.changed()).await {
        lost();
    }
    stop.cancelled().await;
}
