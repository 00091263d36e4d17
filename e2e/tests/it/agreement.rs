//! What is heard live and what is read later are the same thing.

use std::collections::BTreeMap;

use e2e::{Person, World, key};
use serde_json::{Value, json};

scenarios! {
    /// guarantee:G10, guarantee:G7, guarantee:G4, row:C06: two people answer each other in turns; what one device heard live, another one read by
    /// pulling and a third in the history are equal to the letter, and an answer stands after what it answers.
    async fn live_pulled_and_stored_are_equal(engine) {
        let world = World::start(engine).await;
        let (ann, bob) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"));
        let chat = ann.chat_with(&bob).await;
        let (mut at_ann, mut at_bob) = tokio::join!(ann.connect(), bob.connect());
        let start = at_ann.watch(&chat).await;
        at_bob.watch(&chat).await;
        let mut live = BTreeMap::new();
        let mut answered = Value::Null;
        for n in 0..20 {
            let text = format!("{n}: \"quoted\" \\ ü 😀 <b>\n");
            let (from, to) = if n % 2 == 0 { (&mut at_ann, &mut at_bob) } else { (&mut at_bob, &mut at_ann) };
            let mut content = json!({ "chat": chat, "key": key(), "text": text });
            if answered["d"].is_object() {
                content["reply_to"] = answered["d"]["id"].clone();
            }
            let stored = from.ask("msg.send", content).await;
            let event = to.wait(|frame| frame["d"]["text"] == text.as_str()).await;
            assert_eq!(event["o"], stored["ok"]["o"]);
            assert!(answered["o"].as_i64() < event["o"].as_i64(), "an answer stands after what it answers");
            assert_eq!(event["d"]["reply_to"], answered["d"]["id"]);
            live.insert(event["o"].as_i64().unwrap(), event["d"].clone());
            answered = event;
        }
        let pulled = at_ann.ask("pull", json!({ "s": format!("c:{chat}"), "e": start["e"], "after": 0, "limit": 200 })).await;
        let events = pulled["ok"]["events"].as_array().unwrap().clone();
        let places: Vec<_> = events.iter().map(|event| event["o"].as_i64().unwrap()).collect();
        assert_eq!(places, (1..=pulled["ok"]["o"].as_i64().unwrap()).collect::<Vec<_>>());
        let messages = events.iter().filter(|event| event["t"] == "msg.new");
        let pulled: BTreeMap<_, _> = messages.map(|event| (event["o"].as_i64().unwrap(), event["d"].clone())).collect();
        let history = bob.history(&chat).await;
        let stored: BTreeMap<_, _> = history.into_iter().map(|message| (message["o"].as_i64().unwrap(), message)).collect();
        assert_eq!(live, stored);
        assert_eq!(pulled, stored);
        world.stop().await;
    }
}
