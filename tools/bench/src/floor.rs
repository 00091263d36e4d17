//! Programs that do nothing but what physics asks for: what a server of ours costs is compared with them.

pub mod accept;
pub mod copy;
pub mod fanout;
pub mod fsync;
pub mod hops;
pub mod kafka;
