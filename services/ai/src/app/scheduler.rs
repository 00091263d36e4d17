//! Wakes what is due and starts calls, as many at a time as configured; everything else waits in the tables.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kit::{BoxError, Spawner};
use tokio::sync::Semaphore;

use super::call::Calls;
use crate::{domain::kernel::Event, metrics as names, store::Error};

/// The longest wait between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Threads that are woken in one round.
const ROUND: usize = 100;

/// The one task that starts work.
#[derive(Clone)]
pub(crate) struct Scheduler {
    pub(crate) calls: Calls,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) spawner: Spawner,
    pub(crate) probe_tries: u32,
    /// What an earlier process left behind was taken up; a task that begins anew has probes of its own under way.
    pub(crate) has_begun: Arc<AtomicBool>,
}

impl Scheduler {
    /// Works until the node stops.
    pub(crate) async fn run(self) -> Result<(), BoxError> {
        let bindings = self.calls.bindings.clone();
        self.give_back(true).await?;
        loop {
            let woken = self.wake_due().await?;
            // Whoever waits for a text comes before whoever makes a binding.
            let started = self.start_calls().await?;
            let probing = self.start_probes().await?;
            self.give_back(false).await?;
            if woken + probing + started > 0 {
                continue;
            }
            let wait = self.next_look().await?;
            tokio::select! {
                () = bindings.due.notified() => {}
                () = tokio::time::sleep(wait) => {}
                () = self.calls.token.cancelled() => return Ok(()),
            }
            if self.calls.token.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// Calls that are over without a word go back to the queue: our own from before a restart, others' when
    /// their lease has ended. The same for tries of new bindings, whose lease is the time of the next one.
    async fn give_back(&self, own: bool) -> Result<(), Error> {
        let bindings = &self.calls.bindings;
        if own && !self.has_begun.swap(true, Ordering::AcqRel) {
            let now_ms = bindings.clock.now_ms();
            bindings
                .store
                .give_probes_back(&bindings.worker, now_ms)
                .await?;
        }
        let worker = own.then_some(&*bindings.worker);
        for thread in bindings
            .store
            .orphans(worker, bindings.clock.now_ms())
            .await?
        {
            self.calls.give_back(thread).await?;
        }
        Ok(())
    }

    async fn wake_due(&self) -> Result<usize, Error> {
        let bindings = &self.calls.bindings;
        let due = bindings.store.due(bindings.clock.now_ms(), ROUND).await?;
        for thread in &due {
            bindings.on(*thread, Event::Timer).await?;
        }
        Ok(due.len())
    }

    async fn start_probes(&self) -> Result<usize, Error> {
        let bindings = &self.calls.bindings;
        let mut started = 0;
        for thread in bindings
            .store
            .to_probe(bindings.clock.now_ms(), self.permits.available_permits())
            .await?
        {
            let Ok(permit) = self.permits.clone().try_acquire_owned() else {
                break;
            };
            if !bindings.claim_probe(thread, self.calls.lease_ms()).await? {
                continue;
            }
            started += 1;
            let (calls, most, due) = (self.calls.clone(), self.probe_tries, bindings.due.clone());
            self.spawner.spawn("ai probe", async move {
                if let Err(error) = calls.probe(thread, most).await {
                    // It is tried again when the claim has ended.
                    tracing::warn!(%error, "the outcome of a probe could not be stored");
                }
                drop(permit);
                due.notify_one();
            });
        }
        Ok(started)
    }

    async fn start_calls(&self) -> Result<usize, Error> {
        let bindings = &self.calls.bindings;
        let mut started = 0;
        let free = self.permits.available_permits();
        if free > 0 {
            for (run, thread) in bindings.store.callable(free).await? {
                let Ok(permit) = self.permits.clone().try_acquire_owned() else {
                    break;
                };
                let Some(claimed) = self.calls.claim(run, thread).await? else {
                    continue;
                };
                started += 1;
                let (calls, due) = (self.calls.clone(), bindings.due.clone());
                self.spawner.spawn("ai call", async move {
                    calls.make(claimed).await;
                    drop(permit);
                    due.notify_one();
                });
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "nobody has so many runs")]
        metrics::gauge!(names::QUEUED).set(bindings.store.queue_length().await? as f64);
        Ok(started)
    }

    async fn next_look(&self) -> Result<Duration, Error> {
        let bindings = &self.calls.bindings;
        let next = bindings.store.next_due_ms().await?;
        let wait_ms = next.map_or(i64::MAX, |due| due - bindings.clock.now_ms());
        // Not busier than a thousand times a second, whatever the tables say; while every permit is taken, what is due
        // may be a probe that has to wait for one.
        let shortest = if self.permits.available_permits() == 0 {
            50
        } else {
            1
        };
        Ok(Duration::from_millis(wait_ms.max(shortest).unsigned_abs()).min(LOOK))
    }
}
