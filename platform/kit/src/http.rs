//! One HTTP listener: connections, request ids, deadlines, panics, metrics, security headers.

mod client;
mod crowd;

use std::{
    convert::Infallible, net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts, MatchedPath, Request},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, StatusCode, header, request::Parts};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{Call, Code, Fault, Spawner};

pub(crate) use crowd::Crowd;

pub use client::{Client, Network, TrustedProxies, limited};

/// The header that names a request, on requests and answers.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The address of the other end of the TCP connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

#[derive(Clone)]
struct RequestId(Arc<str>);

tokio::task_local! {
    static CURRENT: Arc<str>;
}

/// The id of the request that this task answers; `-` outside of one.
pub fn current_request_id() -> Arc<str> {
    CURRENT
        .try_with(Clone::clone)
        .unwrap_or_else(|_| "-".into())
}

impl<S: Send + Sync> FromRequestParts<S> for Call {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let id = parts
            .extensions
            .get::<RequestId>()
            .map_or_else(|| "-".into(), |id| id.0.clone());
        Ok(Self::new(id, Self::DEFAULT_TIMEOUT))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts
            .extensions
            .get::<Self>()
            .copied()
            .unwrap_or(Self(SocketAddr::from(([0, 0, 0, 0], 0)))))
    }
}

/// The longest a handler may take; a socket's handler ends with the upgrade.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest body of a request unless a route says otherwise.
const BODY_LIMIT: usize = 256 * 1024;
/// How many HTTP connections one address may have at once unless the node is told otherwise. Sockets are not among them.
pub const CONNECTIONS_PER_ADDRESS: u32 = 1000;
/// How many of those who stood in line when the stop began are still let in: as many as the system keeps there.
const LINE: usize = 1024;
/// How long a connection without a request stays open after the stop began: one may be on its way.
const LINGER: Duration = Duration::from_millis(300);
/// A client that has not sent the whole head of its first or next request by then is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Puts on a router what every door has.
pub fn with_ground_rules(router: Router) -> Router {
    router
        .fallback(|| async { Fault::not_found("route") })
        .method_not_allowed_fallback(|| async {
            let mut response = Fault::invalid("the method is not allowed here")
                .reason("method_not_allowed")
                .into_response();
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn(ground_rules))
}

async fn ground_rules(mut request: Request, next: Next) -> Response {
    let id: Arc<str> = request
        .headers()
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| {
            (8..=64).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
        .map_or_else(
            || format!("{:032x}", rand::random::<u128>()).into(),
            Into::into,
        );
    request.extensions_mut().insert(RequestId(id.clone()));
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none".to_owned(), |path| path.as_str().to_owned());
    let method = label(request.method());
    let started = Instant::now();

    let answered =
        AssertUnwindSafe(tokio::time::timeout(HANDLER_TIMEOUT, next.run(request))).catch_unwind();
    let mut response = CURRENT
        .scope(id.clone(), async {
            match answered.await {
                Ok(Ok(response)) => response,
                Ok(Err(_)) => Fault::new(Code::Timeout, "the deadline of the request has passed")
                    .into_response(),
                Err(_) => Fault::internal("a handler panicked").into_response(),
            }
        })
        .await;

    let status = response.status().as_u16().to_string();
    let took = started.elapsed();
    metrics::counter!("http_requests_total", "method" => method, "route" => route.clone(), "status" => status.clone())
        .increment(1);
    metrics::histogram!("http_request_seconds", "method" => method, "route" => route.clone())
        .record(took.as_secs_f64());
    tracing::debug!(request.id = %id, method, route, status, ms = took.as_secs_f64() * 1e3, "answered {method} {route}");

    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

/// A client may send any word as its method; what counts requests knows these.
fn label(method: &http::Method) -> &'static str {
    [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
    ]
    .into_iter()
    .find(|known| *known == method.as_str())
    .unwrap_or("other")
}

/// Accepts and serves until `spawner` is to stop, then closes the door and lets those who are in end. HTTP/1 only: its
/// clock runs from the first moment of a connection, so a silent one ends.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    crowd: Arc<Crowd>,
    spawner: Spawner,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 * 1024);
    let door = Door {
        builder,
        router,
        crowd,
        spawner,
        is_closed: CancellationToken::new(),
    };
    let stop = door.spawner.token().clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => door.enter(stream, peer),
            Err(error) => {
                // Out of descriptors, most likely: wait instead of spinning, the open sockets live on.
                tracing::warn!(%error, "accepting a connection failed");
                metrics::counter!("accept_errors_total").increment(1);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    door.empty_line(listener);
    // Only now: whoever is told to come back finds nobody, instead of standing in a line that goes away.
    door.is_closed.cancel();
}

/// What every connection of a listener gets.
struct Door {
    builder: http1::Builder,
    router: Router,
    crowd: Arc<Crowd>,
    spawner: Spawner,
    /// Nobody comes in any more.
    is_closed: CancellationToken,
}

impl Door {
    /// Lets those in who are connected already and were not accepted yet, and closes the listener. The system is asked,
    /// since the runtime may not have heard of them.
    fn empty_line(&self, listener: TcpListener) {
        let line = listener.into_std().ok();
        for (stream, peer) in std::iter::from_fn(|| line.as_ref()?.accept().ok()).take(LINE) {
            let stream = stream.set_nonblocking(true).map(|()| stream);
            if let Ok(stream) = stream.and_then(TcpStream::from_std) {
                self.enter(stream, peer);
            }
        }
    }

    fn enter(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(seat) = self.crowd.seat(peer.ip()) else {
            metrics::counter!("http_connections_refused_total").increment(1);
            return;
        };
        let _ = stream.set_nodelay(true);
        let is_closed = self.is_closed.clone();
        let named = move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            request.map(axum::body::Body::new)
        };
        // The last answer of a connection says so; one that becomes a socket goes on.
        let told = move |mut response: Response| {
            if is_closed.is_cancelled() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            response
        };
        let service = self.router.clone().map_request(named);
        let service = ServiceExt::<http::Request<Incoming>>::map_response(service, told);
        let connection = self
            .builder
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .with_upgrades();
        let is_closed = self.is_closed.clone();
        self.spawner.spawn("http connection", async move {
            let _seat = seat;
            tokio::pin!(connection);
            tokio::select! {
                // A request that came at the last moment is answered before the connection is asked to end.
                biased;
                result = connection.as_mut() => drop(result),
                () = is_closed.cancelled().then(|()| tokio::time::sleep(LINGER)) => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        });
    }
}
