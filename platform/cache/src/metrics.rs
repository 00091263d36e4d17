//! The metrics of the cache.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

const EVICTED: &str = "cache_evicted_total";
const DROPPED: &str = "cache_dropped_payloads_total";
const FALLBACK: &str = "cache_limit_fallback_total";
const CALLS: &str = "cache_call_seconds";
const FAILURES: &str = "cache_call_failures_total";
const UP: &str = "cache_up";

pub(crate) fn describe() {
    // The handles below stay with the registry that exists when they are made.
    kit::telemetry::metrics();
    describe_counter!(
        EVICTED,
        "Entries forgotten before their time because the memory for them was full, by kind"
    );
    describe_counter!(
        DROPPED,
        "Payloads that a subscriber lost because it was slow"
    );
    describe_counter!(
        FALLBACK,
        "Rate limits decided by the process alone because the cache did not answer"
    );
    describe_histogram!(
        CALLS,
        Unit::Seconds,
        "Time of a call to the cache's server, by call"
    );
    describe_counter!(
        FAILURES,
        "Calls that the cache's server did not answer, by call"
    );
    describe_gauge!(
        UP,
        "Whether the cache's server answers: 1 or 0, by connection"
    );
}

pub(crate) fn evicted(kind: &'static str) -> Counter {
    counter!(EVICTED, "kind" => kind)
}

pub(crate) fn dropped() -> Counter {
    counter!(DROPPED)
}

pub(crate) fn fallback() -> Counter {
    counter!(FALLBACK)
}

pub(crate) fn up(connection: &'static str) -> Gauge {
    gauge!(UP, "connection" => connection)
}

/// The calls of one kind.
#[derive(Clone)]
pub(crate) struct Calls {
    seconds: Histogram,
    failures: Counter,
}

impl Calls {
    pub(crate) fn new(call: &'static str) -> Self {
        Self {
            seconds: histogram!(CALLS, "call" => call),
            failures: counter!(FAILURES, "call" => call),
        }
    }

    /// Counts a call that took `time`.
    pub(crate) fn count<T, E>(&self, time: Duration, answer: &Result<T, E>) {
        self.seconds.record(time);
        if answer.is_err() {
            self.failures.increment(1);
        }
    }
}
