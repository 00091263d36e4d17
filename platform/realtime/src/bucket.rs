//! A token bucket: how many commands a connection may send.

use std::time::Duration;

use crate::Config;

/// What one command costs; in a millisecond, `commands_per_10s` of these come back.
const COMMAND: u64 = 10_000;

/// Fills at a steady rate up to a burst.
#[derive(Debug)]
pub(crate) struct Bucket {
    level: u64,
    filled_at: u64,
}

impl Bucket {
    pub(crate) fn full(config: &Config, now: u64) -> Self {
        Self {
            level: COMMAND * u64::from(config.command_burst),
            filled_at: now,
        }
    }

    /// Takes one command at `now` (milliseconds), or says how long until there is one.
    pub(crate) fn take(&mut self, config: &Config, now: u64) -> Result<(), Duration> {
        let (rate, burst) = (
            u64::from(config.commands_per_10s),
            u64::from(config.command_burst),
        );
        let refill = now.saturating_sub(self.filled_at).saturating_mul(rate);
        self.level = self.level.saturating_add(refill).min(COMMAND * burst);
        self.filled_at = now;
        if self.level >= COMMAND {
            self.level -= COMMAND;
            return Ok(());
        }
        Err(Duration::from_millis((COMMAND - self.level).div_ceil(rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// row:D17: a burst of 30, then 100 in ten seconds.
    #[test]
    fn a_burst_is_followed_by_the_steady_rate() {
        let config = Config::default();
        let mut bucket = Bucket::full(&config, 0);
        let mut taken = |now| bucket.take(&config, now);
        assert!((0..30).all(|_| taken(0).is_ok()));
        assert_eq!(taken(0), Err(Duration::from_millis(100)));
        assert_eq!(
            (1..=10_000)
                .step_by(10)
                .filter(|now| taken(*now).is_ok())
                .count(),
            99
        );
    }
}
