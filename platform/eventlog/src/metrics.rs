//! Names and meanings of what the log measures. Labels are topics and groups, both closed sets.

use metrics::Unit;

/// Records taken by `append`, per topic.
pub(crate) const APPENDED_RECORDS: &str = "eventlog_appended_records_total";
/// Bytes of keys and payloads taken by `append`, per topic.
pub(crate) const APPENDED_BYTES: &str = "eventlog_appended_bytes_total";
/// Appends that failed with an unknown outcome, per topic.
#[cfg(feature = "kafka")]
pub(crate) const APPEND_FAILURES: &str = "eventlog_append_failures_total";
/// How long an append took until the replicas had it, per topic.
#[cfg(feature = "kafka")]
pub(crate) const APPEND_SECONDS: &str = "eventlog_append_seconds";
/// Bytes that are visible and not yet in the file.
pub(crate) const BACKLOG_BYTES: &str = "eventlog_backlog_bytes";
/// How long `flush` took.
pub(crate) const FLUSH_SECONDS: &str = "eventlog_flush_seconds";
/// Offsets between a group's position and the end, per group and topic.
pub(crate) const LAG: &str = "eventlog_lag";
/// Records removed by age or size, per topic.
pub(crate) const RETENTION_DELETED: &str = "eventlog_retention_deleted_total";
/// Times that a group's partition was stopped because its position is outside the log.
pub(crate) const STOPPED: &str = "eventlog_partition_stopped_total";
/// 1 when the log has failed for good.
pub(crate) const FAILED: &str = "eventlog_failed";

/// A count as gauges take it; beyond 2^53 the last digits do not matter.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn level(count: u64) -> f64 {
    count as f64
}

/// Gives every name its unit and its sentence.
pub(crate) fn describe() {
    metrics::describe_counter!(
        APPENDED_RECORDS,
        Unit::Count,
        "Records appended to the event log"
    );
    metrics::describe_counter!(
        APPENDED_BYTES,
        Unit::Bytes,
        "Bytes appended to the event log"
    );
    #[cfg(feature = "kafka")]
    metrics::describe_counter!(
        APPEND_FAILURES,
        Unit::Count,
        "Appends to the event log that failed; whether the records are there is unknown"
    );
    #[cfg(feature = "kafka")]
    metrics::describe_histogram!(
        APPEND_SECONDS,
        Unit::Seconds,
        "Time of one append, until the replicas had it"
    );
    metrics::describe_gauge!(
        BACKLOG_BYTES,
        Unit::Bytes,
        "Bytes visible to consumers and not yet in the file"
    );
    metrics::describe_histogram!(
        FLUSH_SECONDS,
        Unit::Seconds,
        "Time of one flush of the event log"
    );
    metrics::describe_gauge!(
        LAG,
        Unit::Count,
        "Offsets between a group's position and the end of a topic"
    );
    metrics::describe_counter!(
        RETENTION_DELETED,
        Unit::Count,
        "Records removed by age or size"
    );
    metrics::describe_counter!(
        STOPPED,
        Unit::Count,
        "Partitions stopped because a group's position lies outside the log; look at each"
    );
    metrics::describe_gauge!(
        FAILED,
        Unit::Count,
        "1 when the event log has failed for good"
    );
}
