//! Who is seen to be here by whom.

use std::time::{Duration, Instant};

use e2e::{Engine, Person, Socket, World};
use messenger::Config;
use serde_json::{Value, json};

pub(crate) const LEASE: Duration = Duration::from_secs(3);
pub(crate) const REREAD: Duration = Duration::from_secs(1);

/// Times for which a test can wait; and these clients only listen, which a heartbeat would find out.
pub(crate) fn quick(config: &mut Config) {
    config.ws_gateway.sockets.heartbeat = Duration::from_mins(5);
    let presence = &mut config.ws_gateway.presence;
    presence.lease = LEASE;
    presence.grace = Duration::from_millis(500);
    presence.reread = REREAD;
}

/// Ann and bob, who share a chat, at two gateways where there are two.
pub(crate) async fn pair(world: &World) -> (Person, Person, String) {
    let (mut ann, mut bob) = tokio::join!(
        Person::register(world, "ann"),
        Person::register(world, "bob")
    );
    let chat = ann.chat_with(&bob).await;
    if world.engine == Engine::Split {
        (ann.server, bob.server) = (world.http("ws-gateway", 0), world.http("ws-gateway", 1));
    }
    (ann, bob, chat)
}

pub(crate) async fn watch(socket: &mut Socket, people: &[&Person]) {
    let people: Vec<_> = people.iter().map(|person| &person.id).collect();
    let answer = socket
        .ask("presence.watch", json!({ "users": people }))
        .await;
    assert_eq!(answer["ok"], json!({}), "{answer}");
}

/// What is said of `person` next.
pub(crate) async fn told(socket: &mut Socket, person: &Person) -> String {
    let is_of = |one: &Value| one["user"] == person.id.as_str();
    let said = |frame: &Value| {
        let list = frame["d"].as_array().filter(|_| frame["t"] == "presence");
        list.and_then(|list| list.iter().find(|one| is_of(one)).cloned())
    };
    let frame = socket.wait(|frame| said(frame).is_some()).await;
    said(&frame).unwrap()["state"].as_str().unwrap().to_owned()
}

pub(crate) async fn until(socket: &mut Socket, person: &Person, state: &str) {
    while told(socket, person).await != state {}
}

/// The frames of presence that come within `time`.
async fn heard(socket: &mut Socket, time: Duration) -> Vec<Value> {
    let mut heard = socket.during(time).await;
    heard.retain(|frame| frame["t"] == "presence");
    heard
}

scenarios! {
    /// row:D10: at whatever gateway they are, people who share a chat see each other come, rest and go, once each.
    async fn people_who_share_a_chat_see_each_other(engine) {
        let world = World::with(engine, quick).await;
        let (ann, bob, _) = pair(&world).await;
        let mut at_ann = ann.connect().await;
        watch(&mut at_ann, &[&bob]).await;
        assert_eq!(told(&mut at_ann, &bob).await, "offline");
        let mut at_bob = bob.connect().await;
        assert_eq!(told(&mut at_ann, &bob).await, "active");
        at_bob.command("activity", json!({ "state": "idle" })).await;
        assert_eq!(told(&mut at_ann, &bob).await, "idle");
        let phone = bob.another_device().await.connect().await;
        assert_eq!(told(&mut at_ann, &bob).await, "active");
        phone.close().await;
        assert_eq!(told(&mut at_ann, &bob).await, "idle");
        // A page that is loaded again was never away.
        at_bob.close().await;
        let mut at_bob = bob.connect().await;
        assert_eq!(told(&mut at_ann, &bob).await, "active");
        assert_eq!(heard(&mut at_ann, Duration::from_secs(2)).await, [Value::Null; 0]);
        watch(&mut at_bob, &[&ann]).await;
        assert_eq!(told(&mut at_bob, &ann).await, "active");
        let left = Instant::now();
        at_bob.close().await;
        assert_eq!(told(&mut at_ann, &bob).await, "offline");
        assert!(left.elapsed() < LEASE, "it was told, not found: {:?}", left.elapsed());
        world.stop().await;
    }

    /// row:D10, threat:T41: whoever shares no chat with a person is told nothing, though they name them; nor of anybody whom they
    /// do not name.
    async fn a_stranger_sees_nothing(engine) {
        let world = World::with(engine, quick).await;
        let (ann, bob, _) = pair(&world).await;
        let eve = Person::register(&world, "eve").await;
        let (mut at_ann, mut at_eve) = tokio::join!(ann.connect(), eve.connect());
        watch(&mut at_eve, &[&ann, &bob]).await;
        watch(&mut at_ann, &[&bob, &eve]).await;
        assert_eq!(told(&mut at_ann, &bob).await, "offline");
        let at_bob = bob.connect().await;
        assert_eq!(told(&mut at_ann, &bob).await, "active");
        assert_eq!(heard(&mut at_eve, Duration::from_secs(3)).await, [Value::Null; 0]);
        // From the moment on at which they share a chat.
        eve.chat_with(&ann).await;
        assert_eq!(told(&mut at_eve, &ann).await, "active");
        at_bob.close().await;
        assert_eq!(told(&mut at_ann, &bob).await, "offline", "a new chat is no news of bob");
        let heard = heard(&mut at_eve, Duration::from_secs(2)).await;
        assert!(!json!(heard).to_string().contains(&bob.id), "{heard:?}");
        world.stop().await;
    }

    /// row:D10: who is not on the list any more is not told of; who is, is told of once.
    async fn a_list_of_people_replaces_the_former_one(engine) {
        let world = World::with(engine, quick).await;
        let (ann, bob, _) = pair(&world).await;
        let cid = Person::register(&world, "cid").await;
        ann.chat_with(&cid).await;
        let mut at_ann = ann.connect().await;
        watch(&mut at_ann, &[&bob]).await;
        assert_eq!(told(&mut at_ann, &bob).await, "offline");
        watch(&mut at_ann, &[&cid]).await;
        assert_eq!(told(&mut at_ann, &cid).await, "offline");
        let _at_bob = bob.connect().await;
        assert_eq!(heard(&mut at_ann, Duration::from_secs(2)).await, [Value::Null; 0]);
        watch(&mut at_ann, &[&bob, &cid]).await;
        assert_eq!(told(&mut at_ann, &bob).await, "active");
        world.stop().await;
    }
}

/// row:D09, row:D10: when a gateway stops, who comes back at another one at once was never away, and who does not is offline
/// soon, without the wait for a lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_gives_its_people_time_to_come_back() {
    let lease = Duration::from_mins(1);
    let mut world = World::with(Engine::Split, |config| {
        config.ws_gateway.presence.lease = lease;
        config.ws_gateway.presence.grace = Duration::from_secs(3);
        config.ws_gateway.presence.reread = REREAD;
    })
    .await;
    let (ann, mut bob, _) = pair(&world).await;
    let mut cid = Person::register(&world, "cid").await;
    ann.chat_with(&cid).await;
    cid.server = bob.server;
    let mut at_ann = ann.connect().await;
    let (mut at_bob, mut at_cid) = tokio::join!(bob.connect(), cid.connect());
    watch(&mut at_ann, &[&bob]).await;
    until(&mut at_ann, &bob, "active").await;
    watch(&mut at_ann, &[&bob, &cid]).await;
    until(&mut at_ann, &cid, "active").await;
    world.stop_one("ws-gateway", 1).await;
    assert_eq!(
        (at_bob.close_code().await, at_cid.close_code().await),
        (4001, 4001)
    );
    let stopped = Instant::now();
    bob.server = world.http("ws-gateway", 0);
    let _at_bob = bob.connect().await;
    let frame = at_ann.wait(|frame| frame["t"] == "presence").await;
    assert_eq!(
        frame["d"].as_array().unwrap().len(),
        1,
        "nobody else: {frame}"
    );
    assert_eq!(
        (&frame["d"][0]["user"], &frame["d"][0]["state"]),
        (&json!(cid.id), &json!("offline"))
    );
    assert!(stopped.elapsed() < lease / 2, "{:?}", stopped.elapsed());
    world.stop().await;
}
