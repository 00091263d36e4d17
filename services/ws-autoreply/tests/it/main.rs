//! What an AI said, or waits to say, on its way to the person in whose name it stands.

use std::sync::Arc;

use bytes::Bytes;
use contracts::{
    ChatId, Key, MessageId, RunId, SessionId, UserId,
    ai::{Run, RunState},
    auth::{Verifier, testing::Signer},
    chat::BindingMode,
    events::Topics,
    frames,
    message::{Auto, Message, Via},
};
use eventlog::{EventLog, Record};
use kit::{Clock, Node, RandomIds, SystemClock};
use realtime::testing::{Client, Served};
use uuid::Uuid;

const DOOR: &str = "/ws/autoreply";

/// One node with this door.
struct World {
    log: Arc<dyn EventLog>,
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
        let specs = ws_autoreply::topics(&topics, 4);
        log.ensure(&specs).await.expect("topics");
        let signer = Signer::new();
        let verifier = Verifier::new(signer.clone(), clock.clone());
        verifier.start(&node);
        let deps = ws_autoreply::Deps {
            log: log.clone(),
            topics: topics.clone(),
            verifier: verifier.clone(),
            clock,
            ids,
            replica: "one".into(),
        };
        ws_autoreply::build(&ws_autoreply::Config::default(), deps, &mut node).expect("it starts");
        Self {
            log,
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

fn message(author: u128, via: Option<BindingMode>) -> Bytes {
    let (author, key, chat) = (
        user(author),
        Key(Uuid::from_u128(5)),
        ChatId(Uuid::from_u128(8)),
    );
    let run = RunId(key.0);
    let message = Message {
        id: MessageId::derive(author, key),
        chat,
        seq: 1,
        o: 4,
        author,
        key,
        ts: "2026-01-01T00:00:00.000Z".to_owned(),
        text: "the word autoreply in a text is no label".to_owned(),
        reply_to: None,
        auto: if via == Some(BindingMode::Autoreply) {
            Auto::Replied
        } else {
            Auto::No
        },
        via: via.map(|mode| Via {
            mode,
            run,
            model: "demo".to_owned(),
            approved_by: None,
            edited: None,
        }),
    };
    frames::event(
        frames::MSG_NEW,
        chat,
        4,
        &serde_json::to_string(&message).expect("a message"),
    )
}

fn run(kind: BindingMode, state: RunState) -> Run {
    Run {
        run: RunId(Uuid::from_u128(9)),
        chat: ChatId(Uuid::from_u128(8)),
        kind,
        state,
        trigger_o: 3,
        text: Some("a draft".to_owned()),
        why: None,
        model: None,
        at: None,
        created_at: "2026-01-01T00:00:00.000Z".to_owned(),
    }
}

/// row:E18: who did not write themselves is told what was said in their name; nobody else is, and nobody about
/// what people wrote.
#[tokio::test]
async fn the_owner_is_told_what_was_said_in_their_name() {
    let world = World::new().await;
    let (mut ann, mut bob) = (world.listen(user(1)).await, world.listen(user(2)).await);
    let (topic, chat) = (
        &world.topics.forward_message,
        frames::chat_key(ChatId(Uuid::from_u128(8))),
    );
    world.append(topic, chat.clone(), message(2, None)).await;
    world
        .append(topic, chat.clone(), message(2, Some(BindingMode::Advice)))
        .await;
    world
        .append(topic, chat.clone(), "{no json autoreply".into())
        .await;
    world
        .append(topic, chat, message(1, Some(BindingMode::Autoreply)))
        .await;
    let told = ann.next().await;
    assert_eq!(
        (told["t"].as_str(), told["d"]["state"].as_str()),
        (Some("ai.run"), Some("done"))
    );
    assert_eq!(
        (told["d"]["run"].as_str(), told["d"]["kind"].as_str()),
        (
            Some("00000000-0000-0000-0000-000000000005"),
            Some("autoreply")
        )
    );
    // Everything that bob could have been told wrongly stands before this.
    world
        .append(
            topic,
            frames::user_key(user(2)),
            frames::ephemeral(
                frames::AI_HOLD,
                &run(BindingMode::Autoreply, RunState::Held),
            ),
        )
        .await;
    assert_eq!(bob.next().await["d"]["state"], "held");
}

/// This door is for drafts and replies: advice does not pass.
#[tokio::test]
async fn only_drafts_and_replies_pass_this_door() {
    let world = World::new().await;
    let mut ann = world.listen(user(1)).await;
    let (topic, lane) = (&world.topics.forward_message, frames::user_key(user(1)));
    for (t, run) in [
        (frames::AI_RUN, run(BindingMode::Advice, RunState::Done)),
        (
            frames::CHAT_ADDED,
            run(BindingMode::Autoreply, RunState::Done),
        ),
        (frames::AI_HOLD, run(BindingMode::Autoreply, RunState::Held)),
        (
            frames::AI_RUN,
            run(BindingMode::Autoreply, RunState::Sending),
        ),
    ] {
        world
            .append(topic, lane.clone(), frames::ephemeral(t, &run))
            .await;
    }
    assert_eq!(ann.next().await["t"], "ai.hold");
    assert_eq!(ann.next().await["d"]["state"], "sending");
}

/// row:D15, guarantee:G15: without a token nobody listens, and an ended login hears no more.
#[tokio::test]
async fn the_door_checks_tokens() {
    let world = World::new().await;
    let mut forged = world.node.hello(DOOR, "nonsense").await;
    assert_eq!(forged.close_code().await, Some(4200));
    let mut ann = world.listen(user(1)).await;
    world.verifier.note_revoked(SessionId(user(1).0));
    assert_eq!(ann.close_code().await, Some(4201));
}
