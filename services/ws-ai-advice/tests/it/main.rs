//! Advice on its way to its owner.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

mod world;

use contracts::{
    ChatId, RunId,
    ai::{Advice, Delta, Run, RunState},
    chat::BindingMode,
    frames, pipeline,
};
use uuid::Uuid;
use world::{World, user};

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
async fn hints(world: &World) -> Vec<bytes::Bytes> {
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

/// A connection that does not take what is told ends with 4002; its client comes back and reads everything over HTTP.
#[tokio::test]
async fn who_does_not_listen_is_closed_and_misses_nothing_unnoticed() {
    let world = World::new().await;
    let mut ann = world.listen(user(1)).await;
    let (topic, lane) = (&world.topics.forward_message, frames::user_key(user(1)));
    let run = Run {
        text: Some("long ".repeat(8_000)),
        ..run(BindingMode::Advice)
    };
    let frame = frames::ephemeral(frames::AI_RUN, &run);
    for _ in 0..400 {
        world.append(topic, lane.clone(), frame.clone()).await;
    }
    assert_eq!(ann.close_code().await, Some(4002));
}

/// row:D15, guarantee:G15: without a token nobody listens, and an ended login hears no more.
#[tokio::test]
async fn the_door_checks_tokens() {
    let world = World::new().await;
    let mut forged = world.hello("nonsense").await;
    assert_eq!(forged.close_code().await, Some(4200));
    let mut phone = world.listen(user(1)).await;
    world.verifier.note_revoked(contracts::SessionId(user(1).0));
    assert_eq!(phone.close_code().await, Some(4201));
}
