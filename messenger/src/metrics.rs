//! Every metric of the program itself.

const FRONT_FAILURES: &str = "front_failures_total";

/// Tells the registry what the metrics mean.
pub(crate) fn describe() {
    metrics::describe_counter!(
        FRONT_FAILURES,
        "Requests that could not be handed on to the service of another process"
    );
}

/// A request for `service` reached nobody.
pub(crate) fn front_failed(service: &'static str) {
    metrics::counter!(FRONT_FAILURES, "service" => service).increment(1);
}
