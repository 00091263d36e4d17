//! An installation that grows up: what people have on embedded storage they have on the servers, and go on.

use e2e::{Cluster, Engine, Person, Servers, fresh_database, key, message_of};
use messenger::Config;
use serde_json::{Value, json};

use crate::assistant::{draft, run_in};

/// An embedded installation, and two people in it who talk.
struct Home {
    cluster: Cluster,
    ann: Person,
    bob: Person,
    chat: String,
}

impl Home {
    async fn new() -> Self {
        let cluster = Cluster::start(Engine::Embedded, |_| {}).await;
        let ann = Person::register_at(cluster.public(), "ann").await;
        let bob = Person::register_at(cluster.public(), "bob").await;
        let chat = ann.chat_with(&bob).await;
        Self {
            cluster,
            ann,
            bob,
            chat,
        }
    }

    async fn stop(&mut self) {
        assert_eq!(self.cluster.stop(vec![0]).await, [Some(0)]);
    }

    /// Goes on with the settings that there are now.
    async fn start(&mut self) {
        self.cluster.run(vec![0], None).await;
        let door = self.cluster.public();
        (self.ann.server, self.bob.server) = (door, door);
    }

    /// Settings with which the installation runs on `url`, and on the same log.
    async fn settle(&mut self, url: &str) {
        let on = |config: &mut Config| url.clone_into(&mut config.sql);
        self.cluster.change(Engine::Embedded, on).await;
    }

    async fn moves(&self, url: &str) -> String {
        let (is_done, text) = self.cluster.tell(&["move", "--to", url], None).await;
        assert!(is_done, "{text}");
        text
    }

    /// What the program says instead of starting.
    async fn refuses(&self) -> String {
        let (is_up, text) = self.cluster.tell(&["run"], None).await;
        assert!(!is_up, "it has started and ended");
        text
    }
}

async fn empty() -> String {
    fresh_database(&Servers::shared().postgres).await
}

/// What a person's list of chats shows, whatever their epochs.
async fn chats(person: &Person) -> (Value, Vec<String>) {
    let mut page = person.get("/api/chats").await.ok();
    let mut epochs = Vec::new();
    for chat in page["chats"].as_array_mut().unwrap() {
        epochs.push(chat["pos"]["e"].take().as_str().unwrap().to_owned());
    }
    (page, epochs)
}

/// Lives, moves with `goes`, and lives on: whoever was connected comes back as if nothing had been.
async fn carries_on(settles: impl AsyncFnOnce(&mut Home, &str)) {
    let mut home = Home::new().await;
    let Home { ann, bob, chat, .. } = &home;
    let eve = Person::register_at(ann.server, "eve").await;
    let other = eve.chat_with(bob).await;
    ann.bind(chat, "autoreply").await;
    let mut at_bob = bob.connect().await;
    let place = at_bob.watch(chat).await;
    let (mark, said) = (format!("/api/messages/{chat}/marks"), key());
    let send = json!({ "key": said, "text": "are you coming?" });
    bob.say(chat, "hello").await;
    ann.post(&mark, json!({ "delivered": 1, "read": 1 }))
        .await
        .ok();
    let first = bob
        .post(&format!("/api/messages/{chat}"), send.clone())
        .await
        .ok();
    eve.say(&other, "only for bob").await;
    let held = draft(ann).await;
    at_bob.message().await;
    let last = at_bob.message().await;
    let (before, histories) = (
        (chats(ann).await, chats(bob).await),
        (ann.history(chat).await, bob.history(&other).await),
    );
    assert_eq!(before.0.0["chats"][0]["unread"], 1);

    home.stop().await;
    assert_eq!(at_bob.close_code().await, 4001);
    let url = empty().await;
    let text = home.moves(&url).await;
    let is_at_rest = !text.contains("on its way");
    assert!(is_at_rest, "an orderly stop leaves nothing: {text}");
    settles(&mut home, &url).await;
    home.start().await;

    // With the token and the position of before.
    let Home { ann, bob, chat, .. } = &home;
    let mut at_bob = e2e::Socket::open(bob.server, "127.0.0.1", &[])
        .await
        .unwrap();
    let topic = format!("c:{chat}");
    let from = json!({ "e": place["e"], "o": last["o"] });
    let (welcome, replayed) = at_bob.hello(&bob.token, json!({ &topic: from })).await;
    let (stream, gap) = (&welcome["streams"][&topic], json!([false, "epoch"]));
    assert_eq!(json!([stream["recovered"], stream["why"]]), gap);
    assert_eq!(replayed, Vec::<Value>::new());
    let resumed = json!({ "s": topic, "since": from });
    assert_eq!(at_bob.ask("sub", resumed).await["ok"]["recovered"], false);
    let gap = at_bob.wait(|frame| frame["t"] == "gap").await;
    assert_eq!(gap["d"]["why"], "epoch");
    let after = (chats(ann).await, chats(bob).await);
    assert_eq!((&after.0.0, &after.1.0), (&before.0.0, &before.1.0));
    for (now, then) in after.1.1.iter().zip(&before.1.1) {
        assert_ne!(now, then, "every chat has another epoch");
    }
    assert_eq!(
        (ann.history(chat).await, bob.history(&other).await),
        histories
    );
    at_bob.watch(chat).await;

    // What was under way goes on.
    let again = bob.post(&format!("/api/messages/{chat}"), send).await;
    assert_eq!(
        (again.status, &again.body["msg"], &again.body["dup"]),
        (200, &first["msg"], &json!(true))
    );
    let run = draft(ann).await;
    assert_eq!(run, held, "the draft has come along");
    let run = run["run"].as_str().unwrap();
    ann.post(&format!("/api/ai/runs/{run}/approve"), json!({}))
        .await
        .ok();
    let reply = message_of(&at_bob.message().await);
    assert_eq!(
        (reply.text.as_str(), reply.seq),
        (held["text"].as_str().unwrap(), 3)
    );
    run_in(ann, run, "done").await;
    let refresh = json!({ "refresh_token": ann.refresh, "cookie": false });
    ann.post("/api/refresh", refresh).await.ok();
    bob.say(chat, "and now?").await;
    assert_eq!(message_of(&at_bob.message().await).text, "and now?");
    assert_ne!(
        draft(ann).await["run"],
        run,
        "the AI hears what is said here"
    );
    assert_eq!(bob.chat_with(ann).await, *chat, "a pair has one chat");
    home.stop().await;
}

/// guarantee:G1, guarantee:G8, guarantee:G10, guarantee:G17: from SQLite to PostgreSQL, Kafka and Redis: tokens, positions, unread
/// messages, keys and drafts are worth there what they were worth here.
#[tokio::test(flavor = "multi_thread")]
async fn people_carry_on_after_a_move_to_the_servers() {
    Box::pin(carries_on(async |home, url| {
        let on = |config: &mut Config| url.clone_into(&mut config.sql);
        home.cluster.change(Engine::Servers, on).await;
    }))
    .await;
}

/// guarantee:G1, guarantee:G17: the same with the log that was there before: nothing in it is read twice.
#[tokio::test(flavor = "multi_thread")]
async fn people_carry_on_after_a_move_with_the_log_they_had() {
    Box::pin(carries_on(async |home, url| home.settle(url).await)).await;
}

/// guarantee:G1, fault:F9: what a process that died had not read yet is read before the move; a trigger of the AI is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_arrives_before_the_move() {
    let mut home = Home::new().await;
    home.ann.bind(&home.chat, "autoreply").await;
    home.stop().await;
    home.cluster.run(vec![0], Some("ai.intake.commit:1")).await;
    let send = json!({ "key": key(), "text": "is anybody there?" });
    let path = home.bob.url(&format!("/api/messages/{}", home.chat));
    let request = home.bob.http.post(path).json(&send);
    let answer = request.bearer_auth(&home.bob.token).send().await;
    home.cluster.ended(&[0]).await;

    let url = empty().await;
    let text = home.moves(&url).await;
    assert!(text.contains("the services run for a moment"), "{text}");
    home.settle(&url).await;
    home.start().await;
    let texts = home.ann.texts(&home.chat).await;
    assert_eq!(texts, ["is anybody there?"], "{answer:?}");
    assert!(draft(&home.ann).await["text"].is_string());
    home.stop().await;
}

/// guarantee:G1: a move that is killed, wherever it is, leaves one home: the source until everything is compared, then the target
/// alone; the same command ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_move_is_completed_by_the_same_command() {
    // Five stores are marked on the target, and then five on the source.
    for (point, is_here) in [
        ("move.mark:3", true),
        ("move.table:8", true),
        ("move.compared:1", true),
        ("move.mark:7", false),
        ("move.closed:1", false),
        ("move.mark:12", false),
    ] {
        let mut home = Home::new().await;
        home.ann.say(&home.chat, "before").await;
        home.stop().await;
        let url = empty().await;
        let words = ["move", "--to", &url];
        let (is_done, text) = home.cluster.tell(&words, Some(point)).await;
        assert!(!is_done, "{point}: {text}");

        home.settle(&url).await;
        let text = home.refuses().await;
        assert!(text.contains("messenger move"), "{point}: {text}");
        home.cluster.change(Engine::Embedded, |_| {}).await;
        let mut said = vec!["before"];
        if is_here {
            // The source has not moved: whoever starts it loses nothing of what is said until the move.
            home.start().await;
            home.bob.say(&home.chat, "meanwhile").await;
            said.push("meanwhile");
            home.stop().await;
        } else {
            let text = home.refuses().await;
            assert!(text.contains("has moved to"), "{point}: {text}");
        }
        let text = home.moves(&url).await;
        assert_eq!(text.contains("is copied anew"), is_here, "{point}: {text}");
        home.settle(&url).await;
        home.start().await;
        assert_eq!(home.ann.texts(&home.chat).await, said, "{point}");
        home.stop().await;
    }
}
