//! Every metric of sockets, labelled with the `door` they came through.

use metrics::{Counter, Gauge};

/// Open sockets (row:G15).
pub(crate) const CONNECTIONS: &str = "ws_connections";
/// Frames read from clients.
pub(crate) const FRAMES_IN: &str = "ws_frames_received_total";
/// Frames written to clients.
pub(crate) const FRAMES_OUT: &str = "ws_frames_sent_total";
/// Write calls; fewer than frames, because frames that wait together leave together.
pub(crate) const WRITES: &str = "ws_writes_total";
/// Ephemera that gave way because a client reads too slowly.
pub(crate) const DROPPED: &str = "ws_ephemera_dropped_total";
/// Events refused because a client reads too slowly; its stream goes on by `pull`.
pub(crate) const LAGS: &str = "ws_lag_switches_total";
/// Connections closed because they did not read.
pub(crate) const SLOW: &str = "ws_slow_closes_total";
/// Connections closed by the server, by close code.
pub(crate) const CLOSES: &str = "ws_closes_total";
/// Upgrades and hellos that were refused, by reason.
pub(crate) const HANDSHAKES: &str = "ws_handshake_failures_total";
/// Commands refused by the rate limit.
pub(crate) const LIMITED: &str = "ws_rate_limited_total";

/// The handles of one door, looked up once.
pub(crate) struct Metrics {
    pub(crate) door: &'static str,
    pub(crate) connections: Gauge,
    pub(crate) frames_in: Counter,
    pub(crate) frames_out: Counter,
    pub(crate) writes: Counter,
    pub(crate) dropped: Counter,
    pub(crate) lags: Counter,
    pub(crate) slow: Counter,
    pub(crate) limited: Counter,
}

impl Metrics {
    pub(crate) fn new(door: &'static str) -> Self {
        // Handles that are made before the registry count nothing.
        drop(kit::telemetry::metrics());
        metrics::describe_gauge!(CONNECTIONS, "Open WebSocket connections.");
        metrics::describe_counter!(FRAMES_IN, "Frames read from clients.");
        metrics::describe_counter!(FRAMES_OUT, "Frames written to clients.");
        metrics::describe_counter!(WRITES, "Write calls on sockets.");
        metrics::describe_counter!(DROPPED, "Ephemeral frames that gave way to newer ones.");
        metrics::describe_counter!(LAGS, "Streams that a slow client has to pull.");
        metrics::describe_counter!(SLOW, "Connections closed because they did not read.");
        metrics::describe_counter!(CLOSES, "Connections closed by the server, by close code.");
        metrics::describe_counter!(HANDSHAKES, "Refused upgrades and hellos, by reason.");
        metrics::describe_counter!(LIMITED, "Commands refused by the rate limit.");
        Self {
            door,
            connections: metrics::gauge!(CONNECTIONS, "door" => door),
            frames_in: metrics::counter!(FRAMES_IN, "door" => door),
            frames_out: metrics::counter!(FRAMES_OUT, "door" => door),
            writes: metrics::counter!(WRITES, "door" => door),
            dropped: metrics::counter!(DROPPED, "door" => door),
            lags: metrics::counter!(LAGS, "door" => door),
            slow: metrics::counter!(SLOW, "door" => door),
            limited: metrics::counter!(LIMITED, "door" => door),
        }
    }

    pub(crate) fn closed(&self, code: u16) {
        metrics::counter!(CLOSES, "door" => self.door, "code" => code.to_string()).increment(1);
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        metrics::counter!(HANDSHAKES, "door" => self.door, "reason" => reason).increment(1);
    }
}
