//! A door at which people only listen, and what closes their sockets.

use std::sync::Arc;

use http::HeaderMap;
use kit::{Call, Code, Fault, Node, RandomIds, SystemClock};
use parking_lot::Mutex;
use realtime::{
    Config, Gate, Hub, Identity, Listeners,
    testing::{Client, Served},
};
use tokio::sync::{broadcast, oneshot};
use uuid::Uuid;

/// A token is a person's number; so is the login.
#[derive(Clone, Default)]
struct Numbers {
    ended: Arc<Mutex<Vec<Uuid>>>,
}

impl Gate for Numbers {
    fn token<'a>(&self, _: &'a HeaderMap) -> Option<&'a str> {
        None
    }

    async fn admit(&self, _: &Call, token: &str) -> Result<Identity, Fault> {
        let refused = |_| Fault::new(Code::Unauthenticated, "the token is not valid");
        let user = Uuid::from_u128(token.parse().map_err(refused)?);
        Ok(Identity {
            user,
            login: user,
            expires_ms: i64::MAX,
        })
    }

    fn is_ended(&self, login: Uuid) -> bool {
        self.ended.lock().contains(&login)
    }
}

struct World {
    people: Arc<Listeners<Numbers>>,
    numbers: Numbers,
    news: broadcast::Sender<()>,
    node: Served,
}

impl World {
    async fn new(door: &'static str) -> Self {
        let mut node = Node::new();
        let config = Config::default();
        let hub = Hub::start(door, config, Arc::new(SystemClock), &RandomIds, &node).unwrap();
        let (numbers, news) = (Numbers::default(), broadcast::Sender::new(1));
        let people = Listeners::new(hub, numbers.clone());
        people.close_ended("logins", news.subscribe(), &node);
        node.http(axum::Router::new().route("/ws", people.door()));
        Self {
            people,
            numbers,
            news,
            node: Served::start(node).await,
        }
    }

    /// Feeds the door until the sender is used.
    async fn feed(&self) -> oneshot::Sender<()> {
        let (people, (lose, end)) = (self.people.clone(), oneshot::channel());
        tokio::spawn(async move {
            let feed = async { Err::<(), _>(end.await) };
            people.while_fed(feed).await
        });
        let is_fed = self.people.readiness("nobody feeds");
        crate::support::eventually("the door is fed", || is_fed().into_inner().is_ok()).await;
        lose
    }

    async fn listen(&self, user: u128) -> Client {
        self.node.listen("/ws", &user.to_string()).await
    }
}

/// Nobody comes in while nothing would reach them, and who is in has to come back when that begins.
#[tokio::test]
async fn who_would_miss_something_is_sent_away() {
    let world = World::new("listening").await;
    let mut early = world.node.hello("/ws", "1").await;
    assert_eq!(early.close_code().await, Some(4001));
    let lose = world.feed().await;
    let (mut one, mut other) = (world.listen(1).await, world.listen(2).await);
    world
        .people
        .tell(Uuid::from_u128(1), br#"{"t":"no"}"#, |_| false);
    world
        .people
        .tell(Uuid::from_u128(1), br#"{"t":"yes"}"#, |_| true);
    assert_eq!(one.next().await["t"], "yes");
    lose.send(()).unwrap();
    assert_eq!(other.next().await["t"], "bye");
    assert_eq!(other.close_code().await, Some(4001));
    assert_eq!(one.close_code().await, Some(4001));
}

/// A connection that does not take what is told ends with 4002; its client comes back and reads everything over HTTP.
#[tokio::test]
async fn who_does_not_listen_is_closed_and_misses_nothing_unnoticed() {
    let world = World::new("not listening").await;
    let _lose = world.feed().await;
    let mut ann = world.listen(1).await;
    let frame = format!(r#"{{"t":"{}"}}"#, "long ".repeat(8_000));
    for _ in 0..400 {
        world
            .people
            .tell(Uuid::from_u128(1), frame.as_bytes(), |_| true);
    }
    assert_eq!(ann.close_code().await, Some(4002));
}

/// More logins end at once than news fit, and still each of their sockets is closed, and no other.
#[tokio::test]
async fn lost_news_of_ended_logins_close_sockets_too() {
    let world = World::new("ended").await;
    let _lose = world.feed().await;
    let mut clients = Vec::new();
    for user in 0..4 {
        clients.push(world.listen(user).await);
    }
    for user in 1..4 {
        world.numbers.ended.lock().push(Uuid::from_u128(user));
        world.news.send(()).unwrap();
    }
    let mut stays = clients.remove(0);
    for mut client in clients {
        assert_eq!(client.close_code().await, Some(4201));
    }
    world
        .people
        .tell(Uuid::from_u128(0), br#"{"t":"still"}"#, |_| true);
    assert_eq!(stays.next().await["t"], "still");
}
