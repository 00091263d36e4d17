//! The longer SQL texts, among them what the two engines spell differently.

use sql::Engine;

/// Locks the streams that a batch appends to, in one order everywhere, so that batches never deadlock.
/// On SQLite the write transaction has the whole file already.
pub(crate) fn lock_streams(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => {
            "SELECT chat_id, kind, epoch, last_o, last_seq, msg_o, human_o, version, active_ms FROM stream
             WHERE chat_id IN ({list}) ORDER BY chat_id FOR UPDATE"
        }
        Engine::Sqlite => {
            "SELECT chat_id, kind, epoch, last_o, last_seq, msg_o, human_o, version, active_ms FROM stream
             WHERE chat_id IN ({list})"
        }
    }
}

/// Locks the positions that a batch moves.
pub(crate) fn lock_positions(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => {
            "SELECT topic_id, part, next_offset, outbox_n, published_n FROM position
             WHERE (topic_id, part) IN (VALUES {list}) ORDER BY part FOR UPDATE"
        }
        Engine::Sqlite => {
            "SELECT topic_id, part, next_offset, outbox_n, published_n FROM position
             WHERE (topic_id, part) IN (VALUES {list})"
        }
    }
}

macro_rules! summaries {
    ($which:literal) => {
        concat!(
            "SELECT s.chat_id, s.epoch, s.last_o, s.last_seq, s.msg_o, m.from_o, m.read_seq,
                    (SELECT COUNT(*) FROM (
                        SELECT 1 AS one FROM event e
                        WHERE e.chat_id = s.chat_id AND e.o > m.read_seq AND e.o >= m.from_o
                          AND e.seq > m.read_seq AND e.author <> $1 LIMIT 1000) counted) AS unread
             FROM member m JOIN stream s ON s.chat_id = m.chat_id
             WHERE m.user_id = $1 AND m.until_o IS NULL",
            $which,
            " ORDER BY s.active_ms DESC, s.chat_id DESC LIMIT $2"
        )
    };
}

/// A person's chats with what is unread, the most recently active first. `o` is never smaller than `seq`,
/// so the primary key bounds the count.
pub(crate) const SUMMARIES: &str = summaries!("");

/// One of them.
pub(crate) const ONE_SUMMARY: &str = summaries!(" AND m.chat_id = $3");
