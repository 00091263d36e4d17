#![doc = include_str!("../README.md")]

mod bounded;
mod gcra;
mod hub;
mod limits;
mod memory;
mod metrics;
#[cfg(feature = "suite")]
pub mod suite;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use kit::{BoxError, Code, Fault};

pub use limits::Limits;
pub use memory::Memory;

/// How often something may happen: `count` times `per`, evenly, with up to `burst` at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The time in which `count` tokens come back.
    #[serde(with = "kit::config::duration")]
    pub per: Duration,
    /// Tokens that come back in that time; 0 counts as 1.
    pub count: u32,
    /// Tokens in a full bucket; 0 counts as 1.
    pub burst: u32,
}

impl Rule {
    /// `count` a minute, all of them at once if need be.
    pub const fn per_minute(count: u32) -> Self {
        Self {
            per: Duration::from_mins(1),
            count,
            burst: count,
        }
    }
}

/// The answer of a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A token was taken.
    Allowed,
    /// No token was left, and none was taken.
    Denied {
        /// When the next token is there.
        retry_after: Duration,
    },
}

impl Decision {
    /// The decision as the answer of a door.
    ///
    /// # Errors
    /// [`Code::Exhausted`] with the time to wait.
    pub fn into_result(self) -> Result<(), Fault> {
        match self {
            Self::Allowed => Ok(()),
            Self::Denied { retry_after } => Err(Fault::new(
                Code::Exhausted,
                "too many requests; wait a little",
            )
            .retry_in(retry_after)),
        }
    }
}

/// What can go wrong with a cache.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cache does not answer. Go on without it.
    #[error("the cache does not answer")]
    Unavailable(#[source] BoxError),
    /// Key and value are more than [`MAX_BYTES`].
    #[error("{0} bytes are too many for the cache")]
    TooLarge(usize),
    /// The cache cannot be used as it is; the text is for the person who runs the server.
    #[error("{0}")]
    Refused(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(_) => Self::unavailable(error),
            Error::TooLarge(_) | Error::Refused(_) => Self::internal(error),
        }
    }
}

/// The most bytes of a key or channel and its value together.
pub const MAX_BYTES: usize = 1 << 20;

/// What processes share and may lose. Every call ends within two seconds.
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    /// Takes one token from the bucket `key`, by the generic cell rate algorithm. Buckets begin full; of callers at
    /// the same time, in any process, no more are allowed than there are tokens.
    ///
    /// Services ask [`Limits`] instead, which knows what to do when the cache is away.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn take(&self, key: &str, rule: Rule) -> Result<Decision, Error>;

    /// Sends `payload` to whoever subscribes to `channel` right now. Nobody may depend on its arrival; what arrives
    /// from one publisher is in its order.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::TooLarge`].
    async fn publish(&self, channel: &str, payload: Bytes) -> Result<(), Error>;

    /// A subscriber without channels.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn subscriber(&self) -> Result<Box<dyn Subscriber>, Error>;

    /// Keeps `value` under `key` for about `ttl`, in place of what was there. It may go earlier.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::TooLarge`].
    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), Error>;

    /// The value under `key`, if it is there.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn get(&self, key: &str) -> Result<Option<Bytes>, Error>;

    /// Forgets `key`; fine when it is not there.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn delete(&self, key: &str) -> Result<(), Error>;

    /// Whether the cache answers. Nothing stops when it does not, so this is for display and not for readiness.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn check(&self) -> Result<(), Error>;
}

/// Receives what is published on the channels it was given. Dropping it ends all of them.
#[async_trait]
pub trait Subscriber: Send {
    /// A handle that adds and removes channels while another task receives.
    fn handle(&self) -> SubscriberHandle;

    /// The next payload with its channel. A subscriber that is slow loses the oldest. Dropping the future loses
    /// nothing. `None` means that this subscriber is over and another one has to be made.
    async fn next(&mut self) -> Option<(String, Bytes)>;
}

/// The channels of a subscriber, as an adapter keeps them.
#[async_trait]
pub trait Channels: Send + Sync + 'static {
    /// See [`SubscriberHandle::add`].
    async fn add(&self, channel: &str) -> Result<(), Error>;
    /// See [`SubscriberHandle::remove`].
    async fn remove(&self, channel: &str) -> Result<(), Error>;
}

/// Adds and removes channels of a [`Subscriber`]. Cheap to clone.
#[derive(Clone)]
pub struct SubscriberHandle(Arc<dyn Channels>);

impl SubscriberHandle {
    /// The handle of an adapter's subscriber.
    pub fn new(channels: Arc<dyn Channels>) -> Self {
        Self(channels)
    }

    /// Subscribes to `channel`: what is published after the answer arrives. Adding twice is adding once.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn add(&self, channel: &str) -> Result<(), Error> {
        self.0.add(channel).await
    }

    /// Ends the subscription to `channel`. What was published before may still arrive.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn remove(&self, channel: &str) -> Result<(), Error> {
        self.0.remove(channel).await
    }
}

/// Opens the cache at `url`: `memory:` for one process.
///
/// # Errors
/// [`Error::Refused`] with the schemes there are. The address itself is not repeated: it may hold a password.
pub fn open(url: &str) -> Result<Arc<dyn Cache>, Error> {
    match url.split_once(':') {
        Some(("memory", "")) => Ok(Arc::new(Memory::new())),
        Some(("redis" | "rediss" | "valkey" | "valkeys", _)) => Err(Error::Refused(
            "a Redis cache is not in this build yet; the cache address can be memory:".to_owned(),
        )),
        _ => Err(Error::Refused(
            "the cache address must be memory: or redis://HOST:PORT".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, open};

    #[test]
    fn an_address_of_another_kind_is_refused_without_repeating_it() {
        assert!(open("memory:").is_ok());
        for (url, hint) in [
            ("redis://:secret@host:6379", "not in this build"),
            ("memcached://secret@host", "memory: or redis://"),
            ("memory:secret", "memory: or redis://"),
            ("", "memory: or redis://"),
        ] {
            let Err(Error::Refused(text)) = open(url) else {
                panic!("{url} was taken")
            };
            assert!(text.contains(hint) && !text.contains("secret"), "{text}");
        }
    }
}
