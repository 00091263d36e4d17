//! What the program refuses: with an exit code of its own and one line that says what to do.

use std::{fs, net::TcpListener};

use crate::installation::{BAD_CONFIG, CANNOT_START, Installation, refuses, troubles};

/// row:G03: a mistake in a file names the file, the line and the key.
#[test]
fn an_unknown_key_in_a_file_names_itself() {
    let here = Installation::new();
    fs::write(here.path("wrong.toml"), "partitions = 4\npartitons = 4\n").unwrap();
    for command in ["run", "check", "config"] {
        let line = refuses(
            here.messenger(&[command, "--config", "wrong.toml"]),
            BAD_CONFIG,
            &["wrong.toml", "line 2", "partitons"],
        );
        assert!(
            line.contains("partitions"),
            "the known keys are named: {line}"
        );
    }
    refuses(
        here.messenger(&["run", "--config", "absent.toml"]),
        BAD_CONFIG,
        &["absent.toml"],
    );
    assert!(!here.path("data").exists(), "nothing was touched");
}

/// row:G03: a mistake in the environment names the variable.
#[test]
fn an_unknown_key_or_a_bad_value_in_the_environment_names_itself() {
    let here = Installation::new();
    for (name, value) in [
        ("MESSENGER_PARTITONS", "4"),
        ("MESSENGER_PARTITIONS", "many"),
        ("MESSENGER_HTTP__PORT", "8080"),
        ("MESSENGER_AI__PROVIDER", "oracle"),
        ("CHAT_MESSAGE_PERSIST_WORKER_COUNT", "-1"),
    ] {
        let mut command = here.messenger(&["run"]);
        command.env(name, value);
        refuses(command, BAD_CONFIG, &[name]);
    }
}

/// row:G03: an unknown service is answered with the known ones.
#[test]
fn an_unknown_service_is_answered_with_the_known_ones() {
    let here = Installation::new();
    refuses(
        here.messenger(&["run", "--services", "auth,chatt"]),
        BAD_CONFIG,
        &[
            "`chatt`",
            "auth",
            "user",
            "chat",
            "message",
            "ai",
            "notification",
            "ws-gateway",
            "ws-ai-advice",
            "ws-autoreply",
        ],
    );
}

/// row:G03: a part of the services on engines that live in one process cannot work, and the line says which and why; a secret
/// that they need is asked for by its name.
#[test]
fn a_split_on_embedded_engines_is_refused_with_the_reason() {
    let here = Installation::new();
    for command in ["run", "check"] {
        let lines = troubles(here.messenger(&[command, "--services", "auth"]), BAD_CONFIG);
        for (line, setting) in lines.iter().zip(["log = ", "sql = ", "cache = "]) {
            for word in [setting, "lives in one process", "message"] {
                assert!(line.contains(word), "`{word}` is missing: {line}");
            }
        }
        assert!(lines[3].contains("rpc.secret must be set"), "{lines:?}");
        assert_eq!(lines.len(), 4, "{lines:?}");
    }
}

/// Settings that a service refuses stop the start as well, and `check` says the same before.
#[test]
fn a_setting_out_of_bounds_names_itself() {
    let here = Installation::new();
    for (name, value, word) in [
        ("MESSENGER_PARTITIONS", "0", "partitions"),
        ("MESSENGER_LOG_FILTER", "info,kit=loud", "log_filter"),
        ("MESSENGER_HTTP__PUBLIC", "127.0.0.1:9191", "same port"),
        ("MESSENGER_EVENTLOG__MEMORY_BYTES", "1", "memory_bytes"),
        ("MESSENGER_LOG", "embedded:/", "embedded:/"),
        ("MESSENGER_SQL", "mysql://localhost", "sqlite:"),
        ("MESSENGER_CACHE", "memory:ann:hidden-word", "cache"),
        ("MESSENGER_AI__CONCURRENCY", "0", "ai.concurrency"),
        ("MESSENGER_AI__PROXY", "::hidden-word", "ai.proxy"),
        ("MESSENGER_AUTH__ACCESS_TTL", "25h", "auth.access_ttl"),
        ("MESSENGER_AUTH__ACCESS_TTL", "0s", "auth.access_ttl"),
        ("MESSENGER_AUTH__SECRET", "hidden-word", "auth.secret"),
        ("MESSENGER_AUTH__PUBLIC_URL", "chat.example", "public_url"),
        ("MESSENGER_AUTH__PUBLIC_URL", "http://a b", "public_url"),
        ("CHAT_MESSAGE_PERSIST_WORKER_COUNT", "65", "persist_workers"),
        (
            "MESSENGER_WS_GATEWAY__SOCKETS__QUEUE_BYTES",
            "1",
            "ws-gateway.sockets.queue_bytes",
        ),
        (
            "MESSENGER_WS_GATEWAY__PRESENCE__GRACE",
            "31s",
            "ws-gateway.presence.grace",
        ),
        (
            "MESSENGER_WS_AI_ADVICE__SOCKETS__COMMAND_BURST",
            "0",
            "ws-ai-advice.sockets",
        ),
        ("TOPIC_AI_FEED", "two words", "`two words`"),
        ("TOPIC_AI_FEED", "chat.message.forward", "two topics"),
        ("KAFKA_BROKERS", "localhost", "kafka://HOST:PORT"),
        ("REDIS_URL", "redis://:hidden-word@", "redis://"),
    ] {
        for arguments in ["run", "check"] {
            let mut command = here.messenger(&[arguments]);
            command
                .env("MESSENGER_HTTP__PRIVATE", "127.0.0.1:9191")
                .env(name, value);
            if name == "MESSENGER_AI__PROXY" {
                command.env("MESSENGER_AI__PROVIDER", "chat_completions");
            }
            let line = refuses(command, BAD_CONFIG, &[word]);
            assert!(!line.contains("hidden-word"), "{name}={value}: {line}");
        }
    }
    assert!(!here.path("data").exists(), "nothing was touched");
}

/// `check` and `run` name everything that is wrong at once.
#[test]
fn every_trouble_has_a_line_of_its_own() {
    let here = Installation::new();
    fs::write(here.path("data"), "not a folder").unwrap();
    for arguments in ["run", "check"] {
        let mut command = here.messenger(&[arguments]);
        command
            .env("MESSENGER_AUTH__SECRET", "short")
            .env("MESSENGER_AUTH__ACCESS_TTL", "0s")
            .env("MESSENGER_AUTH__PUBLIC_URL", "nowhere")
            .env("MESSENGER_LOG_FILTER", "=")
            .env("MESSENGER_PARTITIONS", "0");
        let lines = troubles(command, BAD_CONFIG);
        for word in [
            "auth.secret",
            "auth.access_ttl",
            "auth.public_url",
            "log_filter",
            "partitions",
            "data folder",
        ] {
            let named = lines.iter().filter(|line| line.contains(word)).count();
            assert_eq!(named, 1, "{word}: {lines:?}");
        }
        assert_eq!(lines.len(), 6, "{lines:?}");
    }
}

/// A busy port is named; both listeners.
#[test]
fn a_busy_port_names_the_address() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    for listener in ["MESSENGER_HTTP__PUBLIC", "MESSENGER_HTTP__PRIVATE"] {
        let here = Installation::new();
        let mut command = here.messenger(&["run"]);
        command.env(listener, &address);
        refuses(command, CANNOT_START, &[&address, "in use"]);
    }
}

/// row:G11: a data folder that cannot be one is named; a file in its place, since permissions do not stop root.
#[test]
fn a_file_in_place_of_the_data_folder_is_named() {
    let here = Installation::new();
    fs::write(here.path("data"), "not a folder").unwrap();
    for arguments in [&["run"][..], &["check"], &["migrate", "up"]] {
        refuses(
            here.messenger(arguments),
            CANNOT_START,
            &["data folder", "data"],
        );
    }
    for arguments in ["run", "check"] {
        for folder in ["data/deeper", "/proc/sys/messenger"] {
            let mut command = here.messenger(&[arguments]);
            command.env("MESSENGER_DATA", folder);
            refuses(command, CANNOT_START, &[folder]);
        }
    }
    assert_eq!(
        fs::read_to_string(here.path("data")).unwrap(),
        "not a folder"
    );
}

/// A second process on the same folder is told so, and the first one does not notice.
#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let here = Installation::new();
    let first = here.run();
    for arguments in [
        &["run"][..],
        &["log", "tail", "chat.message.persist"],
        &["migrate", "up"],
    ] {
        refuses(
            here.messenger(arguments),
            CANNOT_START,
            &["in use by another"],
        );
    }
    assert_eq!(first.private_get("/readyz").0, 200);
}

/// A file that is no store or log of ours is named and left as it is.
#[test]
fn a_foreign_file_is_named_and_not_touched() {
    let text = "somebody's diary";
    for (file, words) in [
        ("user.db", "is not a store of messenger"),
        ("log.db", "is not an event log of this program"),
    ] {
        let here = Installation::new();
        fs::create_dir(here.path("data")).unwrap();
        let path = here.path("data").join(file);
        fs::write(&path, text).unwrap();
        refuses(here.messenger(&["run"]), CANNOT_START, &[file, words]);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

/// row:G03: on a database server the key that seals signing keys has to be chosen; it is asked for by its name.
#[test]
fn a_server_without_a_secret_is_refused() {
    let database = crate::installation::Database::new("secret");
    let here = Installation::new();
    let with = |arguments: &[&str]| {
        let mut command = here.messenger(arguments);
        command.env("DATABASE_URL", &database.url);
        command
    };
    assert!(with(&["migrate", "up"]).output().unwrap().status.success());
    for command in ["run", "check"] {
        refuses(with(&[command]), BAD_CONFIG, &["auth.secret"]);
    }
}
