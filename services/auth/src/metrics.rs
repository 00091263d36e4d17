//! Every metric of the service.

use std::time::Instant;

const LOGINS: &str = "auth_logins_total";
const REFRESHES: &str = "auth_refreshes_total";
const HASH_SECONDS: &str = "auth_password_hash_seconds";
const HASH_WAIT_SECONDS: &str = "auth_password_wait_seconds";
const HASH_REFUSED: &str = "auth_password_refused_total";

/// Tells the registry what the metrics mean.
pub(crate) fn describe() {
    metrics::describe_counter!(LOGINS, "Logins by result: ok, wrong, limited");
    metrics::describe_counter!(
        REFRESHES,
        "Presented refresh tokens by result: rotated, repeated, reused, refused"
    );
    metrics::describe_histogram!(HASH_SECONDS, "Work on one password");
    metrics::describe_histogram!(
        HASH_WAIT_SECONDS,
        "Wait for the work on one password to begin"
    );
    metrics::describe_counter!(HASH_REFUSED, "Passwords that found no place in the queue");
}

/// A login ended in `result`.
pub(crate) fn login(result: &'static str) {
    metrics::counter!(LOGINS, "result" => result).increment(1);
}

/// A refresh token was presented.
pub(crate) fn refresh(result: &'static str) {
    metrics::counter!(REFRESHES, "result" => result).increment(1);
}

/// A password was hashed or checked since `started`.
pub(crate) fn hashed(started: Instant) {
    metrics::histogram!(HASH_SECONDS).record(started.elapsed().as_secs_f64());
}

/// The work on a password that came at `since` begins.
pub(crate) fn hash_begins(since: Instant) {
    metrics::histogram!(HASH_WAIT_SECONDS).record(since.elapsed().as_secs_f64());
}

/// The queue was full.
pub(crate) fn hash_refused() {
    metrics::counter!(HASH_REFUSED).increment(1);
}
