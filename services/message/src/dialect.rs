//! The longer SQL texts, among them what the two engines spell differently.

use sql::Engine;

macro_rules! streams {
    ($end:literal) => {
        concat!(
            "SELECT s.chat_id, s.kind, s.epoch, s.last_o, s.last_seq, s.msg_o, s.human_o, s.version, s.active_ms,
                    b.thread_id, b.owner, b.mode, b.state
             FROM stream s LEFT JOIN binding b ON b.chat_id = s.chat_id
             WHERE s.chat_id IN ({list})",
            $end
        )
    };
}

/// Locks the streams that a batch appends to, in one order everywhere, so that batches never deadlock; gives a row for each of
/// their bindings, or one. Bindings are those from before a wait for the lock; they change with the position of the same partition, which
/// is locked already. (Beside a topic that was made again an old worker may commit once more: then a binding that has just gone may be
/// seen once more.)
/// On SQLite the write transaction has the whole file already.
pub(crate) fn lock_streams(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => streams!(" ORDER BY s.chat_id FOR UPDATE OF s"),
        Engine::Sqlite => streams!(""),
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
