//! What other services ask of `chat`, of the object itself and over gRPC, on both engines.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod lookups;
mod surface;
mod world;
