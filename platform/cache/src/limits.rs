//! Rate limits that hold across processes, and within each one while the cache is away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kit::{Breaker, BreakerConfig, Fault};
use metrics::Counter;

use crate::{Cache, Decision, Memory, Rule, metrics as names};

/// A limit is asked on the way of a request, so the cache has this long to answer.
const PATIENCE: Duration = Duration::from_millis(100);
/// After a few failures the cache is left alone for a moment.
const BREAKER: BreakerConfig = BreakerConfig {
    failures: 3,
    open: Duration::from_secs(1),
};

/// Decides rate limits. When the cache does not answer, the process's own memory does: then a limit holds per process,
/// and buckets begin full. Cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    shared: Arc<dyn Cache>,
    own: Memory,
    breaker: Breaker,
    away: AtomicBool,
    fallback: Counter,
}

impl Limits {
    /// Limits over `shared`.
    pub fn new(shared: Arc<dyn Cache>) -> Self {
        let own = Memory::new();
        Self(Arc::new(Inner {
            shared,
            own,
            breaker: Breaker::new("cache", BREAKER),
            away: AtomicBool::new(false),
            fallback: names::fallback(),
        }))
    }

    /// Takes one token from the bucket `key`. Always answers, within a tenth of a second.
    pub async fn take(&self, key: &str, rule: Rule) -> Decision {
        let Inner {
            shared,
            own,
            breaker,
            away,
            fallback,
        } = self.0.as_ref();
        let asked = breaker.run(async {
            match tokio::time::timeout(PATIENCE, shared.take(key, rule)).await {
                Ok(answer) => answer.map_err(Fault::from),
                Err(elapsed) => Err(Fault::unavailable(elapsed)),
            }
        });
        match asked.await {
            Ok(decision) => {
                if away.swap(false, Ordering::Relaxed) {
                    tracing::info!("the cache answers again: rate limits are shared");
                }
                decision
            }
            Err(fault) => {
                fallback.increment(1);
                if !away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(error = ?fault, "the cache does not answer: rate limits hold per process");
                }
                own.decide(key, rule)
            }
        }
    }
}
