//! docs/api/asyncapi.json describes the records that the code reads and writes. Those of a running program are compared with it
//! by e2e/foreign.

use std::collections::BTreeSet;

use contracts::{
    ai::{Advice, Run},
    events::{AdviceRequest, Autoreply, BindingInit, Feed, Persist, ThreadCreated, Topics},
    frames::{Answer, ChatRef, Projected},
    message::{Marks, Message},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

fn document() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api/asyncapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The code reads an example and writes the very same.
fn is_read<T: DeserializeOwned + Serialize>(example: &Value) {
    let record: T = serde_json::from_value(example.clone()).unwrap();
    assert_eq!(&serde_json::to_value(&record).unwrap(), example);
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// A schema describes every field of an example and demands none that it has not; also of the objects in it.
fn is_described(schema: &Value, example: &Value, place: &str) {
    let Some(properties) = schema.get("properties") else {
        return;
    };
    let (known, given) = (names(properties), names(example));
    assert!(given.is_subset(&known), "{place}: {given:?} in {known:?}");
    for required in schema["required"].as_array().unwrap() {
        assert!(
            given.contains(required.as_str().unwrap()),
            "{place}: {required} is missing"
        );
    }
    for name in given {
        is_described(
            &properties[&name],
            &example[&name],
            &format!("{place}.{name}"),
        );
    }
}

/// row:F03: the topics are those of the code, and every example is a record that the code reads and would write so.
#[test]
fn the_topics_are_described_as_they_are() {
    let document = document();
    let topics = serde_json::to_value(Topics::default()).unwrap();
    let mut named = names(&topics);
    named.remove("dead_letter_prefix");
    assert_eq!(names(&document["channels"]), named);
    let mut used = BTreeSet::new();
    for (name, channel) in document["channels"].as_object().unwrap() {
        assert_eq!(channel["address"], topics[name], "{name}");
        used.extend(names(&channel["messages"]));
    }
    let messages = document["components"]["messages"].as_object().unwrap();
    assert_eq!(used, messages.keys().cloned().collect());
    for (name, message) in messages {
        for example in message["examples"].as_array().unwrap() {
            let example = &example["payload"];
            is_described(&message["payload"], example, name);
            match name.as_str() {
                "send" | "change" => is_read::<Persist>(example),
                "event" => is_read::<Message>(&example["d"]),
                // Clients read it; nothing in Rust does.
                "decision" => {}
                "marks" => is_read::<Marks>(&example["d"]),
                "answer" => is_read::<Answer>(&example["d"]),
                "projected" => is_read::<Projected>(&example["d"]),
                "membership" => is_read::<ChatRef>(&example["d"]),
                "run" => is_read::<Run>(&example["d"]),
                "feed" => is_read::<Feed>(example),
                "autoreply" => is_read::<Autoreply>(example),
                "advice-request" => is_read::<AdviceRequest>(example),
                "advice" => is_read::<Advice>(example),
                "binding-init" => is_read::<BindingInit>(example),
                "thread-created" => is_read::<ThreadCreated>(example),
                other => panic!("{other} is not known here"),
            }
        }
    }
}
