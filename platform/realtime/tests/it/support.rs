//! A door with a room behind it: whatever one says, everybody in the room is told.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use http::HeaderMap;
use kit::{Call, Code, Fault, Node, RandomIds, SystemClock, http::Network};
use realtime::{Command, Config, Frame, Hello, Hub, Identity, Service, Session, Socket, Watchers};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{
        Message,
        client::IntoClientRequest as _,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};
use uuid::Uuid;

/// Nothing in these tests takes longer on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Waits until `holds`.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    in_time(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[derive(Default)]
pub(crate) struct Room {
    people: Watchers<()>,
    pub(crate) lags: AtomicUsize,
    pub(crate) ended: parking_lot::Mutex<Vec<Uuid>>,
}

impl Room {
    pub(crate) fn event(&self, frame: &Frame) {
        self.people.each(&(), |socket| {
            if socket.send_event(frame).is_err() {
                self.lags.fetch_add(1, SeqCst);
            }
        });
    }

    pub(crate) fn each(&self, tell: impl FnMut(&Arc<Socket>)) {
        self.people.each(&(), tell);
    }
}

pub(crate) struct InRoom {
    room: Arc<Room>,
    socket: Arc<Socket>,
}

pub(crate) struct RoomDoor(Arc<Room>);

impl Service for RoomDoor {
    type Session = InRoom;

    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        headers
            .get("authorization")?
            .to_str()
            .ok()?
            .strip_prefix("Bearer ")
    }

    async fn admit(&self, _: &Call, token: &str) -> Result<Identity, Fault> {
        let refused = || Fault::new(Code::Unauthenticated, "the token is not valid");
        let mut parts = token
            .split(':')
            .map(|part| part.parse::<u128>().map_err(|_| refused()));
        let mut next = || parts.next().unwrap_or_else(|| Err(refused()));
        let (user, login, expires) = (next()?, next()?, next()?);
        let expires_ms = i64::try_from(expires).map_err(|_| refused())?;
        Ok(Identity {
            user: Uuid::from_u128(user),
            login: Uuid::from_u128(login),
            expires_ms,
        })
    }

    fn is_ended(&self, identity: &Identity) -> bool {
        self.0.ended.lock().contains(&identity.login)
    }

    async fn open(&self, socket: &Arc<Socket>, _: Hello) -> Result<InRoom, Fault> {
        self.0.people.watch((), socket);
        socket.send(&socket.hub().welcome(socket, &json!({})));
        Ok(InRoom {
            room: self.0.clone(),
            socket: socket.clone(),
        })
    }
}

impl Session for InRoom {
    async fn receive(&mut self, commands: Vec<Command>) {
        for command in commands {
            let result = match &*command.name {
                "say" => command.content::<Value>().map(|content| {
                    self.room.event(&realtime::ephemeral("said", &content));
                    json!({})
                }),
                _ => Err(command.unknown()),
            };
            self.socket.reply(command.id, result);
        }
    }

    async fn tend(&mut self) -> Option<Duration> {
        None
    }
}

impl Drop for InRoom {
    fn drop(&mut self) {
        self.room.people.unwatch((), &self.socket);
    }
}

pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) hub: Arc<Hub>,
    pub(crate) room: Arc<Room>,
    name: &'static str,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), String>>,
}

impl Door {
    pub(crate) async fn open(name: &'static str, config: Config) -> Self {
        Self::open_behind(name, config, &[]).await
    }

    /// A door that believes what `proxies` say about their clients.
    pub(crate) async fn open_behind(name: &'static str, config: Config, proxies: &[&str]) -> Self {
        let mut node = Node::new();
        let proxies = proxies.iter().map(|proxy| proxy.parse().unwrap());
        node.trust(proxies.collect::<Vec<Network>>());
        let hub = Hub::start(name, config, Arc::new(SystemClock), &RandomIds, &node).unwrap();
        let room = Arc::new(Room::default());
        let service = Arc::new(RoomDoor(room.clone()));
        node.http(axum::Router::new().route("/ws", realtime::door(hub.clone(), service)));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let node = node.bind(any, any).await.unwrap();
        let address = node.public_address().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(node.serve(async {
            let _ = stopped.await;
        }));
        Self {
            address,
            hub,
            room,
            name,
            stop: Some(stop),
            served,
        }
    }

    /// Tells the node to stop; [`Door::closed`] waits for it.
    pub(crate) fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    pub(crate) async fn closed(self) {
        in_time("the node stops", self.served)
            .await
            .unwrap()
            .unwrap();
    }

    /// The value of a metric of this door.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let label = format!("door=\"{}\"", self.name);
        let text = kit::telemetry::metrics().render();
        let lines = text
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(&label));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    pub(crate) async fn connect(&self) -> Client {
        let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/ws", self.address))
            .await
            .unwrap();
        Client(socket)
    }

    /// A connection that a proxy opened for `client`; `None` when it is one too many.
    pub(crate) async fn forwarded(&self, client: &str) -> Option<Client> {
        let url = format!("ws://{}/ws", self.address);
        let mut request = url.into_client_request().unwrap();
        let value = client.parse().unwrap();
        request.headers_mut().insert("x-forwarded-for", value);
        match tokio_tungstenite::connect_async(request).await {
            Ok((socket, _)) => Some(Client(socket)),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                assert_eq!(response.status().as_u16(), 429);
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Status of an upgrade with one more header.
    pub(crate) async fn status_with(&self, path: &str, name: &'static str, value: &str) -> u16 {
        let mut request = format!("ws://{}{path}", self.address)
            .into_client_request()
            .unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
        match tokio_tungstenite::connect_async(request).await {
            Ok((_, response)) => response.status().as_u16(),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                let kind = response
                    .headers()
                    .get("content-type")
                    .map(|kind| kind.as_bytes().to_vec());
                assert_eq!(
                    kind.as_deref(),
                    Some(b"application/problem+json".as_slice())
                );
                response.status().as_u16()
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn hello(&self, user: u32) -> Client {
        let mut client = self.connect().await;
        client.say_hello(user).await;
        assert_eq!(client.next().await["t"], "welcome");
        assert_eq!(client.next().await, json!({ "id": 1, "ok": {} }));
        client
    }
}

pub(crate) fn token(user: u32) -> String {
    format!("{user}:{user}:99999999999999")
}

pub(crate) struct Client(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(crate) async fn send(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.unwrap();
    }

    pub(crate) async fn say_hello(&mut self, user: u32) {
        let hello = json!({ "id": 1, "t": "hello", "d": { "proto": 1, "token": token(user) } });
        self.send(hello.to_string()).await;
    }

    pub(crate) async fn message(&mut self) -> Option<Message> {
        in_time("a message", self.0.next())
            .await
            .map(|message| message.unwrap_or(Message::Close(None)))
    }

    pub(crate) async fn next(&mut self) -> Value {
        match self.message().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?} instead of a text"),
        }
    }

    /// The code with which the server closes; texts before it do not matter.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.message().await {
                Some(Message::Close(Some(CloseFrame { code, .. }))) => {
                    return Some(CloseCode::into(code));
                }
                Some(Message::Close(None)) | None => return None,
                Some(_) => {}
            }
        }
    }
}
