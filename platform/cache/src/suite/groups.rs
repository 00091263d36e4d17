//! Groups and their members.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{task::JoinSet, time::Instant};

use super::{DEADLINE, fresh};
use crate::{Cache, Error, MAX_MEMBER_BYTES, MAX_MEMBERS};

async fn members(cache: &Arc<dyn Cache>, key: &str) -> Vec<(String, Bytes)> {
    let mut members = cache.members(key).await.unwrap();
    members.sort();
    members
}

/// Shows row:D07 for the registry: it names the instance of each connection, and who leaves is gone.
pub async fn members_come_and_go(cache: Arc<dyn Cache>) {
    let (key, other) = (fresh("group"), fresh("group"));
    let all_bytes: Bytes = (0..=255_u8).collect();
    let instance = Bytes::from_static(b"gateway-1");
    assert_eq!(members(&cache, &key).await, []);
    assert_eq!(cache.leave(&key, "phone").await.unwrap(), 0);
    for (member, value, count) in [
        ("phone", &all_bytes, 1),
        ("desk:top", &Bytes::new(), 2),
        ("phone", &instance, 2),
        ("", &instance, 3),
    ] {
        let joined = cache.join(&key, member, value.clone(), DEADLINE).await;
        assert_eq!(joined.unwrap(), count, "{member}");
    }
    assert_eq!(
        members(&cache, &key).await,
        [
            (String::new(), instance.clone()),
            ("desk:top".to_owned(), Bytes::new()),
            ("phone".to_owned(), instance),
        ]
    );
    cache
        .join(&other, "phone", all_bytes.clone(), DEADLINE)
        .await
        .unwrap();
    for (member, left) in [("phone", 2), ("phone", 2), ("", 1), ("desk:top", 0)] {
        assert_eq!(cache.leave(&key, member).await.unwrap(), left, "{member}");
    }
    assert_eq!(members(&cache, &key).await, []);
    assert_eq!(
        members(&cache, &other).await,
        [("phone".to_owned(), all_bytes)]
    );
}

/// Shows row:D10 for the registry: of a process that is gone nothing is left after the time that it used.
pub async fn a_member_goes_when_its_time_is_over_and_one_that_joins_again_stays(
    cache: Arc<dyn Cache>,
) {
    let (key, value) = (fresh("group"), Bytes::from_static(b"x"));
    let ttl = Duration::from_millis(400);
    let soonest = Duration::from_millis(380);
    let started = Instant::now();
    cache.join(&key, "gone", value.clone(), ttl).await.unwrap();
    cache
        .join(&key, "later", value.clone(), 2 * ttl)
        .await
        .unwrap();
    let has = async |name: &str| {
        let here = members(&cache, &key).await;
        here.iter().any(|(here, _)| here == name)
    };
    let mut joined = started;
    while has("gone").await {
        assert!(started.elapsed() < DEADLINE);
        joined = Instant::now();
        let count = cache.join(&key, "stays", value.clone(), ttl).await.unwrap();
        assert!(count == 3 || started.elapsed() >= soonest, "{count}");
    }
    assert!(started.elapsed() >= soonest, "{:?}", started.elapsed());
    assert!(has("stays").await || joined.elapsed() >= soonest);
    while !members(&cache, &key).await.is_empty() {
        assert!(started.elapsed() < DEADLINE);
        tokio::task::yield_now().await;
    }
    assert!(
        started.elapsed() >= ttl + soonest,
        "{:?}",
        started.elapsed()
    );
    assert_eq!(cache.leave(&key, "stays").await.unwrap(), 0);
}

/// Joining is one step: nobody is lost, and the counts of all are different.
pub async fn of_many_that_join_at_once_all_are_there(cache: Arc<dyn Cache>) {
    let key = fresh("group");
    let mut joining = JoinSet::new();
    for n in 0..100_usize {
        let (cache, key) = (cache.clone(), key.clone());
        joining.spawn(async move {
            let name = n.to_string();
            let joined = cache.join(&key, &name, Bytes::new(), 6 * DEADLINE);
            joined.await.unwrap()
        });
    }
    let counts: HashSet<_> = joining.join_all().await.into_iter().collect();
    assert_eq!(counts, (1..=100).collect());
    assert_eq!(members(&cache, &key).await.len(), 100);
}

/// Nobody can make a group grow without end; who stays the shortest goes first, and never the one who comes.
pub async fn a_full_group_makes_room(cache: Arc<dyn Cache>) {
    let key = fresh("group");
    let join = |name: String, ttl| {
        let (cache, key) = (cache.clone(), key.clone());
        async move { cache.join(&key, &name, Bytes::new(), ttl).await.unwrap() }
    };
    join("first".to_owned(), 6 * DEADLINE).await;
    for n in 2..=MAX_MEMBERS {
        assert_eq!(join(n.to_string(), 7 * DEADLINE).await, n);
    }
    assert_eq!(join("2".to_owned(), 7 * DEADLINE).await, MAX_MEMBERS);
    assert_eq!(join("short".to_owned(), 5 * DEADLINE).await, MAX_MEMBERS);
    let here = members(&cache, &key).await;
    let has = |name: &str| here.iter().any(|(here, _)| here == name);
    assert!(here.len() == MAX_MEMBERS && has("short") && has("2") && !has("first"));
}

/// Nobody can fill the cache with one member.
pub async fn a_member_over_the_limit_is_refused(cache: Arc<dyn Cache>) {
    let key = fresh("group");
    let value = Bytes::from(vec![0; MAX_MEMBER_BYTES - 3]);
    assert_eq!(cache.join(&key, "one", value, DEADLINE).await.unwrap(), 1);
    let value = Bytes::from(vec![0; MAX_MEMBER_BYTES - 2]);
    assert!(matches!(
        cache.join(&key, "one", value, DEADLINE).await,
        Err(Error::TooLarge(_))
    ));
}
