//! A process with a service that says what it is told to; no proto file is needed for it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::uri::PathAndQuery;
use kit::{Call, Fault, Node};
use prost::Message as _;
use prost_types::{
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};
use rpc::{ANSWER_LIMIT, Channel, Config, Remote, Server, Service, answer};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{NamedService, UnaryService},
};
use tonic_prost::ProstCodec;

pub(crate) const SECRET: &str = "what only the processes know, in a test";
const LOCAL: [u8; 4] = [127, 0, 0, 1];

type Answering<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Work = Arc<dyn Fn(Call, String) -> Answering<Result<String, Fault>> + Send + Sync>;

/// `test.v1.Echo/Say`: a text for a text.
#[derive(Clone)]
pub(crate) struct Echo(Work);

impl Echo {
    pub(crate) fn new<F>(work: impl Fn(Call, String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<String, Fault>> + Send + 'static,
    {
        Self(Arc::new(move |call, text| Box::pin(work(call, text))))
    }

    /// Answers with its name, whatever it is asked.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::new(move |_, _| async move { Ok(name.to_owned()) })
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "test.v1.Echo";
}

impl UnaryService<String> for Echo {
    type Response = String;
    type Future = Answering<Result<Response<String>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let work = self.0.clone();
        Box::pin(async move { answer(request, |call, text| work(call, text)).await })
    }
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
            Ok(grpc.unary(this, request).await)
        })
    }
}

/// The file that would describe it, as bytes.
pub(crate) fn descriptors() -> &'static [u8] {
    let method = MethodDescriptorProto {
        name: Some("Say".to_owned()),
        ..MethodDescriptorProto::default()
    };
    let service = ServiceDescriptorProto {
        name: Some("Echo".to_owned()),
        method: vec![method],
        ..ServiceDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("test/v1/echo.proto".to_owned()),
        package: Some("test.v1".to_owned()),
        service: vec![service],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }
        .encode_to_vec()
        .leak()
}

/// What a generator would make of it for callers.
#[derive(Clone)]
pub(crate) struct Client(pub(crate) tonic::client::Grpc<Channel>);

impl Client {
    pub(crate) const SAY: PathAndQuery = PathAndQuery::from_static("/test.v1.Echo/Say");

    pub(crate) fn new(channel: Channel) -> Self {
        Self(tonic::client::Grpc::new(channel).max_decoding_message_size(ANSWER_LIMIT))
    }

    pub(crate) async fn say(
        &mut self,
        request: Request<String>,
    ) -> Result<Response<String>, Status> {
        let ready = self.0.ready().await;
        ready.map_err(|error| Status::from_error(error.into()))?;
        self.0
            .unary(request, Self::SAY, ProstCodec::default())
            .await
    }
}

pub(crate) fn config(address: SocketAddr) -> Config {
    Config {
        listen: address,
        secret: Some(SECRET.into()),
        ..Config::default()
    }
}

pub(crate) fn anywhere() -> SocketAddr {
    SocketAddr::from((LOCAL, 0))
}

/// A way to `addresses` for one who knows the secret.
pub(crate) fn channel(addresses: &str) -> Channel {
    config(anywhere()).channel(addresses).unwrap()
}

/// The far end as a contract holds it.
pub(crate) fn remote(label: &'static str, addresses: &str) -> Remote<Client> {
    Remote::new(label, Client::new(channel(addresses)))
}

/// A process of its own, as far as sockets are concerned: when it is killed, its connections go.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    pub(crate) is_ready: Arc<AtomicBool>,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<Result<(), String>>,
}

impl Process {
    pub(crate) async fn start(echo: Echo) -> Self {
        Self::start_with(config(anywhere()), echo).await
    }

    pub(crate) async fn start_at(address: SocketAddr, echo: Echo) -> Self {
        Self::start_with(config(address), echo).await
    }

    pub(crate) async fn start_with(config: Config, echo: Echo) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let is_ready = Arc::new(AtomicBool::new(true));
        let (stop, stopped) = oneshot::channel();
        let (started, address) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let checked = is_ready.clone();
        runtime.spawn(async move {
            let node = Node::new();
            node.ready("test", move || {
                let is_ready = checked.load(SeqCst);
                async move { is_ready.then_some(()).ok_or_else(|| "not yet".to_owned()) }
            });
            let mut server = Server::new(descriptors());
            server.offer(Service::new(echo));
            let server = server.bind(&config).await.unwrap().unwrap();
            started.send(server.address().unwrap()).unwrap();
            server.serve(&node);
            let node = node.bind(anywhere(), anywhere()).await.unwrap();
            let result = node.serve(async { drop(stopped.await) }).await;
            let _ = end.send(result);
        });
        Self {
            address: address.await.unwrap(),
            is_ready,
            runtime: Some(runtime),
            stop: Some(stop),
            ended,
        }
    }

    /// Tells it to stop; it has not ended yet.
    pub(crate) fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops it in order.
    pub(crate) async fn stop(&mut self) {
        self.begin_stop();
        let ended = tokio::time::timeout(Duration::from_secs(10), &mut self.ended).await;
        ended.expect("it ends in time").unwrap().unwrap();
    }

    /// Ends it as `kill -9` would: the sockets are gone when this returns.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5)))
                .join()
                .unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `check` holds, not for ever.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let waiting = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    result.unwrap_or_else(|_| panic!("{what}: not within ten seconds"));
}

/// The value of one line of `/metrics`, 0 when there is none.
pub(crate) fn metric(line: &str) -> f64 {
    let text = kit::telemetry::metrics().render();
    let value = text.lines().find_map(|found| found.strip_prefix(line));
    value.map_or(0.0, |value| value.trim().parse().unwrap())
}
