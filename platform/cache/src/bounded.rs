//! A map whose entries expire and whose size has a hard bound.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

/// How often expired entries are swept out.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// What an entry takes beside its key and value, about.
const OVERHEAD: usize = 128;

/// Two generations: new and used entries are young; when the young fill half of the bound, they become the old, and the
/// old ones, which nobody asked for in all that time, are forgotten. So no flood of keys costs more than memory that
/// was agreed on, and no insert has to look for a victim.
pub(crate) struct Bounded<V> {
    young: HashMap<String, Slot<V>>,
    old: HashMap<String, Slot<V>>,
    young_bytes: usize,
    half: usize,
    swept: Instant,
    evicted: metrics::Counter,
}

struct Slot<V> {
    value: V,
    bytes: usize,
    expires: Instant,
}

impl<V> Bounded<V> {
    /// An empty map of at most about `bytes`.
    pub(crate) fn new(bytes: usize, evicted: metrics::Counter) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            young_bytes: 0,
            half: bytes / 2,
            swept: Instant::now(),
            evicted,
        }
    }

    pub(crate) fn get(&mut self, key: &str, now: Instant) -> Option<&V> {
        self.sweep(now);
        if let Some((key, slot)) = self.old.remove_entry(key) {
            self.place(key, slot);
        }
        self.young
            .get(key)
            .filter(|slot| slot.expires > now)
            .map(|slot| &slot.value)
    }

    /// Puts a value of `size` bytes in.
    pub(crate) fn insert(
        &mut self,
        key: &str,
        value: V,
        size: usize,
        expires: Instant,
        now: Instant,
    ) {
        self.sweep(now);
        self.remove(key);
        self.place(
            key.to_owned(),
            Slot {
                value,
                bytes: key.len() + size + OVERHEAD,
                expires,
            },
        );
    }

    /// Takes an entry out; its time may be over.
    pub(crate) fn remove(&mut self, key: &str) -> Option<V> {
        if let Some(slot) = self.young.remove(key) {
            self.young_bytes -= slot.bytes;
            return Some(slot.value);
        }
        self.old.remove(key).map(|slot| slot.value)
    }

    fn place(&mut self, key: String, slot: Slot<V>) {
        if self.young_bytes + slot.bytes > self.half {
            self.evicted.increment(self.old.len() as u64);
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += slot.bytes;
        self.young.insert(key, slot);
    }

    fn sweep(&mut self, now: Instant) {
        if now < self.swept + SWEEP_EVERY {
            return;
        }
        self.swept = now;
        self.old.retain(|_, slot| slot.expires > now);
        self.young.retain(|_, slot| slot.expires > now);
        self.young_bytes = self.young.values().map(|slot| slot.bytes).sum();
        self.old.shrink_to(self.old.len() * 2);
        self.young.shrink_to(self.young.len() * 2);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn map(bytes: usize) -> Bounded<usize> {
        Bounded::new(bytes, metrics::Counter::noop())
    }

    #[test]
    fn a_million_keys_take_no_more_than_the_bound() {
        let (mut map, now) = (map(1 << 20), Instant::now());
        for n in 0..1_000_000 {
            map.insert(&format!("key {n}"), n, 8, now + HOUR, now);
            assert!(map.len() <= (1 << 20) / OVERHEAD);
        }
        assert!(map.len() > 1000);
        assert_eq!(map.get("key 999999", now), Some(&999_999));
    }

    #[test]
    fn a_key_in_use_outlives_a_flood_of_others() {
        let (mut map, now) = (map(1 << 16), Instant::now());
        map.insert("kept", 7, 8, now + HOUR, now);
        for n in 0..100_000 {
            map.insert(&format!("flood {n}"), n, 8, now + HOUR, now);
            assert_eq!(map.get("kept", now), Some(&7));
        }
    }

    #[test]
    fn what_has_expired_is_gone_and_gives_its_memory_back() {
        let (mut map, now) = (map(1 << 20), Instant::now());
        for n in 0..5000 {
            map.insert(&format!("key {n}"), n, 8, now + Duration::from_secs(1), now);
        }
        map.insert("later", 1, 8, now + HOUR, now);
        let soon = now + Duration::from_secs(1);
        assert_eq!(map.get("key 4999", soon), None);
        assert_eq!(map.get("later", now + SWEEP_EVERY), Some(&1));
        assert_eq!(map.len(), 1);
        assert!(map.young.capacity() + map.old.capacity() < 100);
    }

    #[test]
    fn a_key_has_one_value_whatever_its_generation() {
        let (mut map, now) = (map(2000), Instant::now());
        map.insert("key", 1, 8, now + HOUR, now);
        for n in 0..7 {
            map.insert(&format!("other {n}"), n, 8, now + HOUR, now);
        }
        assert!(
            map.old.contains_key("key"),
            "the test wants it to be old by now"
        );
        map.insert("key", 2, 8, now + HOUR, now);
        assert_eq!(map.get("key", now), Some(&2));
        map.remove("key");
        assert_eq!(map.get("key", now), None);
    }
}
