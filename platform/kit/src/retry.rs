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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_allows_its_credit_and_then_one_retry_for_ten_tries() {
        let budget = RetryBudget::new();
        assert_eq!((0..20).filter(|_| budget.take()).count(), 10);
        (0..9).for_each(|_| budget.first_try());
        assert!(!budget.take());
        budget.first_try();
        assert!(budget.take());
    }

    #[test]
    fn a_wait_never_passes_its_ceiling() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(40));
        let waits: Vec<_> = (0..50).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(40)));
    }
}
