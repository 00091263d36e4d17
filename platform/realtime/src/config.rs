//! The limits and times of a door, and the close codes of the protocol.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a door allows. The defaults are those of `docs/protocol.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A connection to which nothing was sent for so long gets a heartbeat.
    #[serde(with = "kit::config::duration")]
    pub heartbeat: Duration,
    /// A client that gives no sign of life for so long after a heartbeat is closed with 4003.
    #[serde(with = "kit::config::duration")]
    pub heartbeat_timeout: Duration,
    /// The time for `hello`.
    #[serde(with = "kit::config::duration")]
    pub hello_timeout: Duration,
    /// A client that takes no byte for so long while some wait is closed with 4002.
    #[serde(with = "kit::config::duration")]
    pub stall_timeout: Duration,
    /// Bytes that may wait for one connection; a stream lags when half of it is used.
    pub queue_bytes: usize,
    /// The largest message of a client, in bytes.
    pub message_bytes: usize,
    /// Open connections of this door in this process.
    pub connections: usize,
    /// Open connections of one person in this process.
    pub connections_per_person: u32,
    /// Connections of one address (IPv6: of one /64) that have not said `hello` yet.
    pub unauthenticated_per_address: u32,
    /// Commands of one connection in ten seconds.
    pub commands_per_10s: u32,
    /// Commands that may come at once.
    pub command_burst: u32,
    /// Subscriptions of one connection.
    pub subscriptions: usize,
    /// Origins that browsers may come from beside the host itself, such as `https://chat.example`.
    pub origins: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(25),
            heartbeat_timeout: Duration::from_secs(10),
            hello_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(30),
            queue_bytes: 1024 * 1024,
            message_bytes: 64 * 1024,
            connections: 100_000,
            connections_per_person: 20,
            unauthenticated_per_address: 20,
            commands_per_10s: 100,
            command_burst: 30,
            subscriptions: 200,
            origins: Vec::new(),
        }
    }
}

impl Config {
    /// Names the first value that cannot work.
    pub fn check(&self) -> Result<(), String> {
        // Half of it has to hold the largest event: 16 KiB of text, each byte escaped in JSON.
        if self.queue_bytes < 256 * 1024 {
            return Err("queue_bytes must be at least 262144".to_owned());
        }
        if self.message_bytes < 1024 {
            return Err("message_bytes must be at least 1024".to_owned());
        }
        if self.commands_per_10s == 0 || self.command_burst == 0 {
            return Err("commands_per_10s and command_burst must be at least 1".to_owned());
        }
        let is_origin = |origin: &String| {
            origin
                .split_once("://")
                .is_some_and(|(_, host)| !host.contains('/'))
        };
        match self.origins.iter().find(|origin| !is_origin(origin)) {
            Some(wrong) => Err(format!(
                "`{wrong}` is not an origin such as https://chat.example"
            )),
            None => Ok(()),
        }
    }
}

/// Why a server closes a connection: a code of the protocol with its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

impl Close {
    /// Come back with resume.
    pub const RESTART: Self = Self {
        code: 4001,
        reason: "restart",
    };
    /// The client does not read fast enough.
    pub const TOO_SLOW: Self = Self {
        code: 4002,
        reason: "too slow",
    };
    /// No sign of life.
    pub const HEARTBEAT_LOST: Self = Self {
        code: 4003,
        reason: "heartbeat lost",
    };
    /// The token has ended: refresh, then come back.
    pub const TOKEN_EXPIRED: Self = Self {
        code: 4100,
        reason: "token expired",
    };
    /// The streams begin anew: refresh, then come back.
    pub const EPOCH_CHANGED: Self = Self {
        code: 4101,
        reason: "epoch changed",
    };
    /// The token is no good.
    pub const BAD_TOKEN: Self = Self {
        code: 4200,
        reason: "bad token",
    };
    /// The login was ended.
    pub const LOGIN_ENDED: Self = Self {
        code: 4201,
        reason: "login ended",
    };
    /// A protocol that this server does not speak.
    pub const UNKNOWN_PROTOCOL: Self = Self {
        code: 4203,
        reason: "protocol not known",
    };
    /// The person has too many connections.
    pub const TOO_MANY: Self = Self {
        code: 4205,
        reason: "too many connections",
    };

    /// The number on the wire.
    pub fn code(self) -> u16 {
        self.code
    }
}
