//! Waiting between tries, and a bound on how many extra tries a process may make.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

/// Exponential waiting with full jitter: each wait is random between zero and the current ceiling.
#[derive(Clone, Debug)]
pub struct Backoff {
    ceiling: Duration,
    max: Duration,
}

impl Backoff {
    /// Starts with a ceiling of `base` and doubles it up to `max`.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self {
            ceiling: base.min(max),
            max,
        }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.ceiling.mul_f64(rand::random::<f64>());
        self.ceiling = (self.ceiling * 2).min(self.max);
        wait
    }
}

/// At most one retry for every ten first tries, after a small starting credit.
#[derive(Debug)]
pub struct RetryBudget(AtomicI64);

impl RetryBudget {
    const RETRY: i64 = 10;
    const CREDIT: i64 = 10 * Self::RETRY;

    /// A budget with room for ten retries.
    pub fn new() -> Self {
        Self(AtomicI64::new(Self::CREDIT))
    }

    /// Counts a first try.
    pub fn first_try(&self) {
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                (left < Self::CREDIT).then_some(left + 1)
            });
    }

    /// Takes a retry out of the budget; `false` when it is used up.
    pub fn take(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                (left >= Self::RETRY).then_some(left - Self::RETRY)
            })
            .is_ok()
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}
