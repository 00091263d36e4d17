//! Every metric of this service.

/// Messages committed, by `auto` (`no`, `replied`).
pub(crate) const STORED: &str = "message_stored_total";
/// Sends answered without storing, by `code` (`dup` and the refusals' codes).
pub(crate) const ANSWERED: &str = "message_answered_total";
/// Records in one committed batch.
pub(crate) const BATCH: &str = "message_batch_records";
/// Seconds of one batch, from the begin of its transaction to the commit.
pub(crate) const COMMIT: &str = "message_commit_seconds";
/// Records put to the dead letters.
pub(crate) const DEAD: &str = "message_dead_letters_total";
/// Batches dropped because another worker owned the partition.
pub(crate) const FENCED: &str = "message_fenced_total";
/// Workers that run.
pub(crate) const WORKERS: &str = "message_persist_workers";

/// Tells the registry the help texts.
pub(crate) fn describe() {
    metrics::describe_counter!(STORED, "Messages committed, by auto");
    metrics::describe_counter!(ANSWERED, "Sends answered without storing, by code");
    metrics::describe_histogram!(BATCH, "Records in one committed batch");
    metrics::describe_histogram!(
        COMMIT,
        metrics::Unit::Seconds,
        "Time of one batch's transaction"
    );
    metrics::describe_counter!(DEAD, "Records put to the dead letters");
    metrics::describe_counter!(
        FENCED,
        "Batches dropped because another worker owned the partition"
    );
    metrics::describe_gauge!(WORKERS, "Persist workers that run");
}
