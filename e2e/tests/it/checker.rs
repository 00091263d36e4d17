//! Crashes in the middle of 5,000 sends, judged from outside.
//!
//! `CHECKER_ROUNDS` makes more of them: it is the number of kills, and how often each fail-point is hit.

use std::{path::Path, sync::Arc, time::Duration};

use e2e::{
    Child, Engine, Person,
    checker::{Seen, Talker, Verdict},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Twenty people, two in each chat.
const PEOPLE: usize = 20;

fn rounds(default: usize) -> usize {
    std::env::var_os("CHECKER_ROUNDS")
        .map_or(default, |rounds| rounds.to_string_lossy().parse().unwrap())
}

/// People of one installation, and what they will have seen.
pub(crate) struct Cast {
    talkers: Vec<(Person, String, Arc<Mutex<Seen>>)>,
}

impl Cast {
    pub(crate) async fn gather(server: std::net::SocketAddr, people: usize) -> Self {
        let people = futures_util::future::join_all(
            (0..people).map(|_| Person::register_at(server, "talker")),
        )
        .await;
        let mut talkers = Vec::new();
        for pair in people.chunks(2) {
            let chat = pair[0].chat_with(&pair[1]).await;
            talkers.extend(
                pair.iter()
                    .map(|person| (person.clone(), chat.clone(), Arc::default())),
            );
        }
        Self { talkers }
    }

    /// Everybody says `each` things; ends when everybody has heard everything.
    pub(crate) fn talk(&self, each: usize) -> tokio::task::JoinSet<()> {
        self.talk_and(each, false)
    }

    /// See [`Talker::pauses`].
    fn talk_and(&self, each: usize, pauses: bool) -> tokio::task::JoinSet<()> {
        let mut talking = tokio::task::JoinSet::new();
        for (person, chat, seen) in &self.talkers {
            let talker = Talker {
                person: person.clone(),
                chat: chat.clone(),
                count: each,
                seen: seen.clone(),
                pauses,
            };
            talking.spawn(talker.talk(2 * each));
        }
        talking
    }

    /// How many sends were confirmed so far.
    pub(crate) fn said(&self) -> usize {
        self.talkers
            .iter()
            .map(|(_, _, seen)| seen.lock().confirmed.len())
            .sum()
    }

    pub(crate) async fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for pair in self.talkers.chunks(2) {
            let (person, chat, _) = &pair[0];
            let (mut history, mut after) = (Vec::new(), 0);
            loop {
                let page = person
                    .get(&format!("/api/messages/{chat}?after={after}&limit=200"))
                    .await
                    .ok();
                history.extend(page["messages"].as_array().unwrap().iter().cloned());
                after = history
                    .last()
                    .map_or(0, |message: &Value| message["seq"].as_i64().unwrap());
                if page["more"] == false {
                    break;
                }
            }
            let (one, two) = (pair[0].2.lock(), pair[1].2.lock());
            verdict.judge(chat, &history, &[&one, &two]);
        }
        verdict
    }
}

/// A wait that is different each time, so that kills do not fall into step with batches.
fn a_moment() -> Duration {
    Duration::from_millis(rand::random::<u64>() % 30)
}

pub(crate) async fn started(
    folder: &Path,
    addresses: (std::net::SocketAddr, std::net::SocketAddr),
    failpoint: Option<&str>,
) -> Child {
    let mut child = Child::start(folder, addresses, failpoint);
    assert!(child.ready().await, "the child ended before it was ready");
    child
}

/// Kills while people talk, until all have said and heard everything.
async fn kill_while_talking(engine: Engine, people: usize, each: usize, kills: usize) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    let addresses = Child::prepare(engine, folder.path(), |config| {
        config.ws_gateway.sockets.commands_per_10s = 1_000_000;
        config.ws_gateway.sockets.command_burst = 1_000_000;
    })
    .await;
    let mut child = started(folder.path(), addresses, None).await;
    let cast = Cast::gather(addresses.0, people).await;
    let mut talking = cast.talk(each);
    for kill in 1..=kills {
        let part = people * each * kill / (kills + 1);
        e2e::eventually("a part is said", async || cast.said() >= part).await;
        tokio::time::sleep(a_moment()).await;
        child.kill().await;
        child = started(folder.path(), addresses, None).await;
    }
    let all = async {
        while let Some(ended) = talking.join_next().await {
            ended.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_mins(2), all)
        .await
        .expect("everybody has said and heard everything");
    let verdict = cast.verdict().await;
    child.kill().await;
    verdict
}

/// The steps at which a process may die, and at which passing it does: in further rounds a later one, of so many.
const POINTS: [(&str, usize, usize); 9] = [
    ("message.commit.before", 8, 5),
    ("message.commit.after", 8, 5),
    ("message.publish.before", 8, 5),
    ("message.publish.after", 8, 5),
    ("message.mark", 1, 1),
    ("chat.commit.before", 1, 2),
    ("chat.commit.after", 1, 2),
    ("chat.publish.before", 1, 2),
    ("chat.publish.after", 1, 2),
];

scenarios_of_a_child! {
    /// row:C16, guarantee:G1, guarantee:G2, guarantee:G4, guarantee:G5, guarantee:G6, guarantee:G8, guarantee:G18: `kill -9` in the
    /// middle of 5,000 sends from 20 clients.
    async fn nothing_is_lost_when_the_process_is_killed(engine) {
        let kills = rounds(3);
        let verdict = kill_while_talking(engine, PEOPLE, 250, kills).await;
        println!("{engine:?}, {kills} kills: {verdict:?}");
        assert!(verdict.is_clean(), "{verdict:#?}");
        assert_eq!(verdict.confirmed, 5000);
        assert!(verdict.interruptions > 0, "the kills came too late to be noticed");
    }

    /// row:C16, row:E20, guarantee:G1, guarantee:G3: an abort at each step of the way of a message or a decision.
    async fn nothing_is_lost_at_any_step(engine) {
        for (point, first, spread) in POINTS {
            for round in 0..rounds(1) {
                let nth = first + round % spread;
                let verdict = abort_at(engine, point, nth).await;
                println!("{engine:?}, {point}:{nth}: {verdict:?}");
                assert!(verdict.is_clean(), "{point}: {verdict:#?}");
                assert!(verdict.interruptions > 0, "{point}: the abort was not noticed");
            }
        }
    }

    /// row:E20, guarantee:G16: a reply of the AI whose release dies half-way is said once.
    async fn a_release_that_dies_is_said_once(engine) {
        for round in 0..rounds(1) {
            let folder = tempfile::tempdir().unwrap();
            let addresses = Child::prepare(engine, folder.path(), |_| {}).await;
            let mut child = started(folder.path(), addresses, Some("message.release:1")).await;
            let (ann, bob) = (Person::register_at(addresses.0, "ann").await, Person::register_at(addresses.0, "bob").await);
            let chat = ann.chat_with(&bob).await;
            ann.bind(&chat, "autoreply").await;
            ann.put(&format!("/api/ai/settings/{chat}"), json!({ "release": "immediate", "advice_on_message": false })).await.ok();
            bob.say(&chat, "anybody?").await;
            tokio::time::timeout(e2e::SOON, child.wait()).await.expect("the abort");
            child = started(folder.path(), addresses, None).await;
            e2e::eventually("the reply", async || bob.history(&chat).await.len() == 2).await;
            bob.say(&chat, &format!("thanks {round}")).await;
            let replies = bob.history(&chat).await;
            assert_eq!(replies.iter().filter(|message| message["auto"] == "replied").count(), 1, "{replies:?}");
            child.kill().await;
        }
    }
}

/// Changes a binding three times, each until it was answered with success.
async fn decide(person: Person, chat: String) {
    for mode in ["advice", "autoreply", "advice"] {
        let path = person.url(&format!("/api/chats/{chat}/binding"));
        loop {
            let request = person
                .http
                .put(&path)
                .bearer_auth(&person.token)
                .json(&json!({ "mode": mode }));
            match request.send().await {
                Ok(answer) if answer.status().is_success() => break,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// Lets a process abort at `point`, starts another, and judges.
async fn abort_at(engine: Engine, point: &str, nth: usize) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    let addresses = Child::prepare(engine, folder.path(), |config| {
        config.ws_gateway.sockets.commands_per_10s = 1_000_000;
        config.ws_gateway.sockets.command_burst = 1_000_000;
    })
    .await;
    let child = started(folder.path(), addresses, None).await;
    let cast = Cast::gather(addresses.0, 4).await;
    let strangers = Cast::gather(addresses.0, 2).await;
    child.kill().await;
    let armed = format!("{point}:{nth}");
    let child = started(folder.path(), addresses, Some(&armed)).await;
    // A mark of its own is written when nobody has said anything for a while.
    let mut talking = cast.talk_and(100, point == "message.mark");
    // Decisions are made meanwhile: a binding that changes, each change tried until it is answered.
    let (person, chat, _) = strangers.talkers[0].clone();
    let deciding = tokio::spawn(decide(person.clone(), chat.clone()));
    let mut ended = child;
    tokio::time::timeout(e2e::SOON, ended.wait())
        .await
        .unwrap_or_else(|_| panic!("no abort at {armed}"));
    let next = started(folder.path(), addresses, None).await;
    let all = async {
        while let Some(ended) = talking.join_next().await {
            ended.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_mins(1), all)
        .await
        .expect("everybody has said and heard everything");
    let verdict = cast.verdict().await;
    deciding.await.unwrap();
    person.bind(&chat, "autoreply").await;
    next.kill().await;
    verdict
}
