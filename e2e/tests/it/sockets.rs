//! The socket `/ws/v1`: live delivery, resume, several devices, bad input, limits.

use std::time::Duration;

use e2e::{Person, Socket, World, eventually, key, message_of};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

scenarios! {
    /// row:C01, row:C02, row:D05, guarantee:G12: sent on one socket, there on the other; `ok` comes before the own event.
    async fn a_message_reaches_the_other_side_live(engine) {
        let world = World::start(engine).await;
        let (ann, bob) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"));
        let chat = ann.chat_with(&bob).await;
        let (mut at_ann, mut at_bob) = tokio::join!(ann.connect(), bob.connect());
        at_ann.watch(&chat).await;
        at_bob.watch(&chat).await;
        let key = key();
        let id = at_ann.command("msg.send", json!({ "chat": chat, "key": key, "text": "hi" })).await;
        let mut first = at_ann.next().await.unwrap();
        // The hint about the chat has no place among its events.
        if first["t"] == "chat.added" {
            first = at_ann.next().await.unwrap();
        }
        assert_eq!(first["id"], id, "ok comes first: {first}");
        let event = at_ann.next().await.unwrap();
        assert_eq!((&event["t"], &event["o"]), (&json!("msg.new"), &first["ok"]["o"]));
        let heard = at_bob.message().await;
        assert_eq!(heard, event, "the frame is the same for everybody");
        let message = message_of(&heard);
        assert_eq!((message.text.as_str(), message.author.to_string(), message.key.to_string()), ("hi", ann.id, key));
        world.stop().await;
    }

    /// row:D01: no token, a bad one, a forged one: no door opens.
    async fn a_socket_needs_a_token(engine) {
        let world = World::start(engine).await;
        let ann = Person::register(&world, "ann").await;
        for token in ["", "nonsense", &format!("{}x", ann.token), &ann.token[..ann.token.len() - 3]] {
            let mut socket = Socket::open(world.public, "127.0.0.1", &[]).await.unwrap();
            socket.write(&json!({ "id": 1, "t": "hello", "d": { "proto": 1, "token": token } })).await;
            assert_eq!(socket.close_code().await, 4200, "{token}");
        }
        let mut silent = Socket::open(world.public, "127.0.0.1", &[]).await.unwrap();
        silent.write(&json!({ "id": 1, "t": "msg.send", "d": {} })).await;
        let answer = silent.next().await;
        assert!(answer.is_none_or(|frame| frame["err"]["code"] == "unauthorized"), "nothing works before hello");
        let bearer = format!("Bearer {}", ann.token);
        let mut by_header = Socket::open(world.public, "127.0.0.1", &[("authorization", &bearer)]).await.unwrap();
        by_header.write(&json!({ "id": 1, "t": "hello", "d": { "proto": 1 } })).await;
        by_header.wait(|frame| frame["t"] == "welcome").await;
        world.stop().await;
    }

    /// row:D16, threat:T14: a foreign page gets no socket.
    async fn a_foreign_origin_is_refused(engine) {
        let world = World::start(engine).await;
        let own = format!("http://{}", world.public);
        assert!(Socket::open(world.public, "127.0.0.1", &[("origin", &own)]).await.is_ok());
        for origin in ["https://evil.example", "null", "http://127.0.0.1", &format!("{own}.evil.example")] {
            let refused = Socket::open(world.public, "127.0.0.1", &[("origin", origin)]).await.err();
            assert_eq!(refused, Some(403), "{origin}");
        }
        world.stop().await;
    }

    /// row:C14, threat:T18: whatever a client sends, the answer has a code and the connection lives where it can.
    async fn bad_frames_do_not_end_the_connection(engine) {
        let world = World::start(engine).await;
        let (ann, bob) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"));
        let chat = ann.chat_with(&bob).await;
        let mut socket = ann.connect().await;
        for bad in ["{broken", "[]", "7", "\"text\"", "{\"t\":5}", "{\"id\":\"x\",\"t\":\"sub\"}", "{\"id\":9,\"t\":\"nothing\",\"d\":{}}"] {
            socket.raw(Message::text(bad)).await;
            let answer = socket.wait(|frame| frame["err"].is_object()).await;
            assert_eq!(answer["err"]["code"], "bad_request", "{bad}");
        }
        for (t, d, code) in [
            ("sub", json!({ "s": "c:not-an-id" }), "bad_request"),
            ("sub", json!({ "s": format!("c:{}", key()) }), "not_found"),
            ("sub", json!({ "s": format!("u:{}", bob.id) }), "bad_request"),
            ("msg.send", json!({ "chat": chat, "key": key(), "text": "" }), "empty_text"),
            ("msg.send", json!({ "chat": chat, "key": key(), "text": "x".repeat(16 * 1024 + 1) }), "too_large"),
            ("msg.send", json!({ "chat": chat, "key": key(), "text": "a\u{0}" }), "bad_request"),
            ("msg.send", json!({ "chat": chat, "key": 5, "text": "x" }), "bad_request"),
            ("msg.send", json!({ "chat": key(), "key": key(), "text": "x" }), "not_found"),
            ("mark", json!({ "chat": chat, "delivered": "x", "read": 0 }), "bad_request"),
        ] {
            let answer = socket.ask(t, d.clone()).await;
            assert_eq!(answer["err"]["code"], code, "{t} {d}: {answer}");
        }
        assert_eq!(socket.say(&chat, "alive").await["seq"], 1);
        for (frame, code) in [
            (Message::binary(vec![1, 2, 3]), 1003),
            (Message::text(format!("{{\"pad\":\"{}\"}}", "x".repeat(70 * 1024))), 1009),
        ] {
            let mut socket = ann.connect().await;
            socket.raw(frame).await;
            assert_eq!(socket.close_code().await, code);
        }
        assert_eq!(socket.say(&chat, "still alive").await["seq"], 2);
        world.stop().await;
    }

    /// row:C12, row:C11: the author is the token's, and strangers neither send nor watch.
    async fn nobody_speaks_for_somebody_else(engine) {
        let world = World::start(engine).await;
        let (ann, bob, eve) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"), Person::register(&world, "eve"));
        let chat = ann.chat_with(&bob).await;
        let (mut at_bob, mut at_eve) = tokio::join!(bob.connect(), eve.connect());
        at_bob.watch(&chat).await;
        let refused = at_eve.ask("sub", json!({ "s": format!("c:{chat}") })).await;
        assert_eq!(refused["err"]["code"], "not_found");
        let refused = at_eve.ask("msg.send", json!({ "chat": chat, "key": key(), "text": "x" })).await;
        assert_eq!((&refused["err"]["code"], &refused["err"]["fatal"]), (&json!("not_found"), &json!(true)));
        let forged = at_bob.ask("msg.send", json!({ "chat": chat, "key": key(), "text": "mine", "author": ann.id, "auto": "replied", "seq": 99 })).await;
        assert_eq!(forged["ok"]["seq"], 1);
        let message = message_of(&at_bob.message().await);
        assert_eq!((message.author.to_string(), message.auto), (bob.id.clone(), contracts::message::Auto::No));
        ann.say(&chat, "for us two").await;
        let leaked = at_eve.during(Duration::from_millis(300)).await;
        assert!(leaked.iter().all(|frame| !frame.to_string().contains(&chat)), "{leaked:?}");
        world.stop().await;
    }

    /// row:D06, row:G15: every device hears, closing one leaves the others.
    async fn several_devices_hear_everything(engine) {
        let world = World::start(engine).await;
        let (ann, bob) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"));
        let chat = ann.chat_with(&bob).await;
        let other = bob.another_device().await;
        let (mut one, mut two, mut own) = (bob.connect().await, other.connect().await, ann.connect().await);
        for socket in [&mut one, &mut two, &mut own] {
            socket.watch(&chat).await;
        }
        ann.say(&chat, "first").await;
        for socket in [&mut one, &mut two, &mut own] {
            assert_eq!(message_of(&socket.message().await).text, "first");
        }
        one.close().await;
        ann.say(&chat, "second").await;
        assert_eq!(message_of(&two.message().await).text, "second");
        world.stop().await;
    }

    /// row:C21, row:D19, guarantee:G8, guarantee:G5, guarantee:G17: a resume brings what was missed, in order, once, and nothing old.
    async fn a_resume_misses_nothing(engine) {
        let world = World::start(engine).await;
        let (ann, bob) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"));
        let chat = ann.chat_with(&bob).await;
        let stream = format!("c:{chat}");
        let mut socket = bob.connect().await;
        let at = socket.watch(&chat).await;
        ann.say(&chat, "0").await;
        let seen = socket.message().await["o"].as_i64().unwrap();
        socket.close().await;
        for n in 1..=10 {
            ann.say(&chat, &n.to_string()).await;
        }
        let mut socket = Socket::open(world.public, "127.0.0.1", &[]).await.unwrap();
        let (welcome, replayed) = socket.hello(&bob.token, json!({ stream.clone(): { "e": at["e"], "o": seen } })).await;
        assert_eq!(welcome["streams"][&stream]["recovered"], true, "{welcome}");
        let places: Vec<_> = replayed.iter().map(|frame| frame["o"].as_i64().unwrap()).collect();
        assert_eq!(places, (seen + 1..=seen + 10).collect::<Vec<_>>());
        ann.say(&chat, "11").await;
        assert_eq!(socket.message().await["o"], seen + 11);

        let mut foreign = Socket::open(world.public, "127.0.0.1", &[]).await.unwrap();
        let (welcome, replayed) = foreign.hello(&bob.token, json!({ stream.clone(): { "e": "other", "o": 1 } })).await;
        assert_eq!(welcome["streams"][&stream]["recovered"], false, "{welcome}");
        assert!(replayed.iter().all(|frame| frame["t"] != "msg.new"), "never a part of a recovery: {replayed:?}");
        world.stop().await;
    }

    /// guarantee:G4, guarantee:G5, guarantee:G9: subscribing while others send neither loses nor repeats nor reorders.
    async fn a_subscription_in_the_middle_of_traffic_is_seamless(engine) {
        let world = World::start(engine).await;
        let (ann, bob) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"));
        let chat = ann.chat_with(&bob).await;
        let epoch = bob.get(&format!("/api/chats/{chat}")).await.ok()["pos"]["e"].clone();
        let talking = { let chat = chat.clone(); tokio::spawn(async move {
            for n in 0..300 {
                ann.say(&chat, &n.to_string()).await;
            }
        }) };
        let mut sockets = Vec::new();
        for _ in 0..8 {
            let mut socket = bob.connect().await;
            let answer = socket.ask("sub", json!({ "s": format!("c:{chat}"), "since": { "e": epoch, "o": 1 } })).await;
            assert_eq!(answer["ok"]["recovered"], true, "{answer}");
            sockets.push(socket);
        }
        talking.await.unwrap();
        for socket in &mut sockets {
            let mut expected = 2;
            while expected <= 301 {
                let frame = socket.wait(|frame| frame["o"].is_i64()).await;
                assert_eq!(frame["o"], expected);
                expected += 1;
            }
        }
        world.stop().await;
    }

    /// A chat that is not subscribed gives a hint, at most one a second, and no text.
    async fn an_unwatched_chat_gives_hints(engine) {
        let world = World::start(engine).await;
        let (ann, bob) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"));
        let mut socket = bob.connect().await;
        let chat = ann.chat_with(&bob).await;
        socket.wait(|frame| frame["t"] == "chat.added" && frame["d"]["chat"] == chat.as_str()).await;
        for n in 0..20 {
            ann.say(&chat, &format!("text {n}")).await;
        }
        let seen = socket.during(Duration::from_millis(1500)).await;
        let hints = seen.iter().filter(|frame| frame["t"] == "chat.hint").count();
        assert!((1..=3).contains(&hints), "{hints}: {seen:?}");
        assert!(seen.iter().all(|frame| !frame.to_string().contains("text ")));
        world.stop().await;
    }

    /// row:D17, guarantee:G14: a flood is told to slow down; others do not notice.
    async fn a_flood_is_limited(engine) {
        let world = World::start(engine).await;
        let (ann, bob) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"));
        let chat = ann.chat_with(&bob).await;
        let (mut loud, mut calm) = tokio::join!(ann.connect(), bob.connect());
        for _ in 0..300 {
            loud.command("mark", json!({ "chat": chat, "delivered": 0, "read": 0 })).await;
        }
        let limited = loud.wait(|frame| frame["err"]["code"] == "rate_limited").await;
        assert!(limited["err"]["retry_ms"].as_u64().unwrap() > 0, "{limited}");
        assert_eq!(calm.say(&chat, "calm").await["seq"], 1);
        world.stop().await;
    }

    /// guarantee:G6, row:D17: of a flood of messages the first are stored; none overtakes one that was refused before it.
    async fn a_limited_flood_keeps_its_order(engine) {
        let world = World::start(engine).await;
        let (ann, bob) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"));
        let chat = ann.chat_with(&bob).await;
        let mut socket = ann.connect().await;
        let mut left: Vec<_> = (0..60).map(|n| json!({ "chat": chat, "key": key(), "text": n.to_string() })).collect();
        let mut refusals = 0;
        while !left.is_empty() {
            let mut ids = Vec::new();
            for content in &left {
                ids.push(socket.command("msg.send", content.clone()).await);
            }
            let mut refused = Vec::new();
            for (id, content) in ids.into_iter().zip(left) {
                let answer = socket.answer(id).await;
                if answer["ok"].is_null() {
                    assert_eq!(answer["err"]["fatal"], false, "{answer}");
                    refused.push(content);
                }
            }
            refusals += refused.len();
            left = refused;
        }
        assert!(refusals >= 60 - 30, "the limit was met: {refusals}");
        let texts = ann.texts(&chat).await;
        assert_eq!(texts, (0..60).map(|n| n.to_string()).collect::<Vec<_>>());
        world.stop().await;
    }

    /// guarantee:G15, row:D15: a login that was ended loses its sockets within two seconds.
    async fn an_ended_login_loses_its_socket(engine) {
        let world = World::start(engine).await;
        let ann = Person::register(&world, "ann").await;
        let other = ann.another_device().await;
        let (mut kept, mut lost) = (ann.connect().await, other.connect().await);
        let before = tokio::time::Instant::now();
        assert_eq!(ann.delete(&format!("/api/sessions/{}", other.session)).await.status, 204);
        assert_eq!(lost.close_code().await, 4201);
        assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
        // Every process hears of it by itself.
        e2e::eventually("its token is refused", async || other.get("/api/users/me").await.status == 401).await;
        assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
        kept.write(&json!({})).await;
        assert!(kept.during(Duration::from_millis(200)).await.is_empty() && kept.closed.is_none());
        world.stop().await;
    }

    /// row:D15: a token that ends takes its socket along, unless a newer one was given.
    async fn an_expired_token_closes_its_socket(engine) {
        let world = World::with(engine, |config| config.auth.access_ttl = Duration::from_secs(2)).await;
        let ann = Person::register(&world, "ann").await;
        let mut socket = ann.connect().await;
        assert_eq!(socket.close_code().await, 4100);
        world.stop().await;
    }

    /// row:G15, row:G17: the gauge follows the sockets; the sender's own copy counts as received.
    async fn sockets_and_messages_are_counted(engine) {
        let world = World::start(engine).await;
        let (ann, bob) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"));
        let chat = ann.chat_with(&bob).await;
        let before = world.metric("ws_connections", "").await;
        let (mut at_ann, mut at_bob) = tokio::join!(ann.connect(), bob.connect());
        at_ann.watch(&chat).await;
        at_bob.watch(&chat).await;
        eventually("two more", async || world.metric("ws_connections", "").await >= before + 2.0).await;
        for n in 0..5 {
            at_ann.say(&chat, &n.to_string()).await;
        }
        for _ in 0..5 {
            at_bob.message().await;
        }
        assert!(world.metric("ws_gateway_messages_sent_total", "").await >= 5.0);
        assert!(world.metric("ws_gateway_messages_received_total", "").await >= 10.0);
        at_ann.close().await;
        at_bob.close().await;
        world.stop().await;
    }
}
