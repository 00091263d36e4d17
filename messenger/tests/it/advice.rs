//! Asking the AI for advice, as far as it concerns keys.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{commands::register, installation::Installation};

/// row:E14: a key that was used for one question is refused for another, and answers the same one again.
#[test]
fn a_key_names_one_question() {
    let here = Installation::new();
    let running = here.run();
    let (ann, bob) = (register(&running, "ann"), register(&running, "bob"));
    let token = ann["access_token"].as_str();
    let body = json!({ "kind": "private", "user": bob["user"]["id"] });
    let chat = running.post("/api/chats", &body, token).json()["id"].clone();
    let path = |what: &str| format!("/api/chats/{}/{what}", chat.as_str().unwrap());
    let bearer = format!("\r\nAuthorization: Bearer {}", token.unwrap());
    let bound = running.put(&path("binding"), &json!({ "mode": "advice" }), &bearer);
    assert_eq!(bound.status, 200, "{}", bound.text);
    let deadline = Instant::now() + Duration::from_secs(30);
    while running.ask("GET", &path("binding"), &bearer).json()["state"] != "ready" {
        assert!(Instant::now() < deadline, "the binding does not get ready");
        std::thread::sleep(Duration::from_millis(20));
    }

    let key = "01890000-0000-7000-8000-000000000001";
    let ask = |body| running.post(&path("advice"), &body, token);
    let first = ask(json!({ "key": key, "hint": "what now?" }));
    assert_eq!(first.status, 202, "{}", first.text);
    let again = ask(json!({ "key": key, "hint": "what now?" }));
    assert_eq!((again.status, again.json()), (202, first.json()));
    for other in [
        json!({ "key": key, "hint": "what then?" }),
        json!({ "key": key }),
        json!({ "key": key, "hint": "" }),
    ] {
        let refused = ask(other);
        assert_eq!(refused.status, 409, "{}", refused.text);
        assert_eq!(refused.json()["code"], "conflict");
    }
}
