//! Waiting between tries.

use std::time::Duration;

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
