//! Programs that are not ours, in another language: they know `proto/` and `docs/api` and nothing else of this tree.

use std::{collections::BTreeMap, path::Path, time::Duration};

use e2e::{Engine, Person, SECRET, World};
use serde_json::json;
use tokio::process::Command;

/// What they ask and what they check stands in e2e/foreign; here they get every service apart, and people.
#[tokio::test(flavor = "multi_thread")]
async fn programs_that_are_not_ours_are_at_home() {
    let world = World::with(Engine::Split, |config| {
        // So long a text is being written that one who asks in the middle of it is in time.
        config.ai.demo_pause = Duration::from_millis(100);
    })
    .await;
    let mut rpc: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (service, _) in world.services() {
        let replicas = rpc.entry(service).or_default();
        replicas.push(world.rpc(service, replicas.len()));
    }
    let mut people = Vec::new();
    for name in ["ann", "bob", "eve", "cat", "dan"] {
        let Person {
            id, name, token, ..
        } = Person::register(&world, name).await;
        people.push(json!({ "id": id, "name": name, "token": token }));
    }
    let known = json!({
        "http": world.url(""), "secret": SECRET, "rpc": rpc, "people": people,
        "brokers": world.config.log.strip_prefix("kafka://"), "topics": world.config.topics, "partitions": world.config.partitions,
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign");
    assert!(
        folder.join("node_modules").exists(),
        "run `npm ci` in e2e/foreign"
    );
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=spec", "grpc.mjs", "topics.mjs"])
        .current_dir(folder);
    let ran = node.env("MESSENGER", known.to_string()).output().await;
    let ran = ran.expect("node is installed");
    println!("{}", String::from_utf8_lossy(&ran.stdout));
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    world.stop().await;
}
