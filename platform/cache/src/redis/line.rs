//! A connection that is kept up: looked after all the time, given up when the server does not answer, made anew until the
//! node stops. While it is away, calls fail at once instead of waiting or piling up.

use std::{sync::Arc, time::Duration};

use kit::{Backoff, CancellationToken, OnFailure, Spawner};
use metrics::Gauge;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, PushInfo, PushKind, RedisError, RedisResult,
    ServerErrorKind, aio::MultiplexedConnection,
};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::exchange::Exchange;
use crate::{Error, metrics as names};

/// To connect and greet.
const CONNECT: Duration = Duration::from_secs(1);
/// How long a call waits for a connection that is being made, and then for its answer: together less than two seconds.
const WAIT: Duration = Duration::from_millis(500);
const ANSWER: Duration = Duration::from_millis(1400);
/// A connection that nobody uses is tried so often.
const PING_EVERY: Duration = Duration::from_secs(1);
/// The waits between two tries to connect.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Calls that may wait for their answers at once; more wait for their turn.
const IN_FLIGHT: usize = 1024;

const LOST: &str = "the connection was lost";

/// The place of a connection, which comes and goes.
pub(super) struct Line {
    name: &'static str,
    client: Client,
    state: watch::Sender<State>,
    up: Gauge,
}

enum State {
    /// For the first time, or right after a loss: worth waiting for.
    Connecting,
    Up(Link),
    Away(Arc<str>),
}

/// One connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct Link {
    connection: MultiplexedConnection,
    exchange: Arc<Exchange>,
    over: CancellationToken,
}

impl Line {
    /// A line that is kept up by a task of `spawner`. `name` is what the connection is for.
    pub(super) fn open(name: &'static str, client: Client, spawner: &Spawner) -> Arc<Self> {
        let line = Arc::new(Self {
            name,
            client,
            state: watch::Sender::new(State::Connecting),
            up: names::up(name),
        });
        let (kept, stop) = (line.clone(), spawner.token().clone());
        spawner.task("cache connection", OnFailure::Restart, move || {
            let (kept, stop) = (kept.clone(), stop.clone());
            async move {
                // What is connected stays usable while the node stops.
                stop.run_until_cancelled(kept.keep()).await;
                Ok(())
            }
        });
        line
    }

    /// The connection; waits a little for one that is being made.
    pub(super) async fn link(&self) -> Result<Link, Error> {
        let mut states = self.state.subscribe();
        let known = states.wait_for(|state| !matches!(state, State::Connecting));
        let Ok(Ok(state)) = timeout(WAIT, known).await else {
            return Err(unavailable("there is no connection yet"));
        };
        match &*state {
            State::Up(link) if link.over.is_cancelled() => Err(unavailable(LOST)),
            State::Up(link) => Ok(link.clone()),
            State::Away(why) => Err(unavailable(why)),
            State::Connecting => Err(unavailable("there is no connection yet")),
        }
    }

    /// Runs `work` on the connection.
    pub(super) async fn ask<T, F>(
        &self,
        work: impl FnOnce(MultiplexedConnection) -> F + Send,
    ) -> Result<T, Error>
    where
        F: Future<Output = RedisResult<T>> + Send,
    {
        self.link().await?.ask(work).await
    }

    async fn keep(&self) {
        let waits = || Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let (mut backoff, mut was_told) = (waits(), false);
        loop {
            let (why, next) = match self.connect().await {
                Ok(link) => {
                    was_told = false;
                    let since = Instant::now();
                    self.connected(&link);
                    let why = link.tend().await;
                    link.over.cancel();
                    if since.elapsed() >= LONGEST_WAIT {
                        backoff = waits();
                        (why, State::Connecting)
                    } else {
                        (why.clone(), State::Away(why.into()))
                    }
                }
                Err(why) => (why.clone(), State::Away(why.into())),
            };
            self.state.send_replace(next);
            self.up.set(0.0);
            if !was_told {
                was_told = true;
                let name = self.name;
                tracing::warn!(
                    connection = name,
                    why,
                    "the cache does not answer its {name}; what needs it does without"
                );
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    async fn connect(&self) -> Result<Link, String> {
        let (exchange, over) = (Arc::new(Exchange::new()), CancellationToken::new());
        let (receives, ends) = (exchange.clone(), over.clone());
        let on_push = move |push: PushInfo| {
            match push.kind {
                PushKind::Message => receives.receive(push.data),
                PushKind::Disconnection => ends.cancel(),
                _ => {}
            }
            Ok::<(), std::convert::Infallible>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_concurrency_limit(IN_FLIGHT)
            .set_push_sender(on_push);
        let made = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        match timeout(CONNECT, Box::pin(made)).await {
            Ok(Ok(connection)) => Ok(Link {
                connection,
                exchange,
                over,
            }),
            Ok(Err(error)) => Err(trouble(&error)),
            Err(_) => Err("no connection in time".to_owned()),
        }
    }

    fn connected(&self, link: &Link) {
        self.state.send_replace(State::Up(link.clone()));
        self.up.set(1.0);
        let name = self.name;
        tracing::info!(connection = name, "the cache answers its {name}");
    }
}

impl Link {
    /// Runs `work` on the connection, and gives the connection up when there is no answer in time: what is left on its
    /// way must not come late.
    pub(super) async fn ask<T, F>(
        &self,
        work: impl FnOnce(MultiplexedConnection) -> F + Send,
    ) -> Result<T, Error>
    where
        F: Future<Output = RedisResult<T>> + Send,
    {
        match timeout(ANSWER, work(self.connection.clone())).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if is_lost(&error) {
                    self.over.cancel();
                }
                Err(Error::Unavailable(error.into()))
            }
            Err(elapsed) => {
                self.over.cancel();
                Err(Error::Unavailable(elapsed.into()))
            }
        }
    }

    /// Who listens on this connection.
    pub(super) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// Returns when the connection is lost.
    pub(super) async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Waits for `told`, which the exchange answers.
    pub(super) async fn told(&self, told: oneshot::Receiver<()>) -> Result<(), Error> {
        tokio::select! {
            told = timeout(ANSWER, told) => match told {
                Ok(Ok(())) => Ok(()),
                _ => Err(unavailable("the channels were not changed")),
            },
            () = self.over() => Err(unavailable(LOST)),
        }
    }

    /// Looks after the connection until it is lost; the answer is why.
    async fn tend(&self) -> String {
        let mut tick = interval(PING_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                () = self.over() => return LOST.to_owned(),
                _ = tick.tick() => self.ask(super::ping).await,
                () = self.exchange.changed() => {
                    let exchange = self.exchange.clone();
                    self.ask(|connection| async move { exchange.settle(connection).await }).await
                }
            };
            if let Err(error) = done
                && self.over.is_cancelled()
            {
                return kit::node::error_chain(&error);
            }
        }
    }
}

fn unavailable(why: &str) -> Error {
    Error::Unavailable(why.into())
}

/// Whether another connection may do better. A server that became a replica keeps its connections and takes no writes.
fn is_lost(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

/// Why there is no connection, without the words of the server: those may repeat what it was sent, a password.
fn trouble(error: &RedisError) -> String {
    match (error.kind(), error.detail(), error.code()) {
        (_, _, Some(code)) => format!("the server answers {code}"),
        (ErrorKind::Io | ErrorKind::Client | ErrorKind::InvalidClientConfig, None, None) => {
            error.to_string()
        }
        _ => error.category().to_owned(),
    }
}
