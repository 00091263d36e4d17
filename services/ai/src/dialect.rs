//! What the two engines spell differently.

use sql::Engine;

/// Locks one thread. On SQLite the write transaction has the whole file already.
pub(crate) fn lock_thread(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => {
            "SELECT thread_id, chat_id, owner, mode, state, reason, binding_o, version, kernel, probe_ms, tries, calling, worker
             FROM thread WHERE thread_id = $1 FOR UPDATE"
        }
        Engine::Sqlite => {
            "SELECT thread_id, chat_id, owner, mode, state, reason, binding_o, version, kernel, probe_ms, tries, calling, worker
             FROM thread WHERE thread_id = $1"
        }
    }
}
