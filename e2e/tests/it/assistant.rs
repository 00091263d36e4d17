//! The AI beside a person and in a person's place, with the demo provider.

use std::time::Duration;

use e2e::{Engine, Person, World, eventually, key, message_of};
use serde_json::{Value, json};

/// The one open draft of a person.
pub(crate) async fn draft(person: &Person) -> Value {
    let found = parking_lot::Mutex::new(Value::Null);
    eventually("a draft", async || {
        let runs = person.get("/api/ai/runs?open=true").await.ok();
        let held = runs["runs"]
            .as_array()
            .unwrap()
            .iter()
            .find(|run| run["state"] == "held")
            .cloned();
        held.is_some_and(|run| {
            *found.lock() = run;
            true
        })
    })
    .await;
    found.into_inner()
}

/// The run, when it has reached `state`.
pub(crate) async fn run_in(person: &Person, run: &str, state: &str) -> Value {
    let path = format!("/api/ai/runs/{run}");
    let found = parking_lot::Mutex::new(Value::Null);
    eventually(&format!("run {state}"), async || {
        let answer = person.get(&path).await;
        let there = answer.body["state"] == state;
        *found.lock() = answer.body;
        there
    })
    .await;
    found.into_inner()
}

async fn pair(world: &World) -> (Person, Person, String) {
    let (ann, bob) = tokio::join!(
        Person::register(world, "ann"),
        Person::register(world, "bob")
    );
    let chat = ann.chat_with(&bob).await;
    (ann, bob, chat)
}

scenarios! {
    /// row:E01, row:E05, row:E06, row:E08, row:E09, row:E35: bind, see it as the other side, change the mode, remove.
    async fn a_binding_is_visible_and_can_be_changed_and_removed(engine) {
        let world = World::start(engine).await;
        let (ann, bob, chat) = pair(&world).await;
        let path = format!("/api/chats/{chat}/binding");
        assert_eq!(ann.get(&path).await.status, 404);
        assert_eq!(ann.put(&path, json!({ "mode": "magic" })).await.status, 400);
        let bound = ann.bind(&chat, "advice").await;
        let thread = bound["thread"].clone();
        assert!(thread.is_string());
        let seen = bob.get(&format!("/api/chats/{chat}")).await.ok();
        assert_eq!((&seen["bindings"][0]["owner"], &seen["bindings"][0]["state"]), (&json!(ann.id), &json!("ready")));
        let changed = ann.bind(&chat, "autoreply").await;
        assert_eq!((&changed["mode"], &changed["thread"]), (&json!("autoreply"), &thread));
        assert_eq!(ann.delete(&path).await.status, 204);
        assert_eq!(ann.get(&path).await.status, 404);
        assert_eq!(bob.get(&format!("/api/chats/{chat}")).await.ok()["bindings"], json!([]));
        world.stop().await;
    }

    /// row:E03: a stranger can neither bind nor see.
    async fn strangers_cannot_bind(engine) {
        let world = World::start(engine).await;
        let (_, _, chat) = pair(&world).await;
        let eve = Person::register(&world, "eve").await;
        assert_eq!(eve.put(&format!("/api/chats/{chat}/binding"), json!({ "mode": "advice" })).await.status, 404);
        assert_eq!(eve.post(&format!("/api/chats/{chat}/advice"), json!({ "key": key() })).await.status, 404);
        world.stop().await;
    }

    /// row:E13, row:E15, row:E30, row:G31: advice grows on both devices of the owner, also at two gateways, and nobody else sees any
    /// of it.
    async fn advice_grows_on_all_devices_of_its_owner_only(engine) {
        let world = World::start(engine).await;
        let (ann, bob, chat) = pair(&world).await;
        bob.say(&chat, "shall we meet at noon?").await;
        ann.bind(&chat, "advice").await;
        let (mut first, mut second) = (ann.clone(), ann.another_device().await);
        if engine == Engine::Split {
            (first.server, second.server) = (world.http("ws-gateway", 0), world.http("ws-gateway", 1));
        }
        let (mut one, mut two, mut other) = (first.connect().await, second.connect().await, bob.connect().await);
        other.watch(&chat).await;
        let asked = ann.post(&format!("/api/chats/{chat}/advice"), json!({ "key": key() })).await;
        assert_eq!(asked.status, 202, "{}", asked.body);
        let run = asked.body["run"].as_str().unwrap().to_owned();
        let mut texts = Vec::new();
        for socket in [&mut one, &mut two] {
            let (mut pieces, mut whole) = (0, String::new());
            let done = loop {
                let frame = socket.wait(|frame| frame["d"]["run"] == run.as_str()).await;
                match frame["t"].as_str().unwrap() {
                    "ai.delta" => {
                        pieces += 1;
                        assert_eq!(frame["d"]["n"], pieces, "{frame}");
                        whole.push_str(frame["d"]["text"].as_str().unwrap());
                    }
                    "ai.run" if frame["d"]["state"] == "done" => break frame,
                    _ => {}
                }
            };
            assert!(pieces >= 3, "{pieces} pieces");
            assert_eq!(done["d"]["text"], whole.as_str());
            texts.push(whole);
        }
        assert_eq!(texts[0], texts[1]);
        let leaked = other.during(Duration::from_millis(200)).await;
        assert!(leaked.iter().all(|frame| !frame.to_string().contains(&run)), "{leaked:?}");
        assert_eq!(bob.get(&format!("/api/ai/runs/{run}")).await.status, 404);
        assert_eq!(ann.history(&chat).await.len(), 1, "advice is no message");
        world.stop().await;
    }

    /// row:E16: an owner who was away finds the advice.
    async fn advice_waits_for_an_offline_owner(engine) {
        let world = World::start(engine).await;
        let (ann, bob, chat) = pair(&world).await;
        bob.say(&chat, "hello").await;
        ann.bind(&chat, "advice").await;
        let (path, key) = (format!("/api/chats/{chat}/advice"), key());
        let run = ann.post(&path, json!({ "key": key })).await.ok()["run"].as_str().unwrap().to_owned();
        let again = ann.post(&path, json!({ "key": key })).await.ok();
        assert_eq!(again["run"], run.as_str(), "the same key is the same run");
        let done = run_in(&ann, &run, "done").await;
        assert!(!done["text"].as_str().unwrap().is_empty());
        assert_eq!(ann.get("/api/ai/runs").await.ok()["runs"].as_array().unwrap().len(), 1);
        world.stop().await;
    }

    /// row:E14: advice needs a binding of that kind that works.
    async fn advice_is_refused_where_it_does_not_apply(engine) {
        let world = World::start(engine).await;
        let (ann, _, chat) = pair(&world).await;
        let ask = async || {
            let answer = ann.post(&format!("/api/chats/{chat}/advice"), json!({ "key": key() })).await;
            (answer.status, answer.code().to_owned())
        };
        assert_eq!(ask().await, (404, "not_found".to_owned()));
        ann.bind(&chat, "autoreply").await;
        assert_eq!(ask().await, (409, "wrong_mode".to_owned()));
        world.stop().await;
    }

    /// row:E02, row:E18, row:E19, row:E20, row:E21: a draft is approved and becomes a labelled message, the same for
    /// everybody, live and in history.
    async fn an_approved_draft_is_a_labelled_message(engine) {
        let world = World::start(engine).await;
        let (ann, bob, chat) = pair(&world).await;
        ann.bind(&chat, "autoreply").await;
        let (mut at_ann, mut at_bob) = tokio::join!(ann.connect(), bob.connect());
        at_bob.watch(&chat).await;
        bob.say(&chat, "are you coming?").await;
        at_bob.message().await;
        let held = draft(&ann).await;
        at_ann.wait(|frame| frame["t"] == "ai.hold" && frame["d"]["run"] == held["run"]).await;
        let run = held["run"].as_str().unwrap();
        assert_eq!(ann.history(&chat).await.len(), 1, "nothing is said before approval");
        assert_eq!(bob.post(&format!("/api/ai/runs/{run}/approve"), json!({})).await.status, 404);
        let approved = ann.post(&format!("/api/ai/runs/{run}/approve"), json!({})).await;
        assert_eq!(approved.status, 200, "{}", approved.body);
        let event = at_bob.message().await;
        let message = message_of(&event);
        let via = message.via.clone().unwrap();
        assert_eq!((message.auto, message.author.to_string()), (contracts::message::Auto::Replied, ann.id.clone()));
        assert_eq!((via.run.to_string().as_str(), via.edited), (run, Some(false)));
        assert_eq!(via.approved_by.map(|user| user.to_string()), Some(ann.id.clone()));
        assert_eq!(message.text, held["text"].as_str().unwrap());
        assert_eq!(bob.history(&chat).await[1], event["d"]);
        run_in(&ann, run, "done").await;
        let again = ann.post(&format!("/api/ai/runs/{run}/approve"), json!({})).await.ok();
        assert_eq!(again["state"], "done", "approving twice says it once");
        assert_eq!(ann.history(&chat).await.len(), 2);
        world.stop().await;
    }

    /// An edited draft says so; a discarded one is never said.
    async fn a_draft_can_be_edited_or_discarded(engine) {
        let world = World::start(engine).await;
        let (ann, bob, chat) = pair(&world).await;
        ann.bind(&chat, "autoreply").await;
        bob.say(&chat, "one?").await;
        let run = draft(&ann).await["run"].as_str().unwrap().to_owned();
        ann.post(&format!("/api/ai/runs/{run}/approve"), json!({ "text": "my own words" })).await.ok();
        eventually("the reply", async || ann.history(&chat).await.len() == 2).await;
        let message = &bob.history(&chat).await[1];
        assert_eq!((&message["text"], &message["via"]["edited"]), (&json!("my own words"), &json!(true)));
        bob.say(&chat, "two?").await;
        let run = draft(&ann).await["run"].as_str().unwrap().to_owned();
        ann.post(&format!("/api/ai/runs/{run}/discard"), json!({})).await.ok();
        run_in(&ann, &run, "cancelled").await;
        assert_eq!(ann.post(&format!("/api/ai/runs/{run}/approve"), json!({})).await.status, 409);
        assert_eq!(bob.history(&chat).await.len(), 3);
        world.stop().await;
    }

    /// Guard 8: a newer message makes a draft stale; approving it is a conflict, and there is a new one.
    async fn a_newer_message_makes_a_draft_stale(engine) {
        let world = World::start(engine).await;
        let (ann, bob, chat) = pair(&world).await;
        ann.bind(&chat, "autoreply").await;
        bob.say(&chat, "lunch?").await;
        let stale = draft(&ann).await["run"].as_str().unwrap().to_owned();
        bob.say(&chat, "no, dinner").await;
        eventually("the draft is stale", async || {
            ann.get(&format!("/api/ai/runs/{stale}")).await.body["state"] == "superseded"
        })
        .await;
        let refused = ann.post(&format!("/api/ai/runs/{stale}/approve"), json!({})).await;
        assert_eq!((refused.status, refused.code()), (409, "superseded"));
        let fresh = draft(&ann).await;
        assert_ne!(fresh["run"], stale.as_str());
        assert_eq!(bob.history(&chat).await.len(), 2);
        world.stop().await;
    }

    /// row:E18, row:E24, guard 10: with immediate release the reply comes after its delay, without anybody.
    async fn an_immediate_reply_comes_after_its_delay(engine) {
        let world = World::start(engine).await;
        let (ann, bob, chat) = pair(&world).await;
        ann.bind(&chat, "autoreply").await;
        ann.put(&format!("/api/ai/settings/{chat}"), json!({ "release": "immediate", "advice_on_message": false })).await.ok();
        bob.say(&chat, "anybody there?").await;
        eventually("the reply", async || bob.history(&chat).await.len() == 2).await;
        let message = &bob.history(&chat).await[1];
        assert_eq!((&message["auto"], &message["author"]), (&json!("replied"), &json!(ann.id)));
        assert_eq!(message["via"]["approved_by"], Value::Null);
        world.stop().await;
    }

    /// row:E21, guard 3: the owner's own words get no answer, and while the owner is there nothing goes out alone.
    async fn the_owner_comes_first(engine) {
        let world = World::start(engine).await;
        let (ann, bob, chat) = pair(&world).await;
        ann.bind(&chat, "autoreply").await;
        ann.put(&format!("/api/ai/settings/{chat}"), json!({ "release": "immediate", "advice_on_message": false })).await.ok();
        ann.say(&chat, "I am here").await;
        bob.say(&chat, "good").await;
        let held = draft(&ann).await;
        assert!(held["why"].is_string(), "the draft says what holds it: {held}");
        assert_eq!(bob.history(&chat).await.len(), 2);
        world.stop().await;
    }

    /// row:E22, guarantee:G16: two that answer for their owners do not talk to each other.
    async fn two_replying_owners_do_not_loop(engine) {
        let world = World::start(engine).await;
        let (ann, bob, chat) = pair(&world).await;
        for person in [&ann, &bob] {
            person.bind(&chat, "autoreply").await;
            person.put(&format!("/api/ai/settings/{chat}"), json!({ "release": "immediate", "advice_on_message": false })).await.ok();
        }
        bob.say(&chat, "hello?").await;
        eventually("the reply", async || ann.history(&chat).await.len() == 2).await;
        let mut socket = ann.connect().await;
        socket.watch(&chat).await;
        let more = socket.during(Duration::from_secs(3)).await;
        assert!(more.iter().all(|frame| frame["t"] != "msg.new"), "{more:?}");
        assert_eq!(ann.history(&chat).await.len(), 2);
        world.stop().await;
    }

    /// row:E25, guard 8: a binding that goes away during the delay takes its reply along.
    async fn a_removed_binding_says_nothing_more(engine) {
        let world = World::with(engine, |config| {
            config.ai.limits.delay_min = Duration::from_millis(1500);
            config.ai.limits.delay_max = Duration::from_millis(1500);
        }).await;
        let (ann, bob, chat) = pair(&world).await;
        ann.bind(&chat, "autoreply").await;
        ann.put(&format!("/api/ai/settings/{chat}"), json!({ "release": "immediate", "advice_on_message": false })).await.ok();
        bob.say(&chat, "hello?").await;
        eventually("the delay", async || {
            ann.get("/api/ai/runs?open=true").await.ok()["runs"].as_array().unwrap().iter().any(|run| run["state"] == "sending")
        })
        .await;
        ann.delete(&format!("/api/chats/{chat}/binding")).await;
        let mut socket = bob.connect().await;
        socket.watch(&chat).await;
        let more = socket.during(Duration::from_millis(2500)).await;
        assert!(more.iter().all(|frame| frame["t"] != "msg.new"), "{more:?}");
        assert_eq!(bob.history(&chat).await.len(), 1);
        world.stop().await;
    }

    /// row:E04, row:E11, row:E12: two people bind one chat and each AI knows the whole conversation.
    async fn each_binding_has_a_thread_of_its_own(engine) {
        let world = World::start(engine).await;
        let (ann, bob, chat) = pair(&world).await;
        let (one, two) = (ann.bind(&chat, "advice").await, bob.bind(&chat, "advice").await);
        assert_ne!(one["thread"], two["thread"]);
        ann.say(&chat, "the code word is walnut").await;
        for (person, word) in [(&bob, "walnut"), (&ann, "hazel")] {
            if word == "hazel" {
                bob.say(&chat, "mine is hazel").await;
            }
            let run = person.post(&format!("/api/chats/{chat}/advice"), json!({ "key": key() })).await.ok();
            let done = run_in(person, run["run"].as_str().unwrap(), "done").await;
            assert!(done["text"].as_str().unwrap().contains(word), "the demo answers to the last message of the other: {done}");
        }
        world.stop().await;
    }

    /// row:E34: what is over the quota is refused at once, and a retry of what was granted is not.
    async fn a_quota_ends_the_asking(engine) {
        // The first call makes the binding.
        let world = World::with(engine, |config| config.ai.limits.calls_per_day = 3).await;
        let (ann, bob, chat) = pair(&world).await;
        bob.say(&chat, "hello").await;
        ann.bind(&chat, "advice").await;
        let path = format!("/api/chats/{chat}/advice");
        let mut last = json!(null);
        for _ in 0..2 {
            last = json!({ "key": key() });
            let run = ann.post(&path, last.clone()).await.ok();
            run_in(&ann, run["run"].as_str().unwrap(), "done").await;
        }
        let refused = ann.post(&path, json!({ "key": key() })).await;
        assert_eq!((refused.status, refused.code()), (429, "quota"));
        assert!(refused.retry_after.is_some_and(|seconds| seconds <= 86_400));
        assert_eq!(ann.post(&path, last).await.status, 202);
        // Others have a budget of their own, and so does whoever binds.
        bob.bind(&chat, "advice").await;
        let run = bob.post(&path, json!({ "key": key() })).await.ok();
        run_in(&bob, run["run"].as_str().unwrap(), "done").await;
        world.stop().await;
    }

    /// Who binds and unbinds all the time is slowed down: each new binding is a call to the provider.
    async fn bindings_are_limited(engine) {
        let world = World::with(engine, |config| config.chat.bindings_per_minute = 4).await;
        let (ann, bob, chat) = pair(&world).await;
        let path = format!("/api/chats/{chat}/binding");
        for _ in 0..2 {
            ann.put(&path, json!({ "mode": "advice" })).await.ok();
            ann.delete(&path).await;
        }
        let refused = ann.put(&path, json!({ "mode": "advice" })).await;
        assert_eq!((refused.status, refused.code()), (429, "rate_limited"));
        bob.put(&path, json!({ "mode": "advice" })).await.ok();
        world.stop().await;
    }

    /// row:E16, row:E20: a restart in the middle loses neither drafts nor what was approved.
    async fn drafts_survive_a_restart(engine) {
        let world = World::start(engine).await;
        let (mut ann, mut bob, chat) = pair(&world).await;
        ann.bind(&chat, "autoreply").await;
        bob.say(&chat, "still there?").await;
        let run = draft(&ann).await["run"].as_str().unwrap().to_owned();
        let world = world.restart().await;
        ann.server = world.public;
        bob.server = world.public;
        assert_eq!(draft(&ann).await["run"], run.as_str());
        ann.post(&format!("/api/ai/runs/{run}/approve"), json!({})).await.ok();
        eventually("the reply", async || bob.history(&chat).await.len() == 2).await;
        world.stop().await;
    }
}
