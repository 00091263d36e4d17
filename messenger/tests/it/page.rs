//! What the public listener answers beside the API.

use crate::installation::{Answer, Installation};

/// What a browser sends when somebody types an address.
const NAVIGATION: &str = "\r\nAccept: text/html,application/xhtml+xml,*/*;q=0.8";

fn is_page(answer: &Answer) -> bool {
    let is_html = answer.text.contains("text/html") || answer.text.contains("make web");
    answer.status == 200 && is_html
}

fn is_not_found(answer: &Answer) -> bool {
    answer.status == 404 && answer.text.contains("application/problem+json")
}

/// The page is there for people; a program that asks for what does not exist is told so.
#[test]
fn what_does_not_exist_is_not_the_page() {
    let here = Installation::new();
    let running = here.run();
    for (path, lines) in [
        ("/", ""),
        ("/", NAVIGATION),
        ("/chats", NAVIGATION),
        ("/some/where", NAVIGATION),
    ] {
        let answer = running.ask("GET", path, lines);
        assert!(is_page(&answer), "{path}: {}", answer.text);
    }
    for path in ["/chats", "/some/where"] {
        for lines in ["", "\r\nAccept: */*", "\r\nAccept: application/json"] {
            let answer = running.ask("GET", path, lines);
            assert!(is_not_found(&answer), "{path}: {}", answer.text);
        }
        let answer = running.ask("POST", path, NAVIGATION);
        assert!(is_not_found(&answer), "{path}: {}", answer.text);
    }
    for path in [
        "/metrics",
        "/healthz",
        "/readyz",
        "/metrics/",
        "/api",
        "/api/",
        "/api/nothing",
        "/ws",
        "/ws/v2",
        "/docs/nothing.js",
        "/openapi/nothing.json",
        "/socket.io/",
        "/favicon.ico",
        "/assets/nothing.js",
        "/.git/config",
        "/.env",
    ] {
        let answer = running.ask("GET", path, NAVIGATION);
        assert!(is_not_found(&answer), "{path}: {}", answer.text);
    }
    assert!(is_not_found(&running.ask("POST", "/api/nothing", "")));
    assert!(
        running
            .ask("GET", "/docs/", NAVIGATION)
            .text
            .contains("swagger")
    );
}
