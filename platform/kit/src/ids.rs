//! Identifiers come in from outside, so that tests can predict them.

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// A source of time-ordered identifiers (UUID version 7, RFC 9562 section 5.7).
pub trait Ids: Send + Sync + 'static {
    /// An id that was never given before.
    fn next(&self) -> Uuid;
}

/// Ids of the machine's clock and random source; they rise within one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that makes ids"
    )]
    fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// Ids that count up from one, for tests.
#[derive(Debug, Default)]
pub struct SequentialIds(AtomicU64);

impl Ids for SequentialIds {
    fn next(&self) -> Uuid {
        let n = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        uuid::Builder::from_unix_timestamp_millis(
            n,
            &n.to_be_bytes().repeat(2)[..10]
                .try_into()
                .expect("ten bytes"),
        )
        .into_uuid()
    }
}
