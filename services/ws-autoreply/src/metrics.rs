//! Every metric of this service.

/// Messages of an AI that were told to the person in whose name they stand.
pub(crate) const TOLD: &str = "ws_autoreply_told_total";

/// Tells the registry the help texts.
pub(crate) fn describe() {
    metrics::describe_counter!(
        TOLD,
        "Messages of an AI that were told to the person in whose name they stand"
    );
}
