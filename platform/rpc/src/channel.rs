//! The way to a service elsewhere.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, uri::Authority};
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::{body::Body, transport};
use tower::{Service, ServiceExt as _};

use crate::{HEAD_LIMIT, credential::Credential, fault::is_unsent};

/// Long enough for a lost packet on the way, short enough to leave time for another replica.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection whose other end says nothing is asked for a sign of life this often, also when idle: a machine that lost
/// its power sends no goodbye, and without this the calls to it would wait for their deadlines until the kernel gives up.
const PING: Duration = Duration::from_secs(5);
/// How long the sign of life may take.
const PONG: Duration = Duration::from_secs(3);
/// A replica that could not be reached is passed over for so long, if there is another.
const AVOIDED: Duration = Duration::from_secs(1);

/// Leads to the replicas of a service in turn; what a generated client speaks through. Cheap to clone.
///
/// A replica that cannot be reached is passed over for a second. What failed on the way to it is not tried here again:
/// that is for [`Remote`](crate::Remote), who knows what may be sent twice. Names are resolved whenever a connection is
/// made.
#[derive(Clone)]
pub struct Channel {
    replicas: Arc<[Replica]>,
    turn: Arc<AtomicUsize>,
    credential: Option<Credential>,
}

struct Replica {
    channel: transport::Channel,
    avoided_until: Mutex<Option<Instant>>,
}

/// The way to those who listen at `addresses`; see [`Config::channel`](crate::Config::channel).
pub(crate) fn open(addresses: &str, credential: Credential) -> Result<Channel, String> {
    let replicas: Result<Vec<_>, _> = addresses
        .split(',')
        .map(|one| {
            let channel = endpoint(one.trim()).ok_or_else(|| {
                format!("`{addresses}` must be host:port, or several of them with commas between")
            })?;
            Ok::<_, String>(Replica::new(channel.connect_lazy()))
        })
        .collect();
    Ok(Channel::new(replicas?, Some(credential)))
}

fn endpoint(address: &str) -> Option<transport::Endpoint> {
    let authority: Authority = address.parse().ok()?;
    let is_plain = !authority.host().is_empty() && !address.contains('@');
    let has_port = authority.port_u16().is_some_and(|port| port > 0);
    if !is_plain || !has_port {
        return None;
    }
    let endpoint = transport::Endpoint::from_shared(format!("http://{authority}")).ok()?;
    Some(
        endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .keep_alive_while_idle(true)
            .http2_max_header_list_size(HEAD_LIMIT),
    )
}

impl Replica {
    fn new(channel: transport::Channel) -> Self {
        Self {
            channel,
            avoided_until: Mutex::new(None),
        }
    }

    fn is_avoided(&self) -> bool {
        self.avoided_until
            .lock()
            .is_some_and(|until| Instant::now() < until)
    }

    fn note<T>(&self, result: &Result<T, transport::Error>) {
        let is_away = result.as_ref().is_err_and(|error| is_unsent(error));
        *self.avoided_until.lock() = is_away.then(|| Instant::now() + AVOIDED);
    }
}

impl Channel {
    fn new(replicas: Vec<Replica>, credential: Option<Credential>) -> Self {
        Self {
            replicas: replicas.into(),
            turn: Arc::default(),
            credential,
        }
    }

    /// The next in turn that could be reached lately; the next in turn when none could.
    fn pick(&self) -> usize {
        let count = self.replicas.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut candidates = (0..count).map(|ahead| turn.wrapping_add(ahead) % count);
        candidates
            .find(|index| !self.replicas[*index].is_avoided())
            .unwrap_or(turn % count)
    }
}

impl From<transport::Channel> for Channel {
    /// A way that was made otherwise, such as a pipe in a test; it shows no credential.
    fn from(channel: transport::Channel) -> Self {
        Self::new(vec![Replica::new(channel)], None)
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    /// A call waits for its turn by itself, with its deadline.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(credential) = &self.credential {
            credential.show(request.headers_mut());
        }
        let (replicas, index) = (self.replicas.clone(), self.pick());
        Box::pin(async move {
            let replica = &replicas[index];
            let mut channel = replica.channel.clone();
            let asked = async { channel.ready().await?.call(request).await };
            let result = asked.await;
            replica.note(&result);
            result
        })
    }
}
