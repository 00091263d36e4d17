//! The process as a service sees it: listeners, tasks, readiness, stop.

use std::{future::Future, net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{Extension, Router};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Backoff, BoxError,
    health::Health,
    http::{self, Crowd, TrustedProxies},
    telemetry,
};

/// What a node does when one of its tasks ends with an error or panics.
#[derive(Clone, Copy, Debug)]
pub enum OnFailure {
    /// Start it again after a wait that grows up to two seconds.
    Restart,
    /// Stop the process with a failing exit code.
    Fatal,
}

/// What stops together.
#[derive(Clone, Debug, Default)]
struct Phase {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Phase {
    /// Tells everything of this phase to stop and waits for it, though not longer than until `deadline`.
    async fn end(&self, name: &'static str, deadline: Instant) {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout_at(deadline, self.tracker.wait())
            .await
            .is_err()
        {
            let left = self.tracker.len();
            tracing::warn!(phase = name, left, "not everything stopped in time");
        }
    }
}

/// Starts tasks and tells them when to stop. Cheap to clone.
///
/// A stop has two phases: first the doors, which take nothing new and answer what they have taken, then everything
/// else, which the doors needed for that.
#[derive(Clone, Debug)]
pub struct Spawner {
    phase: Phase,
    doors: Phase,
    hard: CancellationToken,
    fatal: Arc<Mutex<Option<String>>>,
    failed: CancellationToken,
}

impl Spawner {
    fn new() -> Self {
        Self {
            phase: Phase::default(),
            doors: Phase::default(),
            hard: CancellationToken::new(),
            fatal: Arc::default(),
            failed: CancellationToken::new(),
        }
    }

    /// The spawner of what faces clients: its tasks are told to stop as soon as the node begins to, and all others go
    /// on until these have ended.
    #[must_use]
    pub fn doors(&self) -> Self {
        Self {
            phase: self.doors.clone(),
            ..self.clone()
        }
    }

    /// Cancelled when the tasks of this spawner have to stop: a task then finishes what it has and returns.
    pub fn token(&self) -> &CancellationToken {
        &self.phase.stop
    }

    /// Runs `work` once. A panic is logged and counted and disturbs nobody else.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let hard = self.hard.clone();
        self.phase.tracker.spawn(async move {
            let work = hard.run_until_cancelled(AssertUnwindSafe(work).catch_unwind());
            if work.await.is_some_and(|result| result.is_err()) {
                metrics::counter!("task_failures_total", "task" => name).increment(1);
                tracing::error!(task = name, "task panicked");
            }
        });
    }

    /// Runs what `make` makes until the node stops; an error, a panic or an early end follows `policy`.
    pub fn task<F>(
        &self,
        name: &'static str,
        policy: OnFailure,
        mut make: impl FnMut() -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let this = self.clone();
        self.phase.tracker.spawn(async move {
            let waits = || Backoff::new(AGAIN.0, AGAIN.1);
            let mut backoff = waits();
            loop {
                let started = Instant::now();
                let mut work = this.phase.tracker.spawn(make());
                let result = tokio::select! {
                    result = &mut work => result,
                    () = this.hard.cancelled() => return work.abort(),
                };
                let trouble = match result {
                    Ok(Ok(())) if this.token().is_cancelled() => return,
                    Ok(Ok(())) => "it ended by itself".to_owned(),
                    Ok(Err(error)) => error_chain(error.as_ref()),
                    Err(_) => "it panicked".to_owned(),
                };
                metrics::counter!("task_failures_total", "task" => name).increment(1);
                tracing::error!(task = name, error = trouble, "task failed");
                if this.token().is_cancelled() {
                    return;
                }
                if started.elapsed() >= WELL {
                    backoff = waits();
                }
                match policy {
                    OnFailure::Fatal => {
                        this.fatal
                            .lock()
                            .get_or_insert(format!("task {name} failed: {trouble}"));
                        return this.failed.cancel();
                    }
                    OnFailure::Restart => tokio::select! {
                        () = tokio::time::sleep(backoff.next_wait()) => {}
                        () = this.token().cancelled() => return,
                    },
                }
            }
        });
    }
}

/// How long a failed task waits until it starts again: at first, and at most. What it needs may come back at any moment.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// A task that ran for so long was well: its next restart does not wait for the failures before.
const WELL: Duration = Duration::from_mins(1);

/// An error and its causes in one line.
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

type Closer = Box<dyn FnOnce() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Collects what the services of a process offer, then serves it until told to stop.
pub struct Node {
    spawner: Spawner,
    health: Health,
    public: Router,
    private: Router,
    proxies: TrustedProxies,
    connections_per_address: u32,
    closers: Vec<(&'static str, Closer)>,
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

impl Node {
    /// An empty node.
    pub fn new() -> Self {
        Self {
            spawner: Spawner::new(),
            health: Health::default(),
            public: Router::new(),
            private: Router::new(),
            proxies: TrustedProxies::default(),
            connections_per_address: http::CONNECTIONS_PER_ADDRESS,
            closers: Vec::new(),
        }
    }

    /// Adds routes to the public listener.
    pub fn http(&mut self, router: Router) {
        self.public = std::mem::take(&mut self.public).merge(router);
    }

    /// Adds routes to the private listener, beside health and metrics.
    pub fn private_http(&mut self, router: Router) {
        self.private = std::mem::take(&mut self.private).merge(router);
    }

    /// Believes what these reverse proxies say about their clients; see [`http::Client`].
    pub fn trust(&mut self, proxies: impl Into<TrustedProxies>) {
        self.proxies = proxies.into();
    }

    /// Lets one address have so many HTTP connections at once, [`http::CONNECTIONS_PER_ADDRESS`] unless told; the
    /// trusted proxies have no limit, and a connection that became a socket does not count.
    pub fn limit_connections(&mut self, per_address: u32) {
        self.connections_per_address = per_address;
    }

    /// Starts a task that lives as long as the node; it is told to stop when the doors are closed.
    pub fn task<F>(
        &self,
        name: &'static str,
        policy: OnFailure,
        make: impl FnMut() -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.spawner.task(name, policy, make);
    }

    /// Adds a condition of readiness.
    pub fn ready<F>(&self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.health.add(name, check);
    }

    /// Adds something to close when every task has ended; the last added closes first.
    pub fn on_stop<F>(&mut self, name: &'static str, close: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.closers
            .push((name, Box::new(move || Box::pin(close()))));
    }

    /// A handle that starts tasks later.
    pub fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Cancelled when the doors are closed and the tasks have to stop; [`Spawner::doors`] has the moment before that.
    pub fn token(&self) -> CancellationToken {
        self.spawner.token().clone()
    }

    /// The readiness of the node.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Binds both listeners; nothing is served yet. The error names the address.
    pub async fn bind(
        self,
        public: SocketAddr,
        private: SocketAddr,
    ) -> Result<BoundNode, std::io::Error> {
        let bind = async |address: SocketAddr| {
            TcpListener::bind(address).await.map_err(|error| {
                std::io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
            })
        };
        Ok(BoundNode {
            public: bind(public).await?,
            private: bind(private).await?,
            node: self,
        })
    }
}

/// A node whose addresses are known.
pub struct BoundNode {
    node: Node,
    public: TcpListener,
    private: TcpListener,
}

impl BoundNode {
    /// The longest that the doors are waited for: as long as a send waits for its outcome, and some more.
    pub const DOORS: Duration = Duration::from_secs(15);
    /// The longest a stop may take before tasks are cut off.
    pub const DRAIN: Duration = Duration::from_secs(20);

    /// The address of the public listener.
    pub fn public_address(&self) -> std::io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// The address of the private listener.
    pub fn private_address(&self) -> std::io::Result<SocketAddr> {
        self.private.local_addr()
    }

    /// Serves until `stop` ends or a task fails for good; then closes the doors, ends the tasks and closes the rest.
    ///
    /// # Errors
    /// The reason, when the node stopped because of a task.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), String> {
        let Node {
            spawner,
            health,
            public,
            private,
            proxies,
            connections_per_address,
            closers,
        } = self.node;
        let metrics = telemetry::metrics();
        let upkeep = metrics.clone();
        let private = private.merge(health.clone().router(move || metrics.render()));
        // Health stays reachable while the node drains, so it has a stop of its own.
        let observer = Spawner {
            phase: Phase {
                tracker: TaskTracker::new(),
                stop: spawner.hard.clone(),
            },
            ..spawner.clone()
        };
        let crowd = Crowd::new(connections_per_address, proxies.clone());
        let public = http::with_ground_rules(public).layer(Extension(proxies));
        let private = http::with_ground_rules(private);
        let doors = spawner.doors();
        doors.spawn(
            "public listener",
            http::serve(self.public, public, crowd.clone(), doors.clone()),
        );
        observer.clone().spawn(
            "private listener",
            http::serve(self.private, private, crowd.alike(), observer),
        );
        let end = spawner.token().clone();
        spawner.spawn("metrics upkeep", async move {
            let mut tick = tokio::time::interval(Duration::from_secs(5));
            while !end.is_cancelled() {
                tokio::select! {
                    _ = tick.tick() => upkeep.run_upkeep(),
                    () = end.cancelled() => {}
                }
            }
        });
        health.set_started();

        tokio::select! {
            () = stop => {}
            () = spawner.failed.cancelled() => {}
        }
        health.set_stopping();
        let begun = Instant::now();
        spawner.doors.end("doors", begun + Self::DOORS).await;
        spawner.phase.end("tasks", begun + Self::DRAIN).await;
        spawner.hard.cancel();
        let cut_off = async {
            spawner.doors.tracker.wait().await;
            spawner.phase.tracker.wait().await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), cut_off).await;
        for (name, close) in closers.into_iter().rev() {
            if tokio::time::timeout(Duration::from_secs(10), close())
                .await
                .is_err()
            {
                tracing::warn!(part = name, "closing took too long");
            }
        }
        let fatal = spawner.fatal.lock().take();
        fatal.map_or(Ok(()), Err)
    }
}
