//! The metrics of the cache.

use metrics::{Counter, counter, describe_counter};

const EVICTED: &str = "cache_evicted_total";
const DROPPED: &str = "cache_dropped_payloads_total";
const FALLBACK: &str = "cache_limit_fallback_total";

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
