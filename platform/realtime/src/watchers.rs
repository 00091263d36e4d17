//! Who wants to know about what: keys and the connections behind them.

use std::{hash::Hash, sync::Arc};

use dashmap::{DashMap, mapref::entry::Entry};

use crate::Socket;

/// Something that stands for one connection.
pub trait Watcher {
    /// The connection's [`Socket::id`].
    fn id(&self) -> u64;
}

impl Watcher for Socket {
    fn id(&self) -> u64 {
        self.id()
    }
}

/// The connections that watch each key.
pub struct Watchers<K: Eq + Hash, W = Socket> {
    by_key: DashMap<K, Vec<Arc<W>>>,
}

impl<K: Eq + Hash, W> Default for Watchers<K, W> {
    fn default() -> Self {
        Self {
            by_key: DashMap::new(),
        }
    }
}

impl<K: Eq + Hash, W: Watcher> Watchers<K, W> {
    /// Adds a connection; `true` when it is the first for `key`.
    pub fn watch(&self, key: K, watcher: &Arc<W>) -> bool {
        let mut watchers = self.by_key.entry(key).or_default();
        watchers.push(watcher.clone());
        watchers.len() == 1
    }

    /// Takes a connection out; `true` when it was the last for `key`.
    pub fn unwatch(&self, key: K, watcher: &W) -> bool {
        let Entry::Occupied(mut watchers) = self.by_key.entry(key) else {
            return false;
        };
        watchers
            .get_mut()
            .retain(|other| other.id() != watcher.id());
        let is_last = watchers.get().is_empty();
        if is_last {
            watchers.remove();
        }
        is_last
    }

    /// Whether anybody watches `key`.
    pub fn is_watched(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    /// Everything that is watched now.
    pub fn keys(&self) -> Vec<K>
    where
        K: Clone,
    {
        self.by_key
            .iter()
            .map(|entry| entry.key().clone())
            .collect()
    }

    /// Calls `tell` for each connection that watches `key`, and says how many there are; `tell` must not
    /// come back here.
    pub fn each(&self, key: &K, mut tell: impl FnMut(&Arc<W>)) -> usize {
        let Some(watchers) = self.by_key.get(key) else {
            return 0;
        };
        watchers.iter().for_each(&mut tell);
        watchers.len()
    }
}
