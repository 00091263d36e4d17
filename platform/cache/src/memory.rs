//! The cache of one process: its own memory.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::{
    Cache, Decision, Error, MAX_BYTES, MAX_MEMBER_BYTES, MAX_TTL, Rule, Subscriber,
    bounded::Bounded, check_size, gcra, group::Group, hub::Hub, metrics,
};

/// Memory for rate limits: about 200,000 buckets in use.
const LIMIT_BYTES: usize = 32 << 20;
/// Memory for values.
const VALUE_BYTES: usize = 64 << 20;
/// Memory for groups: the connections of about 100,000 people.
const GROUP_BYTES: usize = 128 << 20;
/// What a bucket takes beside its key.
const BUCKET_BYTES: usize = 16;
/// Into how many parts a map is divided, so that sweeping one part holds up few.
const PARTS: usize = 16;

/// A map in parts, each with a lock and a share of the bound.
struct Parts<V> {
    parts: [Mutex<Bounded<V>>; PARTS],
    hash: RandomState,
}

impl<V> Parts<V> {
    fn new(bytes: usize, evicted: &::metrics::Counter) -> Self {
        Self {
            parts: std::array::from_fn(|_| {
                Mutex::new(Bounded::new(bytes / PARTS, evicted.clone()))
            }),
            hash: RandomState::new(),
        }
    }

    /// The part in which `key` is.
    fn part(&self, key: &str) -> MutexGuard<'_, Bounded<V>> {
        let part = self.hash.hash_one(key) % PARTS as u64;
        self.parts[usize::try_from(part).unwrap_or_default()].lock()
    }
}

/// A cache that only this process sees. Time is the runtime's, so a test can hold it.
pub struct Memory {
    /// The moment at which a bucket is full again; then it can be forgotten, which is why that is its expiry too.
    buckets: Parts<Instant>,
    values: Parts<Bytes>,
    groups: Parts<Group>,
    hub: Arc<Hub>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// An empty cache.
    pub fn new() -> Self {
        metrics::describe();
        Self {
            buckets: Parts::new(LIMIT_BYTES, &metrics::evicted("limit")),
            values: Parts::new(VALUE_BYTES, &metrics::evicted("value")),
            groups: Parts::new(GROUP_BYTES, &metrics::evicted("group")),
            hub: Arc::new(Hub::new(metrics::dropped())),
        }
    }

    /// [`Cache::take`], which cannot fail here.
    pub fn decide(&self, key: &str, rule: Rule) -> Decision {
        let now = Instant::now();
        let mut buckets = self.buckets.part(key);
        let full_at = buckets.get(key, now).copied();
        let (decision, full_at) = gcra::take(full_at, now, rule);
        if let Some(full_at) = full_at {
            buckets.insert(key, full_at, BUCKET_BYTES, full_at, now);
        }
        decision
    }

    /// Changes the group `key`; the answer is how many members it has then.
    fn change(&self, key: &str, change: impl FnOnce(&mut Group, Instant)) -> usize {
        let now = Instant::now();
        let mut groups = self.groups.part(key);
        let mut group = groups.remove(key).unwrap_or_default();
        group.sweep(now);
        change(&mut group, now);
        let (members, bytes) = (group.len(), group.bytes());
        if let Some(ends) = group.ends() {
            groups.insert(key, group, bytes, ends, now);
        }
        members
    }
}

#[async_trait]
impl Cache for Memory {
    async fn take(&self, key: &str, rule: Rule) -> Result<Decision, Error> {
        Ok(self.decide(key, rule))
    }

    async fn publish(&self, channel: &str, payload: Bytes) -> Result<(), Error> {
        check_size(channel, &payload, MAX_BYTES)?;
        self.hub.publish(channel, &payload);
        Ok(())
    }

    async fn subscriber(&self) -> Result<Box<dyn Subscriber>, Error> {
        Ok(Box::new(self.hub.subscriber()))
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), Error> {
        check_size(key, &value, MAX_BYTES)?;
        let (now, size) = (Instant::now(), value.len());
        self.values
            .part(key)
            .insert(key, value, size, now + ttl.min(MAX_TTL), now);
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.values.part(key).get(key, Instant::now()).cloned())
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.values.part(key).remove(key);
        Ok(())
    }

    async fn join(
        &self,
        key: &str,
        member: &str,
        value: Bytes,
        ttl: Duration,
    ) -> Result<usize, Error> {
        check_size(member, &value, MAX_MEMBER_BYTES)?;
        Ok(self.change(key, |group, now| {
            group.join(member, value, now + ttl.min(MAX_TTL));
        }))
    }

    async fn leave(&self, key: &str, member: &str) -> Result<usize, Error> {
        Ok(self.change(key, |group, _| group.leave(member)))
    }

    async fn members(&self, key: &str) -> Result<Vec<(String, Bytes)>, Error> {
        let now = Instant::now();
        let mut groups = self.groups.part(key);
        let group = groups.get(key, now);
        Ok(group.map_or_else(Vec::new, |group| group.members(now)))
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}
