//! Texts that are being written right now in this process, and their way to the owner's sockets.
//!
//! Pieces go through the cache's channel of the owner, at most ten a second, with the whole text now and
//! then for who came late. All of it may be lost: the row of the run has the text in the end.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use cache::Cache;
use contracts::{ChatId, RunId, UserId, ai::Delta, frames};
use kit::CancellationToken;
use parking_lot::Mutex;

/// How often pieces are sent.
pub(crate) const PIECE: Duration = Duration::from_millis(100);
/// How many pieces are followed by the whole text.
const SNAPSHOT_EVERY: u32 = 20;

/// The texts that are being written. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lives {
    cache: Arc<dyn Cache>,
    open: Arc<Mutex<HashMap<RunId, Live>>>,
}

/// One of them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Live {
    run: RunId,
    chat: ChatId,
    owner: UserId,
    text: Arc<Mutex<Text>>,
    stop: CancellationToken,
}

/// A text as long as somebody writes it, even if that ends in a panic.
pub(crate) struct Begun {
    pub(crate) live: Live,
    lives: Lives,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.lives.open.lock().remove(&self.live.run);
    }
}

#[derive(Default)]
struct Text {
    all: String,
    sent: usize,
    n: u32,
}

impl Lives {
    pub(crate) fn new(cache: Arc<dyn Cache>) -> Self {
        Self {
            cache,
            open: Arc::default(),
        }
    }

    /// A text begins. It is over when the answer is dropped.
    pub(crate) fn begin(&self, run: RunId, chat: ChatId, owner: UserId) -> Begun {
        let live = Live {
            run,
            chat,
            owner,
            text: Arc::default(),
            stop: CancellationToken::new(),
        };
        self.open.lock().insert(run, live.clone());
        Begun {
            live,
            lives: self.clone(),
        }
    }

    /// Whether this process makes the call of that run.
    pub(crate) fn holds(&self, run: RunId) -> bool {
        self.open.lock().contains_key(&run)
    }

    /// Nobody wants it any more.
    pub(crate) fn stop(&self, run: RunId) {
        if let Some(live) = self.open.lock().get(&run) {
            live.stop.cancel();
        }
    }

    /// The whole text so far, of the owner's run.
    pub(crate) fn snapshot(&self, owner: UserId, run: RunId) -> Option<Delta> {
        let live = self
            .open
            .lock()
            .get(&run)
            .filter(|live| live.owner == owner)
            .cloned()?;
        Some(live.whole())
    }

    /// Sends what was not sent yet.
    pub(crate) async fn show(&self, live: &Live) {
        let Some(piece) = live.piece() else { return };
        let snapshot = (piece.n % SNAPSHOT_EVERY == 0).then(|| live.whole());
        self.publish(live.owner, frames::ephemeral(frames::AI_DELTA, &piece))
            .await;
        if let Some(whole) = snapshot {
            self.publish(live.owner, frames::ephemeral(frames::AI_SNAP, &whole))
                .await;
        }
    }

    async fn publish(&self, owner: UserId, frame: Bytes) {
        let channel = String::from_utf8_lossy(&frames::user_key(owner)).into_owned();
        if let Err(error) = self.cache.publish(&channel, frame).await {
            tracing::debug!(%error, "a piece of a text was lost");
        }
    }
}

impl Live {
    /// The provider wrote this.
    pub(crate) fn push(&self, words: &str) {
        self.text.lock().all.push_str(words);
    }

    /// Returns when nobody wants the text any more.
    pub(crate) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    fn piece(&self) -> Option<Delta> {
        let mut text = self.text.lock();
        if text.sent == text.all.len() {
            return None;
        }
        let piece = text.all[text.sent..].to_owned();
        text.sent = text.all.len();
        text.n += 1;
        Some(Delta {
            run: self.run,
            chat: self.chat,
            n: text.n,
            text: piece,
        })
    }

    fn whole(&self) -> Delta {
        let text = self.text.lock();
        Delta {
            run: self.run,
            chat: self.chat,
            n: text.n,
            text: text.all[..text.sent].to_owned(),
        }
    }
}
