#![doc = include_str!("../README.md")]

mod bounded;
mod following;
mod gcra;
mod group;
mod hub;
mod limits;
mod memory;
mod metrics;
mod redis;
#[cfg(feature = "suite")]
pub mod suite;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use kit::{BoxError, Code, Fault, Spawner};

pub use self::redis::Redis;
pub use following::{Audience, Following};
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
    /// Key and value are more than [`MAX_BYTES`], or member and value more than [`MAX_MEMBER_BYTES`].
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

/// The most bytes of a member of a group and its value together.
pub const MAX_MEMBER_BYTES: usize = 1 << 10;

/// The most members of a group.
pub const MAX_MEMBERS: usize = 256;

/// The longest time that something is kept; a longer one is cut to it.
pub const MAX_TTL: Duration = Duration::from_hours(24 * 30);

/// What processes share and may lose. Every call ends within two seconds.
///
/// Buckets, values, groups and channels are four worlds: the same name in two of them is two things.
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
    /// from one publisher is in its order. Nothing is kept for a cache that is away, though a payload that was on its
    /// way when an error came may still arrive.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::TooLarge`].
    async fn publish(&self, channel: &str, payload: Bytes) -> Result<(), Error>;

    /// A subscriber without channels.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn subscriber(&self) -> Result<Box<dyn Subscriber>, Error>;

    /// Keeps `value` under `key` for about `ttl`, at most [`MAX_TTL`], in place of what was there. It may go earlier.
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

    /// Makes `member` one of the group `key` for about `ttl`, at most [`MAX_TTL`], with `value` in place of what it
    /// had; who joins again in time stays. The answer is how many members there are now.
    ///
    /// A group is small: the connections of a person, the instances of a service. In a group of [`MAX_MEMBERS`] the
    /// member whose time ends first makes room for a new one. Nothing at all is left of a group when the times of its
    /// members are over, so what a process that died has joined is gone after the `ttl` that it used.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::TooLarge`].
    async fn join(
        &self,
        key: &str,
        member: &str,
        value: Bytes,
        ttl: Duration,
    ) -> Result<usize, Error>;

    /// Takes `member` out of the group `key`; fine when it is not there. The answer is how many members are left.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn leave(&self, key: &str, member: &str) -> Result<usize, Error>;

    /// The members of the group `key` whose time is not over, with their values, in no order.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn members(&self, key: &str) -> Result<Vec<(String, Bytes)>, Error>;

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
    /// nothing. `None` means that this subscriber is over and another one has to be made: the connection to the cache was
    /// lost, and what is published until the other one has its channels is not received by anybody here.
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

/// Refuses what is too large to be kept or sent.
fn check_size(key: &str, value: &Bytes, most: usize) -> Result<(), Error> {
    let size = key.len() + value.len();
    if size > most {
        Err(Error::TooLarge(size))
    } else {
        Ok(())
    }
}

/// Refuses an address that can never be opened. Nobody is asked.
///
/// # Errors
/// As [`open`].
pub fn check(url: &str) -> Result<(), Error> {
    Place::parse(url).map(drop)
}

/// Opens the cache at `url`: `memory:` for one process, or a Redis or Valkey server, see [`Redis`]. Such a server need not
/// be there: tasks of `spawner` look for it as long as the node runs.
///
/// # Errors
/// [`Error::Refused`] with the addresses there are. The address itself is not repeated: it may hold a password.
pub fn open(url: &str, spawner: &Spawner) -> Result<Arc<dyn Cache>, Error> {
    Ok(match Place::parse(url)? {
        Place::Memory => Arc::new(Memory::new()),
        Place::Redis(client) => Arc::new(Redis::new(*client, spawner)),
    })
}

/// What an address names.
enum Place {
    Memory,
    Redis(Box<::redis::Client>),
}

impl Place {
    fn parse(url: &str) -> Result<Self, Error> {
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("redis" | "rediss" | "valkey" | "valkeys", _)) => {
                redis::client(url).map(|client| Self::Redis(Box::new(client)))
            }
            _ => Err(Error::Refused(
                "the cache address must be memory: or redis://HOST:PORT".to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use kit::Node;

    use super::{Error, open};

    #[tokio::test]
    async fn an_address_of_another_kind_is_refused_without_repeating_it() {
        let spawner = Node::new().spawner();
        for url in [
            "memory:",
            "redis://127.0.0.1",
            "rediss://somebody:secret@127.0.0.1:1/15",
            "valkey://:secret@[::1]:6379",
            "valkeys://host",
        ] {
            assert!(open(url, &spawner).is_ok(), "{url}");
        }
        for (url, hint) in [
            ("memcached://secret@host", "memory: or redis://"),
            ("memory:secret", "memory: or redis://"),
            ("", "memory: or redis://"),
            ("redis:secret", "redis://[USER:PASSWORD@]HOST"),
            ("redis://:secret@", "redis://[USER:PASSWORD@]HOST"),
            ("redis://:secret@host:port", "redis://[USER:PASSWORD@]HOST"),
            ("redis://host/secret", "redis://[USER:PASSWORD@]HOST"),
            ("redis://:secret@host/-1", "redis://[USER:PASSWORD@]HOST"),
            ("rediss://host/#insecure", "redis://[USER:PASSWORD@]HOST"),
        ] {
            let Err(Error::Refused(text)) = open(url, &spawner) else {
                panic!("{url} was taken")
            };
            assert!(text.contains(hint) && !text.contains("secret"), "{text}");
            assert_eq!(text.lines().count(), 1);
        }
    }
}
