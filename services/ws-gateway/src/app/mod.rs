//! What happens between the log, the streams and the sockets.

pub(crate) mod event;
mod forward;
pub(crate) mod people;
pub(crate) mod presence;
pub(crate) mod registry;
pub(crate) mod replay;
pub(crate) mod sending;
pub(crate) mod topic;
pub(crate) mod topics;

use std::sync::{Arc, atomic::AtomicBool};

use contracts::{ai::AiClient, auth::Verifier, events};
use eventlog::EventLog;
use realtime::Hub;

/// What all connections share.
pub(crate) struct Gateway {
    pub(crate) hub: Arc<Hub>,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) names: Arc<events::Topics>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) ai: Option<AiClient>,
    pub(crate) topics: Arc<topics::Topics>,
    pub(crate) people: people::People,
    pub(crate) registry: registry::Registry,
    pub(crate) presence: presence::Presence,
    pub(crate) replay: replay::Replay,
    pub(crate) is_following: AtomicBool,
}
