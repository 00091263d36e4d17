//! What the server does in one step, by its own clock.

use std::time::Duration;

use redis::Script;

pub(super) struct Scripts {
    pub(super) take: Script,
    pub(super) join: Script,
    pub(super) leave: Script,
    pub(super) members: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            take: Script::new(concat!(include_str!("now.lua"), include_str!("take.lua"))),
            join: Script::new(concat!(
                include_str!("now.lua"),
                include_str!("group.lua"),
                include_str!("join.lua")
            )),
            leave: Script::new(concat!(
                include_str!("now.lua"),
                include_str!("group.lua"),
                include_str!("leave.lua")
            )),
            members: Script::new(concat!(
                include_str!("now.lua"),
                include_str!("group.lua"),
                include_str!("members.lua")
            )),
        }
    }
}

/// A time as the scripts take it: in whole microseconds, so more than a million tokens a second are no limit.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redis::{Connection, Script};
    use tokio::time::Instant;

    use super::*;
    use crate::{Decision, Rule, gcra};

    /// The script of the server with a clock that the test sets.
    const TAKE: &str = concat!("local now = tonumber(ARGV[3])\n", include_str!("take.lua"));
    const BEGIN: u64 = 1_800_000_000_000_000;

    fn connection() -> Connection {
        #[expect(clippy::disallowed_methods, reason = "tests find their server by it")]
        let url = std::env::var("REDIS_URL")
            .expect("REDIS_URL names a Redis for tests; scripts/redis up starts one");
        let client = redis::Client::open(url).unwrap();
        client.get_connection().unwrap()
    }

    fn of_server(server: &mut Connection, key: &str, rule: Rule, now: Duration) -> Decision {
        let (interval, capacity) = gcra::shape(rule);
        let now = BEGIN + u64::try_from(now.as_micros()).unwrap();
        let wait: u64 = Script::new(TAKE)
            .key(key)
            .arg(micros(interval))
            .arg(micros(capacity))
            .arg(now)
            .invoke(server)
            .unwrap();
        match wait {
            0 => Decision::Allowed,
            wait => Decision::Denied {
                retry_after: Duration::from_micros(wait),
            },
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Whatever is asked when, under rules that may change: the server decides as the process does by itself.
        #[test]
        fn the_server_decides_like_the_process(
            asked in prop::collection::vec((0_u64..30_000_000, 0..3_usize), 1..40),
            rules in prop::array::uniform3((0_u64..10_000_000, 0_u32..50, 0_u32..20)),
        ) {
            let mut server = connection();
            let key = format!("messenger:test:{}", kit::Ids::next(&kit::RandomIds));
            let rules = rules.map(|(interval, count, burst)| Rule {
                per: Duration::from_micros(interval) * count.max(1),
                count,
                burst,
            });
            let begin = Instant::now();
            let (mut full_at, mut now) = (None, Duration::ZERO);
            for (pause, rule) in asked {
                now += Duration::from_micros(pause);
                let (expected, next) = gcra::take(full_at, begin + now, rules[rule]);
                full_at = next.or(full_at);
                prop_assert_eq!(of_server(&mut server, &key, rules[rule], now), expected);
            }
            let _: () = redis::cmd("DEL").arg(&key).query(&mut server).unwrap();
        }
    }
}
