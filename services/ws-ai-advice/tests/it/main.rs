//! Advice on its way to its owner.

use std::sync::Arc;

use bytes::Bytes;
use cache::Cache;
use contracts::{
    ChatId, RunId, UserId,
    ai::{Advice, Delta, Run, RunState},
    auth::{Verifier, testing::Signer},
    chat::BindingMode,
    events::Topics,
    frames, pipeline,
};
use eventlog::{EventLog, Record};
use kit::{Clock, Node, RandomIds, SystemClock};
use realtime::testing::{Client, Served};
use uuid::Uuid;

const DOOR: &str = "/ws/ai-advice";

/// One node with this door.
struct World {
    log: Arc<dyn EventLog>,
    cache: Arc<dyn Cache>,
    topics: Arc<Topics>,
    verifier: Arc<Verifier>,
    signer: Arc<Signer>,
    node: Served,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let mut node = Node::new();
        let folder = tempfile::tempdir().expect("a folder");
        let (clock, ids): (Arc<dyn Clock>, _) = (Arc::new(SystemClock), Arc::new(RandomIds));
        let url = format!("embedded:{}", folder.path().join("log.db").display());
        let settings = eventlog::Config::default();
        let log = eventlog::open(&url, settings, clock.clone(), ids.clone(), node.spawner()).await;
        let (log, topics) = (log.expect("a log"), Arc::new(Topics::default()));
        let specs = ws_ai_advice::topics(&topics, 4);
        log.ensure(&specs).await.expect("topics");
        let signer = Signer::new();
        let verifier = Verifier::new(signer.clone(), clock.clone());
        verifier.start(&node);
        let cache: Arc<dyn Cache> = Arc::new(cache::Memory::new());
        let deps = ws_ai_advice::Deps {
            log: log.clone(),
            cache: cache.clone(),
            topics: topics.clone(),
            verifier: verifier.clone(),
            clock,
            ids,
            replica: "one".into(),
        };
        ws_ai_advice::build(&ws_ai_advice::Config::default(), deps, &mut node).expect("it starts");
        Self {
            log,
            cache,
            topics,
            verifier,
            signer,
            node: Served::start(node).await,
            _folder: folder,
        }
    }

    async fn listen(&self, user: UserId) -> Client {
        self.node.listen(DOOR, &self.signer.token(user)).await
    }

    async fn append(&self, topic: &str, key: Bytes, value: Bytes) {
        let appended = self.log.append(topic, vec![Record { key, value }]).await;
        appended.expect("an append");
    }
}

/// A person with a login of the same number.
fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
}

fn run(kind: BindingMode) -> Run {
    Run {
        run: RunId(Uuid::from_u128(9)),
        chat: ChatId(Uuid::from_u128(8)),
        kind,
        state: RunState::Done,
        trigger_o: 3,
        text: Some("be kind".to_owned()),
        why: None,
        model: Some("demo".to_owned()),
        at: None,
        created_at: "2026-01-01T00:00:00.000Z".to_owned(),
    }
}

/// row:E13, row:E15: every device of the owner gets the advice, and nobody else does.
#[tokio::test]
async fn advice_reaches_all_devices_of_its_owner_and_nobody_else() {
    let world = World::new().await;
    let (ann, bob) = (user(1), user(2));
    let (mut phone, mut laptop, mut stranger) = (
        world.listen(ann).await,
        world.listen(ann).await,
        world.listen(bob).await,
    );
    world
        .append(
            &world.topics.ai_advice_response,
            "t".into(),
            "{no json".into(),
        )
        .await;
    for owner in [ann, bob] {
        let advice = Advice {
            owner,
            run: run(BindingMode::Advice),
        };
        world
            .append(
                &world.topics.ai_advice_response,
                "t".into(),
                pipeline::encode(&advice),
            )
            .await;
    }
    for device in [&mut phone, &mut laptop, &mut stranger] {
        let frame = device.next().await;
        assert_eq!(
            (frame["t"].as_str(), frame["d"]["text"].as_str()),
            (Some("ai.run"), Some("be kind"))
        );
        assert!(frame["d"].get("owner").is_none());
    }
    let hints = hints(&world).await;
    assert_eq!(hints, [frames::user_key(ann), frames::user_key(bob)]);
    let dead = world
        .log
        .watermarks("ws-ai-advice.dead-letter")
        .await
        .expect("watermarks");
    assert_eq!(
        dead.iter().map(|(_, high)| *high).max(),
        Some(dead[0].0 + 1),
        "the unreadable record is put aside"
    );
}

/// The keys of everything on the forward topic.
async fn hints(world: &World) -> Vec<Bytes> {
    let mut keys = Vec::new();
    for number in 0..4 {
        let records = world
            .log
            .read(&world.topics.forward_message, number, 0, 100)
            .await
            .expect("a read");
        keys.extend(records.into_iter().map(|record| record.key));
    }
    keys.sort();
    keys
}

/// This door is for advice: pieces and advice pass, everything else on the owner's lane does not.
#[tokio::test]
async fn only_advice_passes_this_door() {
    let world = World::new().await;
    let ann = user(1);
    let mut phone = world.listen(ann).await;
    let (lane, topic) = (frames::user_key(ann), &world.topics.forward_message);
    let draft = frames::ephemeral(frames::AI_HOLD, &run(BindingMode::Autoreply));
    world.append(topic, lane.clone(), draft).await;
    world
        .append(
            topic,
            lane.clone(),
            frames::ephemeral(frames::AI_RUN, &run(BindingMode::Autoreply)),
        )
        .await;
    world
        .append(
            topic,
            lane,
            frames::ephemeral(frames::AI_RUN, &run(BindingMode::Advice)),
        )
        .await;
    assert_eq!(phone.next().await["d"]["kind"], "advice");
    let piece = Delta {
        run: RunId(Uuid::from_u128(9)),
        chat: ChatId(Uuid::from_u128(8)),
        n: 1,
        text: "be".to_owned(),
    };
    let (typing, piece) = (
        frames::ephemeral("typing", &1),
        frames::ephemeral(frames::AI_DELTA, &piece),
    );
    let heard = async {
        // The subscription to the cache follows the connection, so the first pieces may be early.
        loop {
            for frame in [&typing, &piece] {
                world
                    .cache
                    .publish(&format!("u:{ann}"), frame.clone())
                    .await
                    .expect("a publish");
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        frame = phone.next() => assert_eq!((frame["t"].as_str(), frame["d"]["text"].as_str()), (Some("ai.delta"), Some("be"))),
        () = heard => {}
    }
}

/// row:D15, guarantee:G15: without a token nobody listens, and an ended login hears no more.
#[tokio::test]
async fn the_door_checks_tokens() {
    let world = World::new().await;
    let mut forged = world.node.hello(DOOR, "nonsense").await;
    assert_eq!(forged.close_code().await, Some(4200));
    let mut phone = world.listen(user(1)).await;
    world.verifier.note_revoked(contracts::SessionId(user(1).0));
    assert_eq!(phone.close_code().await, Some(4201));
}
