//! The generic cell rate algorithm: a token bucket that remembers one moment instead of a count.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Decision, Rule};

/// Longer than anybody waits, and short enough to be added to any moment.
const LONGEST: Duration = Duration::from_hours(24 * 365 * 100);

/// The time in which a token comes back, and the time in which an empty bucket becomes full.
pub(crate) fn shape(rule: Rule) -> (Duration, Duration) {
    let interval = (rule.per / rule.count.max(1)).min(LONGEST);
    let capacity = interval.saturating_mul(rule.burst.max(1)).min(LONGEST);
    (interval, capacity)
}

/// Decides at `now` for a bucket that will be full again at `full_at` (never used: `None`); when a token was taken, the
/// second answer is the new moment.
pub(crate) fn take(
    full_at: Option<Instant>,
    now: Instant,
    rule: Rule,
) -> (Decision, Option<Instant>) {
    let (interval, capacity) = shape(rule);
    // A bucket cannot lack more than it holds, whatever the clock or a former rule say.
    let missing = full_at.map_or(Duration::ZERO, |full_at| {
        full_at.saturating_duration_since(now).min(capacity)
    });
    let missing_after = missing.saturating_add(interval);
    match missing_after.checked_sub(capacity) {
        Some(wait) if !wait.is_zero() => (Decision::Denied { retry_after: wait }, None),
        _ => (Decision::Allowed, Some(now + missing_after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bucket(Option<Instant>, Instant);

    impl Bucket {
        fn take(&mut self, rule: Rule) -> Decision {
            let (decision, full_at) = take(self.0, self.1, rule);
            self.0 = full_at.or(self.0);
            decision
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_token_an_interval() {
        let rule = Rule {
            per: Duration::from_mins(1),
            count: 6,
            burst: 3,
        };
        let mut bucket = Bucket(None, Instant::now());
        for _ in 0..3 {
            assert_eq!(bucket.take(rule), Decision::Allowed);
        }
        assert_eq!(
            bucket.take(rule),
            Decision::Denied {
                retry_after: Duration::from_secs(10)
            }
        );
        bucket.1 += Duration::from_secs(4);
        assert_eq!(
            bucket.take(rule),
            Decision::Denied {
                retry_after: Duration::from_secs(6)
            }
        );
        bucket.1 += Duration::from_secs(6);
        assert_eq!(bucket.take(rule), Decision::Allowed);
        assert_eq!(
            bucket.take(rule),
            Decision::Denied {
                retry_after: Duration::from_secs(10)
            }
        );
        bucket.1 += Duration::from_hours(1);
        assert_eq!(
            (0..9)
                .filter(|_| bucket.take(rule) == Decision::Allowed)
                .count(),
            3,
            "it holds no more than a burst"
        );
    }

    #[test]
    fn a_bucket_that_was_used_by_a_wider_rule_lacks_no_more_than_it_holds() {
        let mut bucket = Bucket(None, Instant::now());
        let hourly = Rule {
            per: Duration::from_hours(1),
            count: 1,
            burst: 1,
        };
        assert_eq!(bucket.take(hourly), Decision::Allowed);
        assert_eq!(
            bucket.take(Rule::per_minute(2)),
            Decision::Denied {
                retry_after: Duration::from_secs(30)
            }
        );
    }

    #[test]
    fn extreme_rules_neither_panic_nor_lock_out() {
        for rule in [
            Rule {
                per: Duration::ZERO,
                count: 0,
                burst: 0,
            },
            Rule {
                per: Duration::from_secs(1),
                count: u32::MAX,
                burst: u32::MAX,
            },
            Rule {
                per: Duration::from_hours(24 * 365),
                count: 1,
                burst: u32::MAX,
            },
            Rule {
                per: Duration::MAX,
                count: 1,
                burst: 1,
            },
        ] {
            assert_eq!(Bucket(None, Instant::now()).take(rule), Decision::Allowed);
        }
    }
}
