//! Who is told how present whom is, and what stands in the registry.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use bytes::Bytes;
use contracts::UserId;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    client::Client,
    streams::pause,
    world::{World, user},
};

fn config() -> ws_gateway::Config {
    ws_gateway::Config {
        presence: ws_gateway::Presence {
            lease: Duration::from_secs(3),
            grace: Duration::from_millis(500),
            reread: Duration::from_secs(1),
        },
        ..Default::default()
    }
}

impl World {
    /// The registered connections of a person.
    async fn registered(&self, who: UserId) -> Vec<(String, Value)> {
        let group = format!("ws-gateway:sessions:{who}");
        let members = self.cache.members(&group).await.unwrap().into_iter();
        let read = |value: Bytes| serde_json::from_slice(&value).unwrap();
        members.map(|(name, value)| (name, read(value))).collect()
    }

    async fn until_registered(&self, who: UserId, count: usize) {
        realtime::testing::in_time("so many are registered", async {
            while self.registered(who).await.len() != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

impl Client {
    async fn watch(&mut self, people: &[UserId]) {
        let answer = self.ask("presence.watch", json!({ "users": people })).await;
        assert_eq!(answer["ok"], json!({}), "{answer}");
    }

    async fn is(&mut self, state: &str) {
        self.command("activity", json!({ "state": state })).await;
    }

    /// The next frame of presence, as people and states.
    async fn presence(&mut self) -> Vec<(UserId, String)> {
        let frame = self.next_of("presence").await;
        assert_eq!(frame["e"], 1);
        let list = frame["d"].as_array().unwrap();
        let mut list: Vec<_> = list
            .iter()
            .map(|one| {
                let user = serde_json::from_value(one["user"].clone()).unwrap();
                (user, one["state"].as_str().unwrap().to_owned())
            })
            .collect();
        list.sort();
        list
    }

    /// What was said about somebody before the next answer.
    async fn heard_of(&mut self, world: &World, me: UserId) -> Vec<Value> {
        // What is on its way is told in the next round at the latest.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        world
            .streams
            .tell(me, contracts::frames::ephemeral("test.end", &json!({})))
            .await;
        let mut heard = Vec::new();
        loop {
            let frame = self.next().await;
            if frame["t"] == "test.end" {
                return heard;
            }
            if frame["t"] == "presence" {
                heard.push(frame);
            }
        }
    }
}

fn said(n: u128, state: &str) -> Vec<(UserId, String)> {
    vec![(user(n), state.to_owned())]
}

/// row:D07: a connection stands in the registry under its name with its login and state, for longer than its lease, and
/// is taken out soon after it has gone.
#[tokio::test]
async fn a_connection_is_registered_for_as_long_as_it_lasts() {
    let world = World::with(config()).await;
    let (mut ann, welcome) = world.resume(user(1), json!({})).await;
    world.until_registered(user(1), 1).await;
    let connected = Instant::now();
    let [(name, value)] = world.registered(user(1)).await.try_into().unwrap();
    assert_eq!(name, welcome["d"]["conn"].as_str().unwrap());
    assert_eq!(
        (&value["login"], &value["state"]),
        (&json!(user(1)), &json!("active"))
    );
    ann.is("idle").await;
    realtime::testing::in_time("the change", async {
        while world.registered(user(1)).await[0].1["state"] != "idle" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let other = world.hello(user(1)).await;
    world.until_registered(user(1), 2).await;
    drop(other);
    world.until_registered(user(1), 1).await;
    while connected.elapsed() < Duration::from_secs(4) {
        assert_eq!(world.registered(user(1)).await.len(), 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(ann);
    world.until_registered(user(1), 0).await;
    let instances = world.cache.members("ws-gateway:instances").await.unwrap();
    assert_eq!(instances.len(), 1, "the process itself stays");
}

/// row:D10: whoever shares a chat sees a person come, rest, come back and go, each state once.
#[tokio::test]
async fn peers_see_a_person_come_and_go() {
    let world = World::with(config()).await;
    world.streams.create(&[user(1), user(2)]);
    let mut ann = world.hello(user(1)).await;
    ann.watch(&[user(2)]).await;
    assert_eq!(ann.presence().await, said(2, "offline"));
    let mut bob = world.hello(user(2)).await;
    assert_eq!(ann.presence().await, said(2, "active"));
    bob.is("idle").await;
    assert_eq!(ann.presence().await, said(2, "idle"));
    let phone = world.hello(user(2)).await;
    assert_eq!(ann.presence().await, said(2, "active"));
    drop(phone);
    assert_eq!(ann.presence().await, said(2, "idle"));
    drop(bob);
    let gone = ann.next_of("presence").await;
    assert_eq!(gone["d"][0]["state"], "offline");
    assert!(gone["d"][0]["since"].is_string(), "it was seen: {gone}");
}

/// row:D10: a page that is loaded again, and a device that comes while another one goes, change nothing.
#[tokio::test]
async fn who_comes_back_at_once_was_never_away() {
    let world = World::with(config()).await;
    world.streams.create(&[user(1), user(2)]);
    let (mut ann, mut bob) = (world.hello(user(1)).await, world.hello(user(2)).await);
    ann.watch(&[user(2)]).await;
    assert_eq!(ann.presence().await, said(2, "active"));
    for _ in 0..3 {
        drop(bob);
        bob = world.hello(user(2)).await;
    }
    assert_eq!(ann.heard_of(&world, user(1)).await, [Value::Null; 0]);
    world.until_registered(user(2), 1).await;
}

/// row:D10, threat:T41: of somebody with whom no chat is shared nothing is ever told, and after a removal nothing more.
#[tokio::test]
async fn strangers_and_former_members_see_nothing() {
    let world = World::with(config()).await;
    let chat = world.streams.create(&[user(1), user(2)]);
    let (mut ann, mut eve) = (world.hello(user(1)).await, world.hello(user(3)).await);
    eve.watch(&[user(1), user(2), UserId(Uuid::now_v7())]).await;
    ann.watch(&[user(2), user(3)]).await;
    assert_eq!(ann.presence().await, said(2, "offline"));
    let bob = world.hello(user(2)).await;
    assert_eq!(ann.presence().await, said(2, "active"));
    assert_eq!(eve.heard_of(&world, user(3)).await, [Value::Null; 0]);
    // A chat that is shared from now on is shared at once.
    world.streams.set_member(chat, user(3), true).await;
    let mut both = said(1, "active");
    both.extend(said(2, "active"));
    assert_eq!(eve.presence().await, both);
    world.streams.set_member(chat, user(2), false).await;
    drop(bob);
    for (client, person) in [(&mut ann, user(1)), (&mut eve, user(3))] {
        let heard = client.heard_of(&world, person).await;
        assert!(!json!(heard).to_string().contains("offline"), "{heard:?}");
    }
    let mut bob = world.hello(user(2)).await;
    bob.watch(&[user(1), user(3)]).await;
    assert_eq!(bob.heard_of(&world, user(2)).await, [Value::Null; 0]);
}

/// threat:T41: an answer that was given before somebody left, and comes after it, shows nobody to anybody.
#[tokio::test]
async fn a_removal_overtakes_an_answer_that_is_under_way() {
    let world = World::with(config()).await;
    let chat = world.streams.create(&[user(1), user(2)]);
    let (mut ann, _bob) = (world.hello(user(1)).await, world.hello(user(2)).await);
    let (pause, paused) = pause();
    *world.streams.after_peers.lock() = Some(pause);
    ann.watch(&[user(2)]).await;
    paused.reached.await.unwrap();
    world.streams.set_member(chat, user(2), false).await;
    ann.next_of("chat.hint").await;
    paused.go_on.send(()).unwrap();
    assert_eq!(ann.heard_of(&world, user(1)).await, [Value::Null; 0]);
}

/// row:D10: a list takes the place of the former one, and costs a question only when somebody new is on it.
#[tokio::test]
async fn a_list_replaces_the_former_one() {
    let world = World::with(config()).await;
    world.streams.create(&[user(1), user(2), user(3)]);
    let mut ann = world.hello(user(1)).await;
    ann.watch(&[user(2)]).await;
    assert_eq!(ann.presence().await, said(2, "offline"));
    ann.watch(&[user(3), user(3)]).await;
    assert_eq!(ann.presence().await, said(3, "offline"));
    let asked = world.streams.peer_reads.load(SeqCst);
    let bob = world.hello(user(2)).await;
    for _ in 0..5 {
        ann.watch(&[user(3)]).await;
    }
    assert_eq!(ann.heard_of(&world, user(1)).await, [Value::Null; 0]);
    assert_eq!(world.streams.peer_reads.load(SeqCst), asked);
    ann.watch(&[user(2)]).await;
    assert_eq!(ann.presence().await, said(2, "active"));
    ann.watch(&[]).await;
    drop(bob);
    assert_eq!(ann.heard_of(&world, user(1)).await, [Value::Null; 0]);
}

/// row:D10: of a process that was killed nobody tells; what it had registered ends, which is seen at the next look.
#[tokio::test]
async fn what_a_dead_process_had_registered_ends() {
    let world = World::with(config()).await;
    world.streams.create(&[user(1), user(2)]);
    let mut ann = world.hello(user(1)).await;
    let value = json!({ "login": user(2), "state": "active", "since": 1 }).to_string();
    let group = format!("ws-gateway:sessions:{}", user(2));
    let lease = Duration::from_secs(2);
    let joined = world.cache.join(&group, "dead-1", value.into(), lease);
    joined.await.unwrap();
    ann.watch(&[user(2)]).await;
    assert_eq!(ann.presence().await, said(2, "active"));
    let seen = Instant::now();
    assert_eq!(ann.presence().await, said(2, "offline"));
    // Lease and reread, a round, and a slow machine.
    assert!(
        seen.elapsed() < lease + Duration::from_secs(4),
        "{:?}",
        seen.elapsed()
    );
}

/// row:C14: what is no list of people and no state is refused, and a list has a bound.
#[tokio::test]
async fn malformed_lists_and_states_are_refused() {
    let world = World::with(config()).await;
    let mut ann = world.hello(user(1)).await;
    let many: Vec<_> = (0..201).map(user).collect();
    for (t, d) in [
        ("presence.watch", json!({})),
        ("presence.watch", json!({ "users": ["ann"] })),
        ("presence.watch", json!({ "users": many })),
        ("activity", json!({ "state": "asleep" })),
        ("activity", json!({})),
    ] {
        let answer = ann.ask(t, d).await;
        assert_eq!(answer["err"]["code"], "bad_request", "{t}: {answer}");
    }
    ann.watch(&many[..200]).await;
    let hello = json!({ "t": "hello", "d": { "proto": 1, "token": world.token(user(2)), "activity": "idle" } });
    let mut bob = world.connect().await;
    bob.text(hello.to_string()).await;
    bob.next_of("ready").await;
    world.until_registered(user(2), 1).await;
    assert_eq!(world.registered(user(2)).await[0].1["state"], "idle");
}

/// row:D18: five thousand connections that say nothing are counted and registered, and what is sent arrives at the last of
/// them.
#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_idle_connections_disturb_nobody() {
    const COUNT: usize = 5000;
    let world = World::with(ws_gateway::Config::default()).await;
    let chat = world.streams.create(&[user(1), user(2)]);
    let mut ann = world.in_chat(user(1), chat).await;
    let mut idle = Vec::with_capacity(COUNT);
    for n in 0..COUNT as u128 {
        idle.push(world.hello(user(100 + n / 20)).await);
    }
    let mut bob = world.in_chat(user(2), chat).await;
    let gauge = || -> usize {
        let text = kit::telemetry::metrics().render();
        let name = "ws_connections{door=\"ws-gateway\"} ";
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap().parse().unwrap()
    };
    // Other tests of this process have connections at the same time.
    assert!(gauge() >= COUNT, "{}", gauge());
    for n in 0..COUNT as u128 / 20 {
        world.until_registered(user(100 + n), 20).await;
    }
    let begun = Instant::now();
    let o = world.streams.post(chat, user(1), "hello").await;
    assert_eq!(
        (ann.positions(1).await, bob.positions(1).await),
        (vec![o], vec![o])
    );
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    drop(idle);
}
