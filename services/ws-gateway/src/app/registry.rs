//! The registry of sessions in the cache: who is connected where. One task does it for all connections.
//!
//! In the group of each person every connection is a member under its name, with a lease: of a process that was killed
//! nothing is left when the lease is over. While the cache is away nobody waits for it, and when it is back everybody is
//! registered anew. A process that does not find itself among the instances any more knows that the cache was emptied.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cache::{Cache, Error};
use contracts::{SessionId, UserId};
use futures_util::{TryStreamExt as _, stream};
use kit::{BoxError, CancellationToken};
use parking_lot::Mutex;
use realtime::{Activity, Hub};
use tokio::{sync::Notify, time::Instant};

use crate::{
    config::Presence,
    domain::{Books, Job, Registered},
    metrics,
};

/// The group of the processes; a member's value is how many connections it has.
const INSTANCES: &str = "ws-gateway:instances";
/// Calls to the cache at once.
const AT_ONCE: usize = 64;
/// Jobs that are taken together.
const BATCH: usize = 1024;
/// When a cache that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// The longest that a stop waits for the cache.
const FAREWELL: Duration = Duration::from_secs(3);

/// The time by the runtime, which a test can hold.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// The group of a person's connections.
pub(crate) fn group(user: UserId) -> String {
    format!("ws-gateway:sessions:{user}")
}

/// The channel in which it is said that a person's group has changed.
pub(crate) fn channel(user: UserId) -> String {
    format!("ws-gateway:presence:{user}")
}

/// The connections of this process.
pub(crate) struct Registry {
    hub: Arc<Hub>,
    cache: Arc<dyn Cache>,
    lease: Duration,
    grace: Duration,
    books: Mutex<Books>,
    has_work: Notify,
}

impl Registry {
    pub(crate) fn new(hub: Arc<Hub>, cache: Arc<dyn Cache>, config: &Presence) -> Self {
        Self {
            hub,
            cache,
            lease: config.lease,
            grace: config.grace,
            books: Mutex::new(Books::new(config.refresh(), config.grace)),
            has_work: Notify::new(),
        }
    }

    /// A connection of `user` is ready.
    pub(crate) fn join(&self, id: u64, user: UserId, login: SessionId, state: Activity) {
        let now = self.hub.clock().now_ms();
        self.books.lock().join(id, user, login, state, now);
        self.has_work.notify_one();
    }

    /// What a client says of its person.
    pub(crate) fn set(&self, id: u64, state: Activity) {
        let now = self.hub.clock().now_ms();
        if self.books.lock().set(id, state, now) {
            self.has_work.notify_one();
        }
    }

    /// A connection has ended.
    pub(crate) fn leave(&self, id: u64) {
        self.books.lock().leave(id, now());
        self.has_work.notify_one();
    }

    /// Keeps the registry until the node stops. Who is connected then has the grace to come back elsewhere.
    pub(crate) async fn keep(&self, stop: CancellationToken) -> Result<(), BoxError> {
        self.books.lock().lose();
        let mut is_away = false;
        loop {
            let turn = async {
                self.work_to_do(is_away).await;
                self.work().await
            };
            let Some(done) = stop.run_until_cancelled(turn).await else {
                break;
            };
            is_away = done.is_err();
            if is_away {
                metrics::cache_failed("register");
                self.books.lock().lose();
            }
        }
        // Without it the leases end later, which is all.
        let _ = tokio::time::timeout(FAREWELL, self.say_farewell()).await;
        Ok(())
    }

    async fn work_to_do(&self, is_away: bool) {
        if is_away {
            return tokio::time::sleep(RETRY).await;
        }
        let next = self.books.lock().next(now());
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            () = self.has_work.notified() => {}
        }
    }

    async fn work(&self) -> Result<(), Error> {
        loop {
            let jobs = self.books.lock().take(now(), BATCH);
            if jobs.is_empty() {
                return Ok(());
            }
            stream::iter(jobs.into_iter().map(Ok))
                .try_for_each_concurrent(AT_ONCE, |job| self.execute(job))
                .await?;
        }
    }

    async fn execute(&self, job: Job) -> Result<(), Error> {
        match job {
            Job::Process { is_again } => self.register_process(is_again).await,
            Job::Register { id, is_news } => {
                let Some((user, registered)) = self.books.lock().connection(id) else {
                    return Ok(());
                };
                self.register(id, user, registered, self.lease).await?;
                self.books.lock().registered(id, now());
                if is_news {
                    self.tell(user).await
                } else {
                    Ok(())
                }
            }
            Job::Remove { id, user } => {
                let name = self.hub.name_of(id);
                self.cache.leave(&group(user), &name).await?;
                self.tell(user).await
            }
        }
    }

    async fn register_process(&self, is_again: bool) -> Result<(), Error> {
        let name = self.hub.name();
        let is_there = || async {
            let instances = self.cache.members(INSTANCES).await?;
            Ok(instances.iter().any(|(instance, _)| *instance == name))
        };
        let is_lost = is_again && !is_there().await?;
        let connections = Bytes::from(self.books.lock().len().to_string());
        let joined = self.cache.join(INSTANCES, &name, connections, self.lease);
        joined.await?;
        if is_lost {
            tracing::info!("the cache has forgotten this process; registering everybody anew");
            self.books.lock().lose();
        }
        Ok(())
    }

    async fn register(
        &self,
        id: u64,
        user: UserId,
        registered: Registered,
        lease: Duration,
    ) -> Result<(), Error> {
        let value = serde_json::to_vec(&registered).unwrap_or_default().into();
        let name = self.hub.name_of(id);
        let joined = self.cache.join(&group(user), &name, value, lease).await;
        joined.map(drop)
    }

    /// Whoever watches the person reads their group.
    async fn tell(&self, user: UserId) -> Result<(), Error> {
        self.cache.publish(&channel(user), Bytes::new()).await
    }

    /// What is registered ends with the grace.
    async fn say_farewell(&self) -> Result<(), Error> {
        self.cache.leave(INSTANCES, &self.hub.name()).await?;
        let everybody = self.books.lock().everybody();
        stream::iter(everybody.into_iter().map(Ok))
            .try_for_each_concurrent(AT_ONCE, |(id, user, registered)| {
                self.register(id, user, registered, self.grace)
            })
            .await
    }
}
