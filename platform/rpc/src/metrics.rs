//! Every metric of this crate. `service` and `method` are words of the code, so there are few of them.

use std::time::Duration;

use kit::Fault;
use tokio::time::Instant;

/// Counts calls by their outcome; the tries of one call are one.
pub(crate) fn called<T>(
    service: &'static str,
    method: &'static str,
    started: Instant,
    result: &Result<T, Fault>,
) {
    let code = result
        .as_ref()
        .map_or_else(|fault| fault.code().as_str(), |_| "ok");
    metrics::counter!("rpc_calls_total", "service" => service, "method" => method, "code" => code)
        .increment(1);
    let took: Duration = started.elapsed();
    metrics::histogram!("rpc_call_seconds", "service" => service, "method" => method)
        .record(took.as_secs_f64());
}

/// Counts the tries after the first.
pub(crate) fn retried(service: &'static str, method: &'static str) {
    metrics::counter!("rpc_retries_total", "service" => service, "method" => method).increment(1);
}

/// Counts what was not let in, by `reason`: `credential`, `connections`, `silence`, `accept`.
pub(crate) fn refused(reason: &'static str) {
    metrics::counter!("rpc_refused_total", "reason" => reason).increment(1);
}

/// Counts methods that panicked.
pub(crate) fn panicked() {
    metrics::counter!("rpc_panics_total").increment(1);
}
