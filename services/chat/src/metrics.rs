//! Every metric of this service.

/// Decisions committed, by `kind`.
pub(crate) const DECIDED: &str = "chat_decisions_total";
/// Seconds from the commit of a decision until it was projected.
pub(crate) const PROJECTED: &str = "chat_projection_seconds";
/// Chats whose outbox the sweep had to publish.
pub(crate) const SWEPT: &str = "chat_outbox_swept_total";
/// Records put to the dead letters.
pub(crate) const DEAD: &str = "chat_dead_letters_total";

/// Tells the registry the help texts.
pub(crate) fn describe() {
    metrics::describe_counter!(DECIDED, "Decisions committed, by kind");
    metrics::describe_histogram!(
        PROJECTED,
        metrics::Unit::Seconds,
        "From commit to projection"
    );
    metrics::describe_counter!(SWEPT, "Chats whose outbox the sweep had to publish");
    metrics::describe_counter!(DEAD, "Records put to the dead letters");
}
