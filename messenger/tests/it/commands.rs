//! The commands beside `run`.

use std::process::Command;

use serde_json::Value;

use crate::installation::{BAD_CONFIG, Database, Installation, files, printed, refuses};

const SERVICES_WITH_TABLES: [&str; 5] = ["user", "auth", "message", "chat", "ai"];

/// Up, up again, down, down again, up: each line says what was done for which service.
fn migrates(command: impl Fn(&[&str]) -> Command) {
    let done = |arguments: &[&str]| {
        let text = printed(command(arguments).output().unwrap());
        let names: Vec<_> = text
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect();
        assert_eq!(names, SERVICES_WITH_TABLES, "{text}");
        text.lines()
            .filter(|line| !line.ends_with("nothing to do"))
            .count()
    };
    let all = SERVICES_WITH_TABLES.len();
    assert_eq!(done(&["migrate", "up"]), all);
    assert_eq!(done(&["migrate", "up"]), 0);
    assert_eq!(done(&["migrate", "down", "99"]), all);
    assert_eq!(done(&["migrate", "down"]), 0);
    assert_eq!(done(&["migrate", "up"]), all);
}

/// row:G04: on SQLite, and the program starts on the result.
#[test]
fn migrations_go_up_and_down_on_sqlite() {
    let here = Installation::new();
    migrates(|arguments| here.messenger(arguments));
    assert_eq!(here.run().private_get("/readyz").0, 200);
}

/// row:G04: on PostgreSQL.
#[test]
fn migrations_go_up_and_down_on_postgresql() {
    let (here, database) = (Installation::new(), Database::new("migrations"));
    migrates(|arguments| {
        let mut command = here.messenger(arguments);
        command.env("DATABASE_URL", &database.url);
        command
    });
}

/// row:G24: whatever is secret in the settings, no command shows it.
#[test]
fn check_and_config_print_no_secret() {
    let here = Installation::new();
    for (arguments, code) in [
        (&["check"][..], 0),
        (&["config"], 0),
        (&["check", "--services", "auth"], BAD_CONFIG),
    ] {
        let mut command = here.messenger(arguments);
        command
            .env("OPENAI_API_KEY", "hidden-word-1")
            .env(
                "MESSENGER_AUTH__SECRET",
                "hidden-word-2-0123456789-0123456789",
            )
            .env(
                "DATABASE_URL",
                "postgres://ann:hidden-word-3@localhost/messenger",
            );
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains("hidden-word"), "{text}");
        assert!(
            code != 0 || text.contains("postgres://ann@localhost/messenger"),
            "{text}"
        );
    }
}

/// What `config` prints is a configuration: it starts the same settings again.
#[test]
fn a_printed_configuration_can_be_read_again() {
    let here = Installation::new();
    let printed = here.prints(&["config"]);
    let without_secrets: Vec<_> = printed
        .lines()
        .filter(|line| !line.ends_with(" = \"\""))
        .collect();
    std::fs::write(here.path("own.toml"), without_secrets.join("\n")).unwrap();
    assert_eq!(here.prints(&["config", "--config", "own.toml"]), printed);
}

/// `check` says where everything is, without touching anything.
#[test]
fn check_prints_every_service_and_starts_nothing() {
    let here = Installation::new();
    let table = here.prints(&["check"]);
    for service in SERVICES_WITH_TABLES.iter().chain(&[
        "notification",
        "ws-gateway",
        "ws-ai-advice",
        "ws-autoreply",
    ]) {
        assert!(
            table
                .lines()
                .any(|line| line.starts_with(service) && line.ends_with("here")),
            "{service}: {table}"
        );
    }
    assert!(!here.path("data").exists());
}

/// row:F01: one OpenAPI document for each service with an HTTP interface, the same at every call.
#[test]
fn openapi_writes_the_documents() {
    let here = Installation::new();
    here.prints(&["openapi", "once"]);
    here.prints(&["openapi", "twice"]);
    let documents = files(&here.path("once"));
    assert_eq!(
        documents.len(),
        5,
        "{:?}",
        documents.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    for (name, text) in &documents {
        let document: Value = serde_json::from_str(text).unwrap();
        assert!(
            document["openapi"].as_str().unwrap().starts_with("3.1"),
            "{name}"
        );
        assert!(!document["paths"].as_object().unwrap().is_empty(), "{name}");
        assert_eq!(
            &std::fs::read_to_string(here.path("twice").join(name)).unwrap(),
            text,
            "{name}"
        );
    }
}

/// row:G37: the log can be looked into while nothing runs; every record is one JSON object.
#[test]
fn log_tail_prints_records_as_json_lines() {
    let here = Installation::new();
    let running = here.run();
    // A chat is a decision that goes through the log.
    let (ann, bob) = (register(&running, "ann"), register(&running, "bob"));
    let body = serde_json::json!({ "kind": "private", "user": bob["user"]["id"] });
    let answer = running.post("/api/chats", &body, ann["access_token"].as_str());
    assert_eq!(answer.status, 201, "{}", answer.text);
    let chat = answer.json()["id"].clone();
    assert!(running.stop().0.success());

    let text = here.prints(&["log", "tail", "chat.message.persist"]);
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let record = records
        .iter()
        .find(|record| record["key"] == chat)
        .unwrap_or_else(|| panic!("{text}"));
    assert_eq!(
        (&record["value"]["t"], &record["value"]["chat"]),
        (&"change".into(), &chat),
        "{record}"
    );
    assert!(
        record["offset"].is_i64() && record["partition"].is_u64(),
        "{record}"
    );
    assert_eq!(
        here.prints(&["log", "tail", "chat.message.ai.feed"]),
        "",
        "nobody has written a message"
    );
    refuses(
        here.messenger(&["log", "tail", "no.such"]),
        crate::installation::CANNOT_START,
        &["no.such"],
    );
}

/// row:G37: after a crash the log goes on above all offsets that were ever given; what is there is found all the same.
#[test]
fn log_tail_finds_records_below_the_gap_of_a_crash() {
    let here = Installation::new();
    let running = here.run();
    let (ann, bob) = (register(&running, "ann"), register(&running, "bob"));
    let body = serde_json::json!({ "kind": "private", "user": bob["user"]["id"] });
    let answer = running.post("/api/chats", &body, ann["access_token"].as_str());
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert!(running.stop().0.success());
    let before = here.prints(&["log", "tail", "chat.message.persist"]);
    assert!(!before.is_empty());
    // Dropping it kills it.
    drop(here.run());
    assert_eq!(
        here.prints(&["log", "tail", "chat.message.persist"]),
        before
    );
}

pub(crate) fn register(running: &crate::installation::Running, name: &str) -> Value {
    let body = serde_json::json!({
        "username": name, "email": format!("{name}@example.org"), "password": "a-long-enough-password", "cookie": false,
    });
    let answer = running.post("/api/register", &body, None);
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()
}
