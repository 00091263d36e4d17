//! `sub`, resume, gaps, holes, the end of a membership.

use realtime::testing::in_time;
use serde_json::json;

use crate::{
    streams::pause,
    world::{World, user},
};

/// row:C21, guarantee:G5: what happened while away comes first, then what happens, without a hole,
/// although others go on writing all the time.
#[tokio::test]
async fn resume_replays_in_order_while_others_write() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1), user(2)]);
    for n in 0..450 {
        world.streams.store(chat, user(2), &n.to_string());
    }
    let streams = world.streams.clone();
    let writing = tokio::spawn(async move {
        for n in 0..150 {
            streams.post(chat, user(2), &n.to_string()).await;
        }
    });
    let (mut ann, welcome) = world
        .resume(
            user(1),
            json!({ format!("c:{chat}"): { "e": "k1", "o": 3 } }),
        )
        .await;
    let stream = &welcome["d"]["streams"][format!("c:{chat}")];
    assert_eq!(stream["recovered"], true);
    assert_eq!(stream["n"].as_i64(), stream["o"].as_i64().map(|o| o - 3));
    assert_eq!(
        welcome["d"]["streams"][format!("u:{}", user(1))],
        json!({ "recovered": false })
    );
    in_time("the writer ends", writing).await.unwrap();
    let mut is_ready = false;
    for o in 4..=601 {
        let mut event = ann.next().await;
        if event["t"] == "ready" {
            is_ready = true;
            event = ann.next().await;
        }
        assert_eq!(event["o"], o);
    }
    assert!(is_ready || ann.next().await["t"] == "ready");
}

/// guarantee:G11: who asks for a chat hears nothing of it, not even marks, before `message` has let them in.
#[tokio::test]
async fn nothing_passes_to_one_who_is_not_let_in_yet() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1), user(2)]);
    let mut member = world.in_chat(user(2), chat).await;
    let (pause, paused) = pause();
    *world.streams.after_attach.lock() = Some(pause);
    let mut stranger = world.hello(user(3)).await;
    let id = stranger
        .command("sub", json!({ "s": format!("c:{chat}") }))
        .await;
    in_time("the look-up is under way", paused.reached)
        .await
        .unwrap();
    let mark = json!({ "chat": chat, "delivered": 1, "read": 1 });
    assert!(member.ask("mark", mark).await["ok"].is_object());
    assert_eq!(member.next().await["t"], "marks");
    paused.go_on.send(()).unwrap();
    assert_eq!(
        stranger.next().await,
        json!({ "id": id, "err": { "code": "not_found", "msg": "no such chat", "fatal": true } })
    );
}

/// What happens between the look at the head and the first live event is kept, not lost.
#[tokio::test]
async fn an_event_in_the_middle_of_sub_is_not_lost() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1), user(2)]);
    let mut witness = world.in_chat(user(2), chat).await;
    for is_resumed in [false, true] {
        let (pause, paused) = pause();
        *world.streams.after_attach.lock() = Some(pause);
        let mut ann = world.hello(user(1)).await;
        let since = is_resumed.then_some(json!({ "e": "k1", "o": 1 }));
        let id = ann
            .command("sub", json!({ "s": format!("c:{chat}"), "since": since }))
            .await;
        in_time("attach has read the head", paused.reached)
            .await
            .unwrap();
        let o = world.streams.post(chat, user(2), "in between").await;
        assert_eq!(witness.positions(1).await, [o], "the gateway has seen it");
        paused.go_on.send(()).unwrap();
        assert_eq!(
            ann.answer(id).await["ok"]["o"],
            o - 1,
            "the head that was read"
        );
        let expected: Vec<_> = if is_resumed {
            (2..=o).collect()
        } else {
            vec![o]
        };
        assert_eq!(ann.positions(expected.len()).await, expected);
    }
}

/// guarantee:G5: what the forward topic loses is read from the database, and comes in its place.
#[tokio::test]
async fn a_hole_is_filled_from_the_database() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1)]);
    let mut ann = world.in_chat(user(1), chat).await;
    let first = world.streams.post(chat, user(1), "a").await;
    world.streams.forward(chat, first).await;
    world.streams.store(chat, user(1), "lost");
    world.streams.store(chat, user(1), "lost too");
    let (pause, paused) = pause();
    *world.streams.before_events.lock() = Some(pause);
    world.streams.post(chat, user(1), "b").await;
    in_time("the hole is seen", paused.reached).await.unwrap();
    world.streams.post(chat, user(1), "c").await;
    paused.go_on.send(()).unwrap();
    assert_eq!(ann.positions(5).await, [2, 3, 4, 5, 6]);
    let next = world.streams.post(chat, user(1), "d").await;
    assert_eq!(ann.positions(1).await, [next]);
}

/// guarantee:G8, threat:T17: the event of leaving is the last; then the subscription ends.
#[tokio::test]
async fn nothing_follows_the_end_of_a_membership() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1), user(2)]);
    let (mut ann, mut bob) = (
        world.in_chat(user(1), chat).await,
        world.in_chat(user(2), chat).await,
    );
    world.streams.post(chat, user(1), "before").await;
    let left = world.streams.set_member(chat, user(2), false).await;
    world.streams.post(chat, user(1), "after").await;
    // `chat.removed` comes on the person's own lane: before, between or after the others.
    let mut heard = Vec::new();
    while heard.len() < 4 {
        heard.push(bob.next().await);
    }
    heard.retain(|frame| frame["t"] != "chat.removed");
    assert_eq!(heard.len(), 3);
    assert_eq!([&heard[0]["o"], &heard[1]["o"]], [left - 1, left]);
    assert_eq!(heard[2]["d"]["why"], "access");
    assert_eq!(heard[2]["d"]["s"], format!("c:{chat}"));
    assert_eq!(ann.positions(3).await, [left - 1, left, left + 1]);

    let (mut again, welcome) = world
        .resume(
            user(2),
            json!({ format!("c:{chat}"): { "e": "k1", "o": 1 } }),
        )
        .await;
    assert_eq!(
        welcome["d"]["streams"][format!("c:{chat}")]["o"],
        left,
        "the head of who has left"
    );
    assert_eq!(again.positions(2).await, [left - 1, left]);
    assert_eq!(again.next().await["d"]["why"], "access");
    assert_eq!(again.next().await["t"], "ready");
    let joined = world.streams.set_member(chat, user(2), true).await;
    assert_eq!(again.next_of("chat.added").await["d"]["o"], joined);
    let answer = again.sub(chat, Some(left)).await;
    assert_eq!(
        answer["ok"]["recovered"], false,
        "what happened in between is not for them"
    );
    assert_eq!(again.next_of("gap").await["d"]["why"], "access");
    assert_eq!(again.sub(chat, None).await["ok"]["o"], joined);
}

#[tokio::test]
async fn a_replay_that_is_not_possible_says_why() {
    let world = World::new().await;
    let (chat, foreign) = (
        world.streams.create(&[user(1)]),
        world.streams.create(&[user(2)]),
    );
    for _ in 0..1100 {
        world.streams.store(chat, user(1), "x");
    }
    let mut ann = world.hello(user(1)).await;
    let name = format!("c:{chat}");
    for (since, why) in [
        (json!({ "e": "k0", "o": 1090 }), "epoch"),
        (json!({ "e": "k1", "o": 2000 }), "epoch"),
        (json!({ "e": "k1", "o": 5 }), "too_long"),
    ] {
        let answer = ann.ask("sub", json!({ "s": name, "since": since })).await;
        assert_eq!(
            (&answer["ok"]["recovered"], &answer["ok"]["o"]),
            (&json!(false), &json!(1101))
        );
        let gap = ann.next_of("gap").await;
        assert_eq!(
            gap["d"],
            json!({ "s": name, "e": "k1", "o": 1101, "why": why })
        );
    }
    let answer = ann.sub(foreign, None).await;
    assert_eq!(
        (&answer["err"]["code"], &answer["err"]["fatal"]),
        (&json!("not_found"), &json!(true))
    );
    assert_eq!(
        ann.ask("sub", json!({ "s": "u:me" })).await["err"]["code"],
        "bad_request"
    );
    let resume = json!({ (name.as_str()): { "e": "k0", "o": 9 }, format!("c:{foreign}"): { "e": "k1", "o": 1 } });
    let (_, welcome) = world.resume(user(1), resume).await;
    let streams = &welcome["d"]["streams"];
    assert_eq!(
        streams[&name],
        json!({ "recovered": false, "e": "k1", "o": 1101, "why": "epoch" })
    );
    assert_eq!(streams[format!("c:{foreign}")]["why"], "access");
}

/// row:D03: after `unsub` no event of that chat comes, only the hint that something happened.
#[tokio::test]
async fn nothing_comes_after_unsub() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1)]);
    let mut ann = world.in_chat(user(1), chat).await;
    world.streams.post(chat, user(1), "seen").await;
    assert_eq!(ann.positions(1).await, [2]);
    assert_eq!(
        ann.ask("unsub", json!({ "s": format!("c:{chat}") })).await["ok"],
        json!({})
    );
    world.streams.post(chat, user(1), "unseen").await;
    assert_eq!(
        ann.next().await,
        json!({ "t": "chat.hint", "e": 1, "d": { "chat": chat, "seq": 2, "o": 3 } })
    );
}

#[tokio::test]
async fn pull_gives_pages_and_refuses_another_epoch() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1)]);
    for _ in 0..9 {
        world.streams.store(chat, user(1), "x");
    }
    let large = "y".repeat(16_000);
    for _ in 0..20 {
        world.streams.store(chat, user(1), &large);
    }
    let mut ann = world.hello(user(1)).await;
    let name = format!("c:{chat}");
    let mut pull = async |e: &str, after: i64, limit: i64| {
        let answer = ann
            .ask(
                "pull",
                json!({ "s": name, "e": e, "after": after, "limit": limit }),
            )
            .await;
        let events = answer["ok"]["events"].as_array().unwrap();
        let positions: Vec<_> = events
            .iter()
            .map(|event| event["o"].as_i64().unwrap())
            .collect();
        (
            positions,
            answer["ok"]["more"].as_bool().unwrap(),
            answer["ok"]["o"].as_i64().unwrap(),
        )
    };
    assert_eq!(pull("k1", 3, 4).await, (vec![4, 5, 6, 7], true, 30));
    assert_eq!(pull("k1", 30, 4).await, (vec![], false, 30));
    let (positions, more, _) = pull("k1", 10, 200).await;
    assert!(
        more && positions.len() < 20 && positions[0] == 11,
        "an answer stays small: {positions:?}"
    );
    assert_eq!(pull("k0", 3, 4).await.0, Vec::<i64>::new());
    assert_eq!(ann.next_of("gap").await["d"]["why"], "epoch");
}

/// row:D13: a client that reads too slowly is told to pull, finds everything, and goes on.
#[tokio::test]
async fn a_slow_client_lags_pulls_and_goes_on() {
    let config = ws_gateway::Config {
        sockets: realtime::Config {
            queue_bytes: 256 * 1024,
            ..Default::default()
        },
        ..Default::default()
    };
    let world = World::with(config).await;
    let chat = world.streams.create(&[user(1), user(2)]);
    let mut slow = world.in_chat(user(1), chat).await;
    let text = "z".repeat(15_000);
    for _ in 0..800 {
        world.streams.post(chat, user(2), &text).await;
    }
    let mut last = 1;
    loop {
        let event = slow.next().await;
        if event["t"] == "lag" {
            assert_eq!(event["d"]["o"], last);
            break;
        }
        last += 1;
        assert_eq!(event["o"], last);
    }
    assert!(last < 801, "the kernel's buffers hold less than that");
    let pulled = slow
        .ask(
            "pull",
            json!({ "s": format!("c:{chat}"), "e": "k1", "after": last, "limit": 5 }),
        )
        .await;
    assert_eq!(pulled["ok"]["events"][0]["o"], last + 1);
    assert_eq!(slow.sub(chat, Some(last)).await["ok"]["recovered"], true);
    assert_eq!(
        slow.positions(usize::try_from(801 - last).unwrap()).await,
        (last + 1..=801).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn subscriptions_are_bounded() {
    let world = World::with(ws_gateway::Config {
        sockets: realtime::Config {
            subscriptions: 2,
            ..Default::default()
        },
        ..Default::default()
    })
    .await;
    let chats: Vec<_> = (0..3).map(|_| world.streams.create(&[user(1)])).collect();
    let mut ann = world.hello(user(1)).await;
    for chat in &chats[..2] {
        assert!(ann.sub(*chat, None).await["ok"].is_object());
    }
    assert_eq!(ann.sub(chats[2], None).await["err"]["code"], "rate_limited");
    assert!(
        ann.sub(chats[0], Some(1)).await["ok"].is_object(),
        "again is not one more"
    );
    ann.ask("unsub", json!({ "s": format!("c:{}", chats[0]) }))
        .await;
    assert!(ann.sub(chats[2], None).await["ok"].is_object());
}
