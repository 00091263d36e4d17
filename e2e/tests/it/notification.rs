//! The lines about messages: one for each, with whom it is for.

use std::net::SocketAddr;

use e2e::{Cluster, Engine, OwnServers, Person, Server, eventually, key};
use serde_json::{Value, json};

/// The lines about the message that an answer confirms.
fn lines_of(cluster: &Cluster, sent: &Value) -> Vec<Value> {
    let log = cluster.log();
    let lines = log.lines().filter(|line| line.contains("message.id"));
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["message.id"] == sent["msg"])
        .collect()
}

/// The one line about a message, as soon as it is there.
async fn line_of(cluster: &Cluster, sent: &Value) -> Value {
    eventually("the line", async || !lines_of(cluster, sent).is_empty()).await;
    let mut lines = lines_of(cluster, sent);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

/// A line about a message in a private chat, from one to the other.
fn is_between(line: &Value, chat: &str, from: &Person, to: &Person) {
    let told = ["level", "target", "chat.id", "from", "to"].map(|field| line[field].as_str());
    let expected = ["INFO", "notification", chat, &from.id, &to.id].map(Some);
    assert_eq!(told, expected, "{line}");
    assert_eq!(line["to_count"], 1, "{line}");
}

/// What a process says of how far the group is behind.
async fn lag(private: SocketAddr) -> Option<String> {
    let metrics = reqwest::get(format!("http://{private}/metrics")).await;
    let text = metrics.unwrap().text().await.unwrap();
    let mut lines = text
        .lines()
        .filter(|line| line.starts_with("eventlog_lag{"));
    let line = lines.find(|line| line.contains(r#"group="notification""#))?;
    line.rsplit(' ').next().map(str::to_owned)
}

scenarios! {
    /// row:G29, row:C23, row:C24, row:G22: three people and a message from each to each of the others: all six are confirmed, stored, and one
    /// line of JSON on standard output each, from and to the right ones, within a second of the commit.
    async fn three_people_and_six_messages(engine) {
        let cluster = Cluster::start(engine, |_| {}).await;
        let [ann, bob, eve] = ["ann", "bob", "eve"].map(|name| Person::register_at(cluster.public(), name));
        let (ann, bob, eve) = tokio::join!(ann, bob, eve);
        let mut took = Vec::new();
        for (from, to) in [(&ann, &bob), (&ann, &eve), (&bob, &ann), (&bob, &eve), (&eve, &ann), (&eve, &bob)] {
            let chat = from.chat_with(to).await;
            let text = format!("{} to {}", from.name, to.name);
            let sent = from.say(&chat, &text).await;
            let stored = to.history(&chat).await;
            let stored = stored.iter().find(|message| message["id"] == sent["msg"]).expect("it is stored");
            assert_eq!([&stored["author"], &stored["text"]], [&json!(from.id), &json!(text)]);
            let line = line_of(&cluster, &sent).await;
            is_between(&line, &chat, from, to);
            assert_eq!(line["seq"], sent["seq"]);
            took.push(line["took_ms"].as_u64().unwrap());
        }
        let all = cluster.log().matches("message.id").count();
        assert_eq!(all, 6);
        // A machine that is busy with other scenarios may keep one waiting; a reader that collects keeps all.
        took.sort_unstable();
        assert!(took[3] < 1000, "{took:?} ms");
    }

    /// row:C23, row:C25: a kill of whoever writes the lines loses none, also of those that are due while nobody does, and then the group has nothing
    /// left to read.
    async fn a_kill_loses_no_line(engine) {
        let mut cluster = Cluster::start(engine, |_| {}).await;
        let writers = cluster.of("notification");
        let door = cluster.public();
        let (ann, bob) = tokio::join!(Person::register_at(door, "ann"), Person::register_at(door, "bob"));
        let chat = ann.chat_with(&bob).await;
        let mut sent = Vec::new();
        for n in 0..20 {
            sent.push((ann.say(&chat, &n.to_string()).await, &ann, &bob));
        }
        cluster.kill(writers.clone()).await;
        if !writers.contains(&0) {
            sent.push((bob.say(&chat, "meanwhile").await, &bob, &ann));
        }
        cluster.run(writers.clone(), None).await;
        sent.push((bob.say(&chat, "after").await, &bob, &ann));
        for (sent, from, to) in &sent {
            eventually("a line for each", async || !lines_of(&cluster, sent).is_empty()).await;
            for line in lines_of(&cluster, sent) {
                is_between(&line, &chat, from, to);
            }
        }
        let private = cluster.private_of(writers[0]);
        assert!(e2e::metric(private, "notification_messages_total", "").await > 0.0);
        eventually("nothing is left to read", async || lag(private).await.as_deref() == Some("0")).await;
    }
}

/// row:C25: the broker is stopped and started: messages of before, of which nobody knew whether they were stored, and of later
/// have a line each.
#[tokio::test(flavor = "multi_thread")]
async fn lines_go_on_when_the_broker_was_restarted() {
    let own = OwnServers::start().await;
    let mut cluster = Cluster::prepare_on(&own.servers, Engine::Servers, |_| {}).await;
    cluster.run(cluster.all(), None).await;
    let door = cluster.public();
    let (ann, bob) = tokio::join!(
        Person::register_at(door, "ann"),
        Person::register_at(door, "bob")
    );
    let chat = ann.chat_with(&bob).await;
    let before = ann.say(&chat, "before").await;
    is_between(&line_of(&cluster, &before).await, &chat, &ann, &bob);

    own.down(Server::Kafka).await;
    let path = format!("/api/messages/{chat}");
    let intent = json!({ "key": key(), "text": "meanwhile" });
    let unknown = ann.post(&path, intent.clone()).await;
    assert_eq!(unknown.code(), "unavailable", "{unknown:?}");
    own.up(Server::Kafka).await;
    eventually("it is settled", async || {
        ann.post(&path, intent.clone()).await.status < 300
    })
    .await;
    let settled = ann.post(&path, intent).await.ok();
    is_between(&line_of(&cluster, &settled).await, &chat, &ann, &bob);
    let later = bob.say(&chat, "later").await;
    is_between(&line_of(&cluster, &later).await, &chat, &bob, &ann);
}
