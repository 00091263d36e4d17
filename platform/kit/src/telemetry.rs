//! Logs on standard output and the registry of metrics.

use std::{io::IsTerminal, sync::OnceLock};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// Seconds from a tenth of a millisecond to ten seconds: everything a person or a deadline can notice.
const SECONDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Starts logging: one JSON object a line, or plain text when standard output is a terminal.
///
/// `filter` is in the syntax of `RUST_LOG`; a wrong one is an error that names it. Later calls in the
/// same process change nothing.
pub fn init_logs(filter: &str) -> Result<(), String> {
    let registry = tracing_subscriber::registry().with(parse_filter(filter)?);
    let result = if std::io::stdout().is_terminal() {
        registry
            .with(tracing_subscriber::fmt::layer().compact())
            .try_init()
    } else {
        registry
            .with(tracing_subscriber::fmt::layer().json().flatten_event(true))
            .try_init()
    };
    // A second node in the same test process finds the logger already there.
    drop(result);
    Ok(())
}

/// Reads a filter as [`init_logs`] does; a wrong one is an error that names it.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|error| format!("log_filter = `{filter}`: {error}"))
}

/// The registry of the process. The `metrics` facade has one per process, so nodes of one test share it.
///
/// # Panics
/// Never: the list of buckets is not empty.
pub fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
                .expect("the bucket list is not empty")
                .build_recorder();
            let handle = recorder.handle();
            // Fails only when another recorder was set, which nothing in this program does.
            let _ = metrics::set_global_recorder(recorder);
            handle
        })
        .clone()
}
