//! A circuit breaker that counts outages only.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use tokio::time::Instant;

use crate::{Code, Fault};

/// When a breaker opens and for how long.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Outages in a row that open the breaker.
    pub failures: u32,
    /// How long it stays open before one trial call is let through.
    #[serde(with = "crate::config::duration")]
    pub open: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            open: Duration::from_secs(10),
        }
    }
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
}

/// Refuses calls to a dependency that is away, and lets one trial through now and then.
///
/// An answer such as "not found" proves that the dependency is there. The gauge `breaker_open{name}` shows the state.
#[derive(Clone, Debug)]
pub struct Breaker {
    name: Arc<str>,
    config: BreakerConfig,
    state: Arc<Mutex<State>>,
}

impl Breaker {
    /// A closed breaker; `name` is its metric label.
    pub fn new(name: impl Into<Arc<str>>, config: BreakerConfig) -> Self {
        let name = name.into();
        metrics::gauge!("breaker_open", "name" => Arc::clone(&name)).set(0.0);
        Self {
            name,
            config,
            state: Arc::new(Mutex::new(State::Closed { failures: 0 })),
        }
    }

    /// Runs `call` unless the breaker is open. [`Code::Unavailable`], [`Code::Timeout`] and [`Code::Internal`] are outages.
    pub async fn run<T>(&self, call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        self.admit()?;
        let result = call.await;
        let outage = result.as_ref().err().is_some_and(|fault| {
            matches!(
                fault.code(),
                Code::Unavailable | Code::Timeout | Code::Internal
            )
        });
        self.note(outage);
        result
    }

    /// Whether calls are refused right now.
    pub fn is_open(&self) -> bool {
        matches!(*self.state.lock(), State::Open { until } if Instant::now() < until)
    }

    /// Whether a call may be made now; its outcome goes to [`Breaker::note`].
    ///
    /// # Errors
    /// [`Code::Unavailable`] with the time of the next trial.
    pub fn admit(&self) -> Result<(), Fault> {
        let mut state = self.state.lock();
        match *state {
            State::Closed { .. } => Ok(()),
            // One trial; it stays open for the others, and for a next trial if this one is dropped.
            State::Open { until } if Instant::now() >= until => {
                *state = State::Open {
                    until: Instant::now() + self.config.open,
                };
                Ok(())
            }
            State::Open { until } => Err(Fault::new(
                Code::Unavailable,
                format!("{} is away", self.name),
            )
            .retry_in(until.saturating_duration_since(Instant::now()))),
        }
    }

    /// What became of a call. Any call that went well closes the breaker.
    pub fn note(&self, outage: bool) {
        let mut state = self.state.lock();
        let failures = match *state {
            State::Closed { failures: 0 } if !outage => return,
            State::Closed { failures } => failures + 1,
            State::Open { .. } => self.config.failures,
        };
        let open = outage && failures >= self.config.failures;
        *state = match (outage, open) {
            (false, _) => State::Closed { failures: 0 },
            (true, false) => State::Closed { failures },
            (true, true) => State::Open {
                until: Instant::now() + self.config.open,
            },
        };
        metrics::gauge!("breaker_open", "name" => Arc::clone(&self.name))
            .set(f64::from(u8::from(open)));
    }
}
