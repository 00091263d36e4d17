//! Following channels that come and go, in memory and across the death of a server.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use cache::{Audience, Cache, Following, Memory};
use parking_lot::Mutex;

use crate::server::{Server, eventually};

/// What a test wants to hear, and what it heard.
#[derive(Default)]
struct Ears {
    wanted: Mutex<BTreeSet<String>>,
    heard: Mutex<VecDeque<(String, Bytes)>>,
    begun: AtomicUsize,
}

impl Audience for Ears {
    fn channels(&self) -> Vec<String> {
        self.wanted.lock().iter().cloned().collect()
    }

    fn wants(&self, channel: &str) -> bool {
        self.wanted.lock().contains(channel)
    }

    fn hear(&self, channel: &str, payload: Bytes) {
        self.heard.lock().push_back((channel.to_owned(), payload));
    }

    fn begins(&self) {
        self.begun.fetch_add(1, SeqCst);
    }
}

/// A follower at work.
struct Follower {
    ears: Arc<Ears>,
    following: Arc<Following>,
    cache: Arc<dyn Cache>,
    work: tokio::task::JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Follower {
    fn start(cache: Arc<dyn Cache>, wanted: &[&str]) -> Self {
        let ears = Arc::new(Ears::default());
        *ears.wanted.lock() = wanted.iter().map(|name| (*name).to_owned()).collect();
        let following = Arc::new(Following::default());
        let (hearing, follows, from) = (ears.clone(), following.clone(), cache.clone());
        #[expect(clippy::disallowed_methods, reason = "a test starts its own task")]
        let work = tokio::spawn(async move { follows.follow(from.as_ref(), &*hearing).await });
        Self {
            ears,
            following,
            cache,
            work,
        }
    }

    fn want(&self, channel: &str) {
        self.ears.wanted.lock().insert(channel.to_owned());
        self.following.change(channel.to_owned());
    }

    fn leave(&self, channel: &str) {
        self.ears.wanted.lock().remove(channel);
        self.following.change(channel.to_owned());
    }

    /// Publishes until it is heard.
    async fn hears(&self, channel: &str) {
        eventually(channel, async || {
            let payload = Bytes::from_static(b"x");
            // The server may be on its way back.
            let _ = self.cache.publish(channel, payload).await;
            let mut heard = self.ears.heard.lock();
            let found = heard.iter().any(|(from, _)| from == channel);
            heard.clear();
            found
        })
        .await;
    }

    /// Whether nothing comes along `channel`, though it does along `other`.
    async fn is_deaf_to(&self, channel: &str, other: &str) -> bool {
        self.ears.heard.lock().clear();
        self.cache.publish(channel, Bytes::new()).await.unwrap();
        self.cache.publish(other, Bytes::new()).await.unwrap();
        let has = |wanted: &str| {
            self.ears
                .heard
                .lock()
                .iter()
                .any(|(from, _)| from == wanted)
        };
        eventually(other, async || has(other)).await;
        !has(channel)
    }

    async fn begun(&self, times: usize) {
        eventually("it begins", async || self.ears.begun.load(SeqCst) == times).await;
    }
}

/// What is wanted is heard, from the beginning and later; what is not wanted any more is not.
async fn follows(cache: Arc<dyn Cache>) {
    let key = kit::Ids::next(&kit::RandomIds);
    let [first, second] = ["first", "second"].map(|name| format!("{name}:{key}"));
    let follower = Follower::start(cache, &[&first]);
    follower.begun(1).await;
    follower.hears(&first).await;
    follower.want(&second);
    follower.hears(&second).await;
    follower.leave(&first);
    eventually("it is left", async || {
        follower.is_deaf_to(&first, &second).await
    })
    .await;
    follower.want(&first);
    follower.hears(&first).await;
    // More than go out together.
    let many: Vec<_> = (0..600).map(|n| format!("{n}:{key}")).collect();
    for channel in &many {
        follower.want(channel);
    }
    follower.hears(&many[599]).await;
    follower.hears(&many[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_that_come_and_go_are_followed_in_memory() {
    follows(Arc::new(Memory::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_that_come_and_go_are_followed_on_a_server() {
    follows(crate::server::open(&crate::server::shared())).await;
}

/// Shows row:D12: a server that dies takes no follower along; it begins anew, and what changed meanwhile counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_outlives_its_server() {
    let mut server = Server::start().await;
    let follower = Follower::start(server.open(), &["kept", "left"]);
    follower.begun(1).await;
    server.kill();
    follower.leave("left");
    follower.want("new");
    server.restart().await;
    follower.begun(2).await;
    follower.hears("kept").await;
    follower.hears("new").await;
    assert!(follower.is_deaf_to("left", "kept").await);
    let mut channels: Vec<String> = server.run("PUBSUB CHANNELS");
    channels.sort();
    assert_eq!(channels, ["messenger:kept", "messenger:new"]);
}
