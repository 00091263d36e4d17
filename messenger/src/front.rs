//! The front door: every public listener serves every path. What belongs to a service that runs elsewhere is handed on
//! to it, sockets as well, so that a client needs one address, whichever process it is.
//!
//! Nothing is cached. What reached nobody goes to the next replica; nothing else is tried twice: the client knows best whether
//! a request may be repeated.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::Request,
    response::{IntoResponse, Response},
    routing::any,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header, uri::Authority};
use hyper::{
    body::{Frame, SizeHint},
    upgrade::OnUpgrade,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use kit::{
    Fault, Spawner,
    http::{Peer, REQUEST_ID},
};

use parking_lot::Mutex;

use crate::metrics;

/// The longest that connecting to another process may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections without work are kept for so long; shorter than the other side does.
const IDLE: Duration = Duration::from_secs(20);
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Headers of one hop (RFC 9110 section 7.6.1).
const HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Hands requests on to other processes.
#[derive(Clone)]
pub(crate) struct Front {
    client: Client<HttpConnector, Lent>,
    spawner: Spawner,
}

impl Front {
    /// `spawner` keeps the tunnels of sockets until the doors close; the clients then come back to another one.
    pub(crate) fn new(spawner: Spawner) -> Self {
        metrics::describe();
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .retry_canceled_requests(true)
            .build(connector);
        Self { client, spawner }
    }

    /// Routes for `paths`, answered by `service` at `addresses`: `HOST:PORT`, of several replicas with commas between them.
    ///
    /// # Errors
    /// What is no address.
    pub(crate) fn routes(
        &self,
        paths: &[String],
        service: &'static str,
        addresses: &str,
    ) -> Result<Router, String> {
        let place = Arc::new((self.clone(), Replicas::parse(addresses)?));
        Ok(paths.iter().fold(Router::new(), |router, path| {
            let place = place.clone();
            let hand_on = move |peer: Peer, request: Request| {
                let place = place.clone();
                async move {
                    let (front, replicas) = &*place;
                    front
                        .hand_on(service, replicas, peer, request)
                        .await
                        .unwrap_or_else(IntoResponse::into_response)
                }
            };
            router.route(path, any(hand_on))
        }))
    }

    async fn hand_on(
        &self,
        service: &'static str,
        replicas: &Replicas,
        Peer(peer): Peer,
        mut request: Request,
    ) -> Result<Response, Fault> {
        let upgrade = upgrade_of(request.headers());
        let client_side = request.extensions_mut().remove::<OnUpgrade>();
        let headers = request.headers_mut();
        strip(headers);
        // The id that this door has given, so that one request is one in all logs.
        if let Ok(id) = HeaderValue::from_str(&kit::http::current_request_id()) {
            headers.insert(REQUEST_ID, id);
        }
        let hop = HeaderValue::from_str(&peer.ip().to_string()).map_err(Fault::internal)?;
        headers.append(FORWARDED_FOR, hop);
        if let Some(upgrade) = &upgrade {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, upgrade.clone());
        }
        let mut response = self.ask(service, replicas, request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(upgrade), Some(client_side)) = (upgrade, client_side) else {
                return Err(Fault::internal("an upgrade that nobody asked for"));
            };
            let server_side = hyper::upgrade::on(&mut response);
            let stop = self.spawner.token().clone();
            self.spawner.spawn("tunnel", async move {
                stop.run_until_cancelled(tunnel(client_side, server_side))
                    .await;
            });
            strip(response.headers_mut());
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, upgrade);
        } else {
            strip(response.headers_mut());
        }
        Ok(response.map(Body::new))
    }

    /// Asks one replica after the other until one is reached.
    async fn ask(
        &self,
        service: &'static str,
        replicas: &Replicas,
        request: Request,
    ) -> Result<http::Response<hyper::body::Incoming>, Fault> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().cloned();
        let path = path.ok_or_else(|| Fault::invalid("the request names no path"))?;
        let body = Lent(Arc::new(Mutex::new(body)));
        let mut left = replicas.addresses.len();
        loop {
            let (at, address) = replicas.next();
            head.uri = Uri::builder()
                .scheme("http")
                .authority(address.clone())
                .path_and_query(path.clone())
                .build()
                .map_err(Fault::internal)?;
            let request = Request::from_parts(head.clone(), body.clone());
            let error = match self.client.request(request).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            replicas.failed(at);
            metrics::front_failed(service);
            tracing::warn!(service, %error, "{service} cannot be reached");
            left -= 1;
            if left == 0 || !error.is_connect() {
                return Err(Fault::unavailable(error));
            }
        }
    }
}

/// A body that is still here when the one who was to send it has not begun.
#[derive(Clone)]
struct Lent(Arc<Mutex<Body>>);

impl HttpBody for Lent {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut *self.0.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().size_hint()
    }
}

/// The processes that run one service, each in its turn.
pub(crate) struct Replicas {
    addresses: Vec<Authority>,
    turn: AtomicUsize,
    /// When each of them failed last, in milliseconds of `since`; 0 = never.
    failed: Vec<AtomicU64>,
    since: Instant,
}

impl Replicas {
    /// One that failed is passed over for so long, as long as another is left.
    const PASS_OVER_MS: u64 = 1_000;

    /// Reads `HOST:PORT`, or several of them with commas between.
    ///
    /// # Errors
    /// What is no address.
    pub(crate) fn parse(addresses: &str) -> Result<Self, String> {
        let read = |text: &str| {
            let text = text.trim();
            let address: Authority = text.parse().ok()?;
            let has_port = address.port_u16().is_some_and(|port| port > 0);
            (has_port && !address.host().is_empty() && !text.contains('@')).then_some(address)
        };
        let addresses: Vec<_> = addresses
            .split(',')
            .map(|text| read(text).ok_or_else(|| format!("`{text}` is not HOST:PORT")))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            failed: addresses.iter().map(|_| AtomicU64::new(0)).collect(),
            addresses,
            turn: AtomicUsize::new(0),
            since: Instant::now(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).map_or(u64::MAX, |now| now + 1)
    }

    fn next(&self) -> (usize, &Authority) {
        let now = self.now();
        let is_well = |at: &usize| {
            let failed = self.failed[*at].load(Relaxed);
            failed == 0 || failed + Self::PASS_OVER_MS < now
        };
        let turn = self.turn.fetch_add(1, Relaxed);
        let mut order = (0..self.addresses.len()).map(|step| (turn + step) % self.addresses.len());
        let first = turn % self.addresses.len();
        let at = order.find(is_well).unwrap_or(first);
        (at, &self.addresses[at])
    }

    fn failed(&self, at: usize) {
        self.failed[at].store(self.now(), Relaxed);
    }
}

/// Passes bytes both ways until one side ends.
async fn tunnel(client: OnUpgrade, server: OnUpgrade) {
    let (Ok(client), Ok(server)) = tokio::join!(client, server) else {
        return;
    };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    // How a socket ends is the business of its two ends.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

/// The protocol that a request wants to change to.
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let wants = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| wants).cloned()
}

/// Takes out what concerns one hop only, and what it names as such.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_take_turns_and_one_that_failed_is_passed_over() {
        let replicas = Replicas::parse("a:1, b:2").unwrap();
        let turns = |count| (0..count).map(|_| replicas.next().0).collect::<Vec<_>>();
        assert_eq!(turns(4), [0, 1, 0, 1]);
        replicas.failed(0);
        assert_eq!(turns(3), [1, 1, 1]);
        replicas.failed(1);
        assert_eq!(turns(2), [1, 0], "nobody is left, so everybody is tried");
        for wrong in ["", "a", ":1", "a:0", "a:1,,b:2", "me@a:1", "http://a:1"] {
            assert!(Replicas::parse(wrong).is_err(), "{wrong}");
        }
    }

    /// fault:P11, row:D09: what reached nobody goes to the next replica, with its body.
    #[tokio::test]
    async fn a_request_that_reached_nobody_goes_to_the_next_replica() {
        let there = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [gone.local_addr().unwrap(), there.local_addr().unwrap()];
        drop(gone);
        let replicas = Replicas::parse(&format!("{},{}", addresses[0], addresses[1])).unwrap();
        let node = kit::Node::new();
        let echo = Router::new().route("/echo", any(|body: String| async move { body }));
        node.spawner().spawn("echo", async move {
            axum::serve(there, echo).await.unwrap();
        });
        let front = Front::new(node.spawner());
        for turn in 0..4 {
            let request = Request::post("/echo").body(Body::from("once")).unwrap();
            let answer = front.hand_on("message", &replicas, Peer(addresses[0]), request);
            let body = answer.await.unwrap().into_body();
            let body = axum::body::to_bytes(body, 100).await.unwrap();
            assert_eq!(&body[..], b"once", "turn {turn}");
        }
    }

    #[test]
    fn headers_of_one_hop_stay_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "Upgrade, x-private"),
            ("upgrade", "websocket"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("authorization", "Bearer t"),
        ] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        assert_eq!(upgrade_of(&headers).unwrap(), "websocket");
        strip(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["authorization"]
        );
        assert!(upgrade_of(&headers).is_none());
    }
}
