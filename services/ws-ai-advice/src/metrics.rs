//! Every metric of this service.

/// Advice handed to the hint lane.
pub(crate) const DELIVERED: &str = "ws_ai_advice_delivered_total";
/// Records put to the dead letters.
pub(crate) const DEAD: &str = "ws_ai_advice_dead_letters_total";

/// Tells the registry the help texts.
pub(crate) fn describe() {
    metrics::describe_counter!(DELIVERED, "Advice handed to the hint lane of its owner");
    metrics::describe_counter!(DEAD, "Records put to the dead letters");
}
