use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cache::{Cache, Decision, Error, Limits, Memory, Rule, Subscriber};
use tokio::time::Instant;

const WORKS: u8 = 0;
const FAILS: u8 = 1;
const HANGS: u8 = 2;

/// A cache whose network can be cut in two ways.
struct Flaky {
    inner: Memory,
    state: AtomicU8,
    asked: AtomicU32,
}

impl Flaky {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Memory::new(),
            state: AtomicU8::new(WORKS),
            asked: AtomicU32::new(0),
        })
    }

    fn set(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
    }

    async fn wire(&self) -> Result<(), Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.state.load(Ordering::SeqCst) {
            WORKS => Ok(()),
            FAILS => Err(Error::Unavailable("connection refused".into())),
            _ => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Cache for Flaky {
    async fn take(&self, key: &str, rule: Rule) -> Result<Decision, Error> {
        self.wire().await?;
        self.inner.take(key, rule).await
    }
    async fn publish(&self, channel: &str, payload: Bytes) -> Result<(), Error> {
        self.wire().await?;
        self.inner.publish(channel, payload).await
    }
    async fn subscriber(&self) -> Result<Box<dyn Subscriber>, Error> {
        self.wire().await?;
        self.inner.subscriber().await
    }
    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), Error> {
        self.wire().await?;
        self.inner.put(key, value, ttl).await
    }
    async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        self.wire().await?;
        self.inner.get(key).await
    }
    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.wire().await?;
        self.inner.delete(key).await
    }
    async fn join(
        &self,
        key: &str,
        member: &str,
        value: Bytes,
        ttl: Duration,
    ) -> Result<usize, Error> {
        self.wire().await?;
        self.inner.join(key, member, value, ttl).await
    }
    async fn leave(&self, key: &str, member: &str) -> Result<usize, Error> {
        self.wire().await?;
        self.inner.leave(key, member).await
    }
    async fn members(&self, key: &str) -> Result<Vec<(String, Bytes)>, Error> {
        self.wire().await?;
        self.inner.members(key).await
    }
    async fn check(&self) -> Result<(), Error> {
        self.wire().await
    }
}

async fn allowed_of(limits: &Limits, key: &str, tries: u32) -> u32 {
    let mut allowed = 0;
    for _ in 0..tries {
        if limits.take(key, Rule::per_minute(5)).await == Decision::Allowed {
            allowed += 1;
        }
    }
    allowed
}

/// Shows row:A08: the limit holds across two processes that share a cache.
#[tokio::test]
async fn two_processes_share_one_limit() {
    let shared = Flaky::new();
    let (one, two) = (Limits::new(shared.clone()), Limits::new(shared));
    assert_eq!(allowed_of(&one, "login:10.0.0.1", 3).await, 3);
    assert_eq!(allowed_of(&two, "login:10.0.0.1", 3).await, 2);
    assert_eq!(allowed_of(&one, "login:10.0.0.1", 3).await, 0);
}

/// Shows row:D12: without its cache a process limits by itself, and shares again when the cache is back.
#[tokio::test(start_paused = true)]
async fn without_the_cache_the_process_limits_by_itself() {
    let shared = Flaky::new();
    let limits = Limits::new(shared.clone());
    assert_eq!(allowed_of(&limits, "k", 9).await, 5);
    shared.set(FAILS);
    assert_eq!(
        allowed_of(&limits, "k", 9).await,
        5,
        "its own bucket was full"
    );
    shared.set(WORKS);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(
        allowed_of(&limits, "k", 9).await,
        0,
        "the shared bucket is still empty"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_hangs_delays_a_few_requests_by_a_tenth_of_a_second_and_then_none() {
    let shared = Flaky::new();
    shared.set(HANGS);
    let limits = Limits::new(shared.clone());
    let started = Instant::now();
    assert_eq!(allowed_of(&limits, "k", 100).await, 5);
    assert!(
        started.elapsed() <= Duration::from_millis(400),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(shared.asked.load(Ordering::SeqCst), 3);
}

/// The retry hint is the truth: who waits as long as told is allowed.
#[tokio::test(start_paused = true)]
async fn who_waits_as_long_as_told_is_allowed() {
    let limits = Limits::new(Arc::new(Memory::new()));
    for _ in 0..50 {
        if let Decision::Denied { retry_after } = limits.take("k", Rule::per_minute(5)).await {
            tokio::time::advance(retry_after).await;
            assert_eq!(
                limits.take("k", Rule::per_minute(5)).await,
                Decision::Allowed
            );
        }
    }
}
