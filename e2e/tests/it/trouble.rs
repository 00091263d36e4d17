//! Clients that do not read, and a disk without room.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use e2e::{Cluster, Engine, Person, Socket, key};
use serde_json::{Value, json};

/// Connections of one person that never read.
const STALLED: usize = 100;

/// Resident memory of a process in KiB.
fn resident(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Says `count` long things, one every 10 ms; gives the time from each send to its arrival at `listener`.
async fn paced(
    talker: &mut Socket,
    listener: &mut Socket,
    chat: &str,
    count: usize,
) -> Vec<Duration> {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let mut taken = Vec::new();
    for _ in 0..count {
        tick.tick().await;
        let sent = Instant::now();
        let content = json!({ "chat": chat, "key": key(), "text": "x".repeat(8000) });
        talker.command("msg.send", content).await;
        listener.message().await;
        taken.push(sent.elapsed());
    }
    taken.sort_unstable();
    taken
}

scenarios! {
    /// row:D13, guarantee:G17: a hundred sockets that do not read cost a bounded piece of memory and delay nobody else.
    async fn stalled_sockets_harm_nobody(engine) {
        let mut cluster = Cluster::start(engine, |config| {
            config.ws_gateway.sockets.commands_per_10s = 1_000_000;
            config.ws_gateway.sockets.connections_per_person = 200;
        })
        .await;
        let (server, gateway) = (cluster.doors()[0], cluster.id(cluster.of("ws-gateway")[0]));
        let (ann, bob) = (Person::register_at(server, "ann").await, Person::register_at(server, "bob").await);
        let chat = ann.chat_with(&bob).await;
        let (mut talker, mut listener) = (ann.connect().await, bob.connect().await);
        listener.watch(&chat).await;
        let calm = paced(&mut talker, &mut listener, &chat, 300).await;
        let mut stalled = Vec::new();
        for _ in 0..STALLED {
            let mut socket = bob.connect().await;
            socket.watch(&chat).await;
            stalled.push(socket);
        }
        let before = resident(gateway);
        let during = paced(&mut talker, &mut listener, &chat, 600).await;
        let after = resident(gateway);
        let p99 = |taken: &[Duration]| taken[taken.len() * 99 / 100];
        println!(
            "{engine:?}: {STALLED} stalled sockets: resident {before} KiB before, {after} KiB during; p99 of the others {:?} without, {:?} with",
            p99(&calm), p99(&during),
        );
        let queues = STALLED * 1024;
        assert!(after < before + queues + 64 * 1024, "{before} KiB, then {after} KiB");
        assert!(p99(&during) < p99(&calm) * 5 + Duration::from_millis(100), "{:?}, {:?}", p99(&calm), p99(&during));
        let mut told = 0;
        for mut socket in stalled {
            let lag = async { loop {
                match socket.next().await {
                    Some(frame) if frame["t"] == "lag" => break true,
                    Some(_) => {}
                    None => break false,
                }
            } };
            told += usize::from(lag.await);
        }
        assert_eq!(told, STALLED, "each one that does not keep up is told");
        assert!(!cluster.has_ended());
    }
}

/// Takes what room is left on the disk of `folder`.
fn fill(folder: &Path) {
    let mut filler = File::create(folder.join("filler")).unwrap();
    for piece in [vec![0; 64 << 10], vec![0; 512]] {
        while filler.write_all(&piece).is_ok() {}
    }
}

/// Tries once; `None` while the outcome is open.
async fn send(person: &Person, chat: &str, key: &str, text: &str) -> Option<Value> {
    let answer = person
        .post(
            &format!("/api/messages/{chat}"),
            json!({ "key": key, "text": text }),
        )
        .await;
    match answer.status {
        200 | 201 => Some(answer.body),
        503 => None,
        _ => panic!("{} {}", answer.status, answer.body),
    }
}

async fn fills_and_frees(disk: &Path) {
    let mut cluster = Cluster::prepare(Engine::Embedded, |config| {
        config.data = disk.join("data");
    })
    .await;
    cluster.run(cluster.all(), None).await;
    let server = cluster.public();
    let (ann, bob) = (
        Person::register_at(server, "ann").await,
        Person::register_at(server, "bob").await,
    );
    let chat = ann.chat_with(&bob).await;
    let (mut said, mut refused) = (Vec::new(), 0);
    for round in 0..3 {
        fill(disk);
        for n in 0..40 {
            let (key, text) = (key(), format!("{round}/{n} {}", "x".repeat(4000)));
            let mut stored = None;
            let since = Instant::now();
            while stored.is_none() {
                stored = send(&ann, &chat, &key, &text).await;
                refused += usize::from(stored.is_none());
                if stored.is_none() && since.elapsed() > Duration::from_secs(1) {
                    assert_eq!(
                        ann.history(&chat).await.len(),
                        said.len().min(200),
                        "what is stored can be read"
                    );
                    std::fs::remove_file(disk.join("filler")).unwrap_or_default();
                }
                assert!(
                    since.elapsed() < Duration::from_secs(30),
                    "it does not recover"
                );
            }
            said.push(text);
        }
    }
    let history = ann.texts(&chat).await;
    println!(
        "3 times full, {refused} sends refused, {} confirmed, {} found",
        said.len(),
        history.len()
    );
    assert!(refused >= 3, "the disk was full");
    assert_eq!(history, said);
    assert!(!cluster.has_ended());
}

/// row:G11, guarantee:G1: a disk of 64 MB that is filled and freed under sends. `scripts/small-disk` makes the disk.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a small disk: scripts/small-disk"]
async fn a_full_disk_refuses_and_recovers() {
    let disk = std::env::var_os("SMALL_DISK").expect("SMALL_DISK names a folder on a small disk");
    fills_and_frees(Path::new(&disk)).await;
}
