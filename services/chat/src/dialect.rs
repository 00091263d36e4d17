//! What the two engines spell differently.

use sql::Engine;

/// Reads a chat and keeps everybody else from deciding about it until the transaction ends.
/// On SQLite the write transaction has the whole file already.
pub(crate) fn lock_chat(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => {
            "SELECT id, kind, title, creator, version, projected, outbox_n, created_ms FROM chat WHERE id = $1 FOR UPDATE"
        }
        Engine::Sqlite => {
            "SELECT id, kind, title, creator, version, projected, outbox_n, created_ms FROM chat WHERE id = $1"
        }
    }
}
