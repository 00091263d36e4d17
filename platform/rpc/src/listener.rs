//! Connections of other processes: HTTP/2 without encryption, as many as there may be.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, rt::Executor, server::conn::http2};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use kit::{Call, CancellationToken, Spawner};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::ServiceExt as _;

use crate::{HEAD_LIMIT, metrics};

/// Each process makes one connection for each service that it asks, so this is room for dozens of processes.
const CONNECTIONS: usize = 512;
/// Calls of one connection at the same time; the caller's end keeps the others back.
const STREAMS: u32 = 256;
/// Whoever has asked for nothing by then is none of ours.
const SILENCE: Duration = Duration::from_secs(10);
/// A connection whose other end says nothing is asked for a sign of life this often, and is over when none comes in the
/// same time.
const PING: Duration = Duration::from_secs(20);
/// How many of those who stood in line when the stop began are still let in.
const LINE: usize = 64;
/// How long a connection may go on after the stop began: as long as a call may, and a little for the answer.
const DRAIN: Duration = Call::DEFAULT_TIMEOUT.saturating_add(Duration::from_secs(1));

/// Accepts and serves until `spawner` is to stop. Then the listener goes first, and after it the connections: whoever
/// is sent away must not come back to a listener that nobody attends any more. Open calls end.
pub(crate) async fn serve(listener: TcpListener, router: Router, spawner: Spawner) {
    let mut builder = http2::Builder::new(Tasks(spawner.clone()));
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_LIMIT);
    let stop = spawner.token().clone();
    let door = Door {
        builder,
        router,
        room: Arc::new(Semaphore::new(CONNECTIONS)),
        closed: CancellationToken::new(),
        spawner,
    };
    let _close = door.closed.clone().drop_guard();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => door.enter(stream, peer),
            Err(error) => {
                // Out of descriptors, most likely: wait instead of spinning, the open connections live on.
                tracing::warn!(%error, "accepting a connection of a service failed");
                metrics::refused("accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    if let Err(error) = door.let_in_the_line(listener) {
        tracing::warn!(%error, "closing the listener of services failed");
    }
}

/// Each call is a task of the node, so none is left behind when it stops.
#[derive(Clone)]
struct Tasks(Spawner);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, call: F) {
        self.0.spawn("rpc call", call);
    }
}

/// What every connection gets.
struct Door {
    builder: http2::Builder<Tasks>,
    router: Router,
    room: Arc<Semaphore>,
    /// Cancelled when the listener is gone.
    closed: CancellationToken,
    spawner: Spawner,
}

impl Door {
    /// Takes those who are connected already as far as the kernel is concerned, without asking the runtime, which may
    /// not have heard of them; then the listener is gone.
    fn let_in_the_line(&self, listener: TcpListener) -> std::io::Result<()> {
        let listener = listener.into_std()?;
        for _ in 0..LINE {
            let Ok((stream, peer)) = listener.accept() else {
                break;
            };
            stream.set_nonblocking(true)?;
            self.enter(TcpStream::from_std(stream)?, peer);
        }
        Ok(())
    }

    fn enter(&self, stream: TcpStream, peer: SocketAddr) {
        let Ok(place) = self.room.clone().try_acquire_owned() else {
            metrics::refused("connections");
            tracing::warn!(%peer, "too many connections of services");
            return;
        };
        let _ = stream.set_nodelay(true);
        let connection = self.attend(stream, place);
        self.spawner.spawn("rpc connection", connection);
    }

    fn attend(
        &self,
        stream: TcpStream,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + use<> {
        let has_spoken = CancellationToken::new();
        let spoken = has_spoken.clone();
        let service = self
            .router
            .clone()
            .map_request(move |request: Request<Incoming>| {
                spoken.cancel();
                request.map(Body::new)
            });
        let connection = self
            .builder
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let closed = self.closed.clone();
        async move {
            let _place = place;
            tokio::pin!(connection);
            let silence = async {
                if tokio::time::timeout(SILENCE, has_spoken.cancelled())
                    .await
                    .is_ok()
                {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                // First, so that a call that is there already is not taken for silence.
                biased;
                _ = connection.as_mut() => {}
                () = closed.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(DRAIN, connection).await;
                }
                () = silence => metrics::refused("silence"),
            }
        }
    }
}
