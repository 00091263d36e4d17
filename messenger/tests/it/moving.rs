//! `messenger move`, as an operator meets it. What people see of a move is in the scenarios.

use std::{fs, process::Command};

use kit::{Ids as _, RandomIds};
use serde_json::{Value, json};

use crate::{
    commands::register,
    installation::{BAD_CONFIG, CANNOT_START, Database, Installation, Running, printed, refuses},
};

/// Somebody with a login, and a chat in which something was said.
struct Life {
    token: String,
    chat: String,
}

impl Life {
    fn begin(running: &Running) -> Self {
        let (ann, bob) = (register(running, "ann"), register(running, "bob"));
        let token = ann["access_token"].as_str().unwrap().to_owned();
        let body = json!({ "kind": "private", "user": bob["user"]["id"] });
        let answer = running.post("/api/chats", &body, Some(&token));
        assert_eq!(answer.status, 201, "{}", answer.text);
        let chat = answer.json()["id"].as_str().unwrap().to_owned();
        let life = Self { token, chat };
        life.say(running, "first");
        life
    }

    fn say(&self, running: &Running, text: &str) {
        let body = json!({ "key": RandomIds.next(), "text": text });
        let path = format!("/api/messages/{}", self.chat);
        let answer = running.post(&path, &body, Some(&self.token));
        assert_eq!(answer.status, 201, "{}", answer.text);
    }

    fn said(&self, running: &Running) -> Vec<String> {
        let line = format!("\r\nAuthorization: Bearer {}", self.token);
        let answer = running.ask("GET", &format!("/api/messages/{}", self.chat), &line);
        assert_eq!(answer.status, 200, "{}", answer.text);
        let page: Value = answer.json();
        let texts = page["messages"].as_array().unwrap().iter();
        texts
            .map(|message| message["text"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// An installation that has lived for a moment and stands still.
fn lived() -> (Installation, Life) {
    let here = Installation::new();
    let running = here.run();
    let life = Life::begin(&running);
    assert!(running.stop().0.success());
    (here, life)
}

fn on(database: &Database, mut command: Command, secret: &str) -> Command {
    command
        .env("DATABASE_URL", &database.url)
        .env("MESSENGER_AUTH__SECRET", secret);
    command
}

/// Starts the installation on the database, with the secret of its data folder.
fn start_on(here: &Installation, database: &Database) -> Running {
    let secret = fs::read_to_string(here.path("data/auth.key")).unwrap();
    let command = on(database, here.messenger(&["run"]), secret.trim());
    Running::start(command).ready()
}

fn moving(here: &Installation, database: &Database) -> Command {
    here.messenger(&["move", "--to", &database.url])
}

/// row:G04, guarantee:G1: everything goes along, logins too; the last line says what to set, and that is all that is needed.
#[test]
fn an_installation_lives_on_where_it_was_moved() {
    let (here, life) = lived();
    let database = Database::new("moved");
    let text = printed(moving(&here, &database).output().unwrap());
    for word in [
        "copying message.event: 2 rows",
        "comparing user.account: 2 rows",
        "the same on both sides",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let last = text.lines().last().unwrap();
    let file = here.path("data").canonicalize().unwrap().join("auth.key");
    for word in [
        &format!("DATABASE_URL={}", database.url),
        &format!("$(cat '{}')", file.display()),
    ] {
        assert!(last.contains(word), "{last}");
    }
    // As it says, by a shell.
    let (_, start) = last.split_once("there: ").unwrap();
    let mut shell = Command::new("sh");
    let start = start.replace(
        "messenger run",
        &format!("exec {} run", env!("CARGO_BIN_EXE_messenger")),
    );
    shell
        .args(["-c", &start])
        .env_clear()
        .current_dir(here.path(""));
    shell
        .env("PATH", "/usr/bin:/bin")
        .env("MESSENGER_HTTP__PUBLIC", "127.0.0.1:0")
        .env("MESSENGER_HTTP__PRIVATE", "127.0.0.1:0");
    let running = Running::start(shell).ready();
    life.say(&running, "second");
    assert_eq!(life.said(&running), ["first", "second"]);
    assert!(running.stop().0.success());
}

/// Two processes never have one data folder: a move waits for nobody.
#[test]
fn a_running_installation_is_not_moved() {
    let here = Installation::new();
    let database = Database::new("running");
    let running = here.run();
    refuses(
        moving(&here, &database),
        CANNOT_START,
        &["to be moved", "in use by another running messenger"],
    );
    assert!(running.stop().0.success());
}

/// What is somebody's is never overwritten: neither another installation nor the tables of something else.
#[test]
fn a_move_needs_an_empty_database() {
    let (here, life) = lived();
    let (other, database) = (Installation::new(), Database::new("inhabited"));
    let mut migrate = on(
        &database,
        other.messenger(&["migrate", "up"]),
        &"s".repeat(32),
    );
    printed(migrate.output().unwrap());
    let running = Running::start(on(&database, other.messenger(&["run"]), &"s".repeat(32))).ready();
    register(&running, "eve");
    assert!(running.stop().0.success());
    refuses(
        moving(&here, &database),
        CANNOT_START,
        &[&database.url, "somebody lives here", "user.account"],
    );

    let foreign = Database::new("theirs");
    foreign.run("CREATE SCHEMA message CREATE TABLE letters (id BIGINT)");
    refuses(
        moving(&here, &foreign),
        CANNOT_START,
        &["somebody lives here", "message.letters"],
    );
    let running = here.run();
    assert_eq!(life.said(&running), ["first"], "nothing was touched");
}

/// A copy of a chat that lives twice is two chats: the source starts only when the target does not, and the other way round.
#[test]
fn a_moved_installation_has_one_home() {
    let (here, life) = lived();
    let (database, empty) = (Database::new("home"), Database::new("another"));
    let (last, refused) = (
        "to start it there",
        ["has moved to", &database.url, "way back"],
    );
    assert!(printed(moving(&here, &database).output().unwrap()).contains(last));
    refuses(here.messenger(&["run"]), CANNOT_START, &refused);
    assert!(
        printed(moving(&here, &database).output().unwrap()).contains(last),
        "a repeat finds it done"
    );
    refuses(moving(&here, &empty), CANNOT_START, &refused);
    let running = start_on(&here, &database);
    life.say(&running, "said there");
    assert!(
        printed(moving(&here, &database).output().unwrap()).contains(last),
        "even while it runs"
    );
    let back = |database: &Database| here.messenger(&["move", "--back", "--to", &database.url]);
    refuses(
        back(&database),
        CANNOT_START,
        &["running there", "stop it first"],
    );
    assert!(running.stop().0.success());
    let text = printed(back(&database).output().unwrap());
    assert!(text.contains("can be started again"), "{text}");
    let secret = fs::read_to_string(here.path("data/auth.key")).unwrap();
    let there = on(&database, here.messenger(&["run"]), secret.trim());
    refuses(there, CANNOT_START, &["went back to"]);
    let running = here.run();
    assert_eq!(life.said(&running), ["first"]);
    life.say(&running, "said here");
    assert!(running.stop().0.success());
    refuses(back(&database), CANNOT_START, &["has not moved"]);
    refuses(
        moving(&here, &database),
        CANNOT_START,
        &["went back to", "another database"],
    );
    assert!(printed(moving(&here, &empty).output().unwrap()).contains(last));
    refuses(back(&database), CANNOT_START, &[&empty.url, "has moved to"]);
    assert_eq!(life.said(&start_on(&here, &empty)), ["first", "said here"]);
}

/// The database that it went to is lost: an empty one is proof enough that nobody lives there.
#[test]
fn an_installation_comes_back_from_a_database_that_is_lost() {
    let (here, life) = lived();
    let database = Database::new("lost");
    printed(moving(&here, &database).output().unwrap());
    drop(database);
    let database = Database::new("fresh");
    printed(
        here.messenger(&["move", "--back", "--to", &database.url])
            .output()
            .unwrap(),
    );
    assert_eq!(life.said(&here.run()), ["first"]);
}

/// What cannot work is said before anything is touched.
#[test]
fn a_move_that_cannot_work_is_refused() {
    let (here, _) = lived();
    let to = |url: &str| here.messenger(&["move", "--to", url]);
    refuses(to("sqlite:elsewhere"), BAD_CONFIG, &["--to", "postgres://"]);
    refuses(to("nonsense"), BAD_CONFIG, &["--to", "postgres://"]);
    let line = refuses(
        to("postgres://ann:hidden-word@[nowhere"),
        BAD_CONFIG,
        &["--to"],
    );
    assert!(!line.contains("hidden-word"), "{line}");
    let line = refuses(
        to("postgres://ann:hidden-word@127.0.0.1:1/x"),
        CANNOT_START,
        &["postgres://ann@127.0.0.1:1/x", "refused"],
    );
    assert!(!line.contains("hidden-word"), "{line}");
    let database = Database::new("cannot");
    let absent = format!("{}_absent", database.url);
    refuses(to(&absent), CANNOT_START, &[&absent, "does not exist"]);

    let mut elsewhere = moving(&here, &database);
    elsewhere.env("DATABASE_URL", &database.url);
    refuses(elsewhere, BAD_CONFIG, &["sql = ", "without DATABASE_URL"]);
    let mut elsewhere = moving(&here, &database);
    elsewhere.env("KAFKA_BROKERS", "localhost:9092");
    refuses(elsewhere, BAD_CONFIG, &["log = ", "without KAFKA_BROKERS"]);
    let mut other = moving(&here, &database);
    other.env(
        "MESSENGER_AUTH__SECRET",
        "another-secret-0123456789-0123456789",
    );
    refuses(
        other,
        CANNOT_START,
        &["auth.secret does not open the stored signing key"],
    );
    refuses(
        moving(&Installation::new(), &database),
        CANNOT_START,
        &["no installation in"],
    );
    assert!(here.run().stop().0.success());
}
