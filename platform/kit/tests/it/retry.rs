use std::time::Duration;

use kit::{Backoff, RetryBudget};

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
