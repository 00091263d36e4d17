//! Every metric of the service.

/// Accounts that were made.
const CREATED: &str = "users_created_total";

/// Tells the registry what the metrics mean.
pub(crate) fn describe() {
    metrics::describe_counter!(CREATED, "Accounts that were made");
}

/// An account was made.
pub(crate) fn created() {
    metrics::counter!(CREATED).increment(1);
}
