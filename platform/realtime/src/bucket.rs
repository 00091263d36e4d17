//! A token bucket: how many commands a connection may send.

use std::time::Duration;

use crate::Config;

/// Fills at a steady rate up to a burst.
#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: f32,
    filled_at: u64,
}

impl Bucket {
    pub(crate) fn full(config: &Config, now: u64) -> Self {
        Self { tokens: config.command_burst as f32, filled_at: now }
    }

    /// Takes one token at `now` (milliseconds), or says how long until there is one.
    pub(crate) fn take(&mut self, config: &Config, now: u64) -> Result<(), Duration> {
        let per_ms = config.commands_per_10s as f32 / 10_000.0;
        let passed = now.saturating_sub(self.filled_at) as f32;
        self.tokens = (self.tokens + passed * per_ms).min(config.command_burst as f32);
        self.filled_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_millis(((1.0 - self.tokens) / per_ms).ceil() as u64))
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
        assert_eq!((1..=10_000).step_by(10).filter(|now| taken(*now).is_ok()).count(), 99);
    }
}
