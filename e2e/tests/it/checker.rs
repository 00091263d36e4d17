//! Crashes in the middle of 5,000 sends, judged from outside.
//!
//! `CHECKER_ROUNDS` makes more of them: it is the number of kills, and how often each fail-point is hit.

use std::time::Duration;

use e2e::{Cast, Cluster, Engine, Person, busy, checker::Verdict};
use serde_json::json;

/// Chats with two people each.
const CHATS: usize = 10;
/// How long everybody may need to say and hear everything.
const PATIENCE: Duration = Duration::from_mins(2);

fn rounds(default: usize) -> usize {
    std::env::var_os("CHECKER_ROUNDS")
        .map_or(default, |rounds| rounds.to_string_lossy().parse().unwrap())
}

/// A wait that is different each time, so that kills do not fall into step with batches.
fn a_moment() -> Duration {
    Duration::from_millis(rand::random::<u64>() % 30)
}

/// Kills everything at once while people talk, until all have said and heard everything.
async fn kill_while_talking(engine: Engine, each: usize, kills: usize) -> Verdict {
    let mut cluster = Cluster::start(engine, busy).await;
    let mut cast = Cast::gather(&cluster.doors(), CHATS).await;
    cast.talk(each, false);
    for kill in 1..=kills {
        let part = 2 * CHATS * each * kill / (kills + 1);
        e2e::eventually("a part is said", async || cast.confirmed() >= part).await;
        tokio::time::sleep(a_moment()).await;
        cluster.kill(cluster.all()).await;
        cluster.run(cluster.all(), None).await;
    }
    assert!(
        cast.settled(PATIENCE).await,
        "everybody has said and heard everything"
    );
    cast.verdict().await
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

scenarios! {
    /// row:C16, guarantee:G1, guarantee:G2, guarantee:G4, guarantee:G5, guarantee:G6, guarantee:G8, guarantee:G18: `kill -9` in the
    /// middle of 5,000 sends from 20 clients.
    async fn nothing_is_lost_when_the_process_is_killed(engine) {
        let kills = rounds(3);
        let verdict = kill_while_talking(engine, 250, kills).await;
        println!("{engine:?}, {kills} kills: {verdict:?}");
        assert!(verdict.is_clean(), "{verdict:#?}");
        assert_eq!(verdict.confirmed, 5000);
        assert!(verdict.interruptions > 0, "the kills came too late to be noticed");
    }

    /// row:C16, row:E20, guarantee:G1, guarantee:G3: an abort at each step of the way of a message or a decision.
    async fn nothing_is_lost_at_any_step(engine) {
        let mut cluster = Cluster::start(engine, busy).await;
        for (point, first, spread) in POINTS {
            for round in 0..rounds(1) {
                let nth = first + round % spread;
                let verdict = abort_at(&mut cluster, point, nth).await;
                println!("{engine:?}, {point}:{nth}: {verdict:?}");
                assert!(verdict.is_clean(), "{point}: {verdict:#?}");
                // Where another replica goes on nobody notices.
                assert!(engine == Engine::Split || verdict.interruptions > 0, "{point}: the abort was not noticed");
            }
        }
    }

    /// row:E20, guarantee:G16: a reply of the AI whose release dies half-way is said once.
    async fn a_release_that_dies_is_said_once(engine) {
        let mut cluster = Cluster::start(engine, |_| {}).await;
        let server = cluster.public();
        for round in 0..rounds(1) {
            let message = cluster.of("message");
            cluster.kill(message.clone()).await;
            cluster.run(message.clone(), Some("message.release:1")).await;
            let (ann, bob) = (Person::register_at(server, "ann").await, Person::register_at(server, "bob").await);
            let chat = ann.chat_with(&bob).await;
            ann.bind(&chat, "autoreply").await;
            ann.put(&format!("/api/ai/settings/{chat}"), json!({ "release": "immediate", "advice_on_message": false })).await.ok();
            bob.say(&chat, "anybody?").await;
            tokio::time::timeout(e2e::SOON, cluster.ended(&message)).await.expect("the abort");
            cluster.kill(message.clone()).await;
            cluster.run(message, None).await;
            e2e::eventually("the reply", async || bob.history(&chat).await.len() == 2).await;
            bob.say(&chat, &format!("thanks {round}")).await;
            let replies = bob.history(&chat).await;
            assert_eq!(replies.iter().filter(|message| message["auto"] == "replied").count(), 1, "{replies:?}");
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
async fn abort_at(cluster: &mut Cluster, point: &str, nth: usize) -> Verdict {
    let mut cast = Cast::gather(&cluster.doors(), 2).await;
    let server = cluster.public();
    let (person, friend) = tokio::join!(
        Person::register_at(server, "decider"),
        Person::register_at(server, "friend")
    );
    let chat = person.chat_with(&friend).await;
    let armed = format!("{point}:{nth}");
    let parts = cluster.of(point.split('.').next().unwrap());
    cluster.kill(parts.clone()).await;
    cluster.run(parts.clone(), Some(&armed)).await;
    // A mark of its own is written when nobody has said anything for a while.
    cast.talk(100, point == "message.mark");
    // Decisions are made meanwhile: a binding that changes, each change tried until it is answered.
    let deciding = tokio::spawn(decide(person.clone(), chat.clone()));
    tokio::time::timeout(e2e::SOON, cluster.ended(&parts))
        .await
        .unwrap_or_else(|_| panic!("no abort at {armed}"));
    // Another replica would abort as well.
    cluster.kill(parts.clone()).await;
    cluster.run(parts, None).await;
    assert!(
        cast.settled(PATIENCE).await,
        "everybody has said and heard everything"
    );
    let verdict = cast.verdict().await;
    deciding.await.unwrap();
    person.bind(&chat, "autoreply").await;
    verdict
}
