//! A bound on how many extra tries a process may make.

use std::sync::atomic::{AtomicI64, Ordering};

/// At most one retry for every ten first tries, after a small starting credit.
#[derive(Debug)]
pub(crate) struct RetryBudget(AtomicI64);

impl RetryBudget {
    const RETRY: i64 = 10;
    const CREDIT: i64 = 10 * Self::RETRY;

    /// A budget with room for ten retries.
    pub(crate) fn new() -> Self {
        Self(AtomicI64::new(Self::CREDIT))
    }

    /// Counts a first try.
    pub(crate) fn first_try(&self) {
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                (left < Self::CREDIT).then_some(left + 1)
            });
    }

    /// Takes a retry out of the budget; `false` when it is used up.
    pub(crate) fn take(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                (left >= Self::RETRY).then_some(left - Self::RETRY)
            })
            .is_ok()
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
}
