//! Every metric of this service.

/// Messages that were told of.
pub(crate) const MESSAGES: &str = "notification_messages_total";
/// From the commit of a message to its line.
pub(crate) const SECONDS: &str = "notification_seconds";
/// What could not be told in full, by `why`: `unreadable` frames, `readers` that are not known.
pub(crate) const FAILURES: &str = "notification_failures_total";

/// Tells the registry the help texts.
pub(crate) fn describe() {
    metrics::describe_counter!(MESSAGES, "Messages that were told of");
    metrics::describe_histogram!(
        SECONDS,
        metrics::Unit::Seconds,
        "Time from the commit of a message to its line"
    );
    metrics::describe_counter!(
        FAILURES,
        "Messages that could not be told of in full, by why"
    );
}
