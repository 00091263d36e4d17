//! Every metric of the service.

/// Messages that clients of this process sent and that were stored (row:G17). Repeats do not count.
const SENT: &str = "ws_gateway_messages_sent_total";
/// Messages handed to clients of this process, each connection counted, the sender's own copy included
/// (row:G17): 100 messages to three recipients and the sender make 100 sent and 400 received.
const RECEIVED: &str = "ws_gateway_messages_received_total";
/// Records read from the forward topic.
const FORWARDED: &str = "ws_gateway_forward_records_total";
/// Holes that were filled from the database.
const HOLES: &str = "ws_gateway_stream_holes_total";
/// Sends that the log did not take.
const APPEND_FAILURES: &str = "ws_gateway_append_failures_total";
/// Rounds that ended because the cache did not answer, by what they did: `register` sessions, or `read` how present people
/// are (row:D12).
const CACHE_FAILURES: &str = "ws_gateway_presence_failures_total";
/// People whose presence somebody here watches.
const WATCHED: &str = "ws_gateway_watched_people";

/// Tells the registry what the metrics mean.
pub(crate) fn describe() {
    metrics::describe_counter!(SENT, "Messages of clients that were stored.");
    metrics::describe_counter!(
        RECEIVED,
        "Messages handed to clients, the sender's own copy included."
    );
    metrics::describe_counter!(FORWARDED, "Records read from the forward topic.");
    metrics::describe_counter!(
        HOLES,
        "Holes in streams that were filled from the database."
    );
    metrics::describe_counter!(
        APPEND_FAILURES,
        "Appends that failed, with one or several sends."
    );
    metrics::describe_counter!(
        CACHE_FAILURES,
        "Rounds of the session registry that the cache did not answer, by work."
    );
    metrics::describe_gauge!(WATCHED, "People whose presence somebody here watches.");
}

pub(crate) fn sent() {
    metrics::counter!(SENT).increment(1);
}

pub(crate) fn received(messages: usize) {
    metrics::counter!(RECEIVED).increment(messages as u64);
}

pub(crate) fn forwarded(records: usize) {
    metrics::counter!(FORWARDED).increment(records as u64);
}

pub(crate) fn hole() {
    metrics::counter!(HOLES).increment(1);
}

pub(crate) fn append_failed() {
    metrics::counter!(APPEND_FAILURES).increment(1);
}

pub(crate) fn cache_failed(work: &'static str) {
    metrics::counter!(CACHE_FAILURES, "work" => work).increment(1);
}

#[expect(clippy::cast_precision_loss, reason = "nobody watches 2^52 people")]
pub(crate) fn watched(people: usize) {
    metrics::gauge!(WATCHED).set(people as f64);
}
