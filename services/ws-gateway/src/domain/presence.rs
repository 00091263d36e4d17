//! How present a person is, from what the registry holds of their connections.

use contracts::{SessionId, frames::PresenceState};
use realtime::Activity;
use serde::{Deserialize, Serialize};

/// A connection as it stands in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registered {
    /// The login that it belongs to.
    pub(crate) login: SessionId,
    /// Whether somebody is at it.
    pub(crate) state: Activity,
    /// Since when, milliseconds since 1970.
    pub(crate) since: i64,
}

/// What is known of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How present they are.
    pub(crate) state: PresenceState,
    /// Since when, milliseconds since 1970, if that is known.
    pub(crate) since: Option<i64>,
}

impl Seen {
    /// Nothing can be known.
    pub(crate) const UNKNOWN: Self = Self {
        state: PresenceState::Unknown,
        since: None,
    };

    /// What all connections of a person say at `now`, and what was known of them `before`. They are active since the
    /// first of their active connections is, idle since the last one became so, offline since they were seen to go.
    pub(crate) fn of(connections: &[Registered], before: Option<Self>, now: i64) -> Self {
        let since = |state| {
            let alike = connections.iter().filter(move |one| one.state == state);
            alike.map(|one| one.since)
        };
        if let Some(first) = since(Activity::Active).min() {
            return Self {
                state: PresenceState::Active,
                since: Some(first),
            };
        }
        if let Some(last) = since(Activity::Idle).max() {
            return Self {
                state: PresenceState::Idle,
                since: Some(last),
            };
        }
        let since = before.and_then(|before| match before.state {
            PresenceState::Active | PresenceState::Idle => Some(now),
            PresenceState::Offline => before.since,
            PresenceState::Unknown => None,
        });
        Self {
            state: PresenceState::Offline,
            since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(state: Activity, since: i64) -> Registered {
        Registered {
            login: SessionId(uuid::Uuid::nil()),
            state,
            since,
        }
    }

    fn seen(state: PresenceState, since: Option<i64>) -> Seen {
        Seen { state, since }
    }

    /// row:D10: whoever is at one of their devices is active; only without any connection are they offline.
    #[test]
    fn a_person_is_as_present_as_at_the_device_they_use() {
        use Activity::{Active, Idle};
        let of = |list: &[(Activity, i64)]| {
            let list: Vec<_> = list
                .iter()
                .map(|(state, at)| connection(*state, *at))
                .collect();
            Seen::of(&list, None, 99)
        };
        assert_eq!(
            of(&[(Idle, 1), (Active, 7), (Active, 5)]),
            seen(PresenceState::Active, Some(5))
        );
        assert_eq!(
            of(&[(Idle, 1), (Idle, 3)]),
            seen(PresenceState::Idle, Some(3))
        );
        assert_eq!(of(&[]), seen(PresenceState::Offline, None));
    }

    /// threat:T41: since when somebody is away is told only to those who saw them go.
    #[test]
    fn the_moment_of_going_is_known_to_whoever_saw_it() {
        for (before, since) in [
            (None, None),
            (Some(Seen::UNKNOWN), None),
            (Some(seen(PresenceState::Active, Some(1))), Some(99)),
            (Some(seen(PresenceState::Idle, Some(1))), Some(99)),
            (Some(seen(PresenceState::Offline, Some(7))), Some(7)),
        ] {
            let now = Seen::of(&[], before, 99);
            assert_eq!(now, seen(PresenceState::Offline, since), "{before:?}");
        }
    }

    #[test]
    fn what_stands_in_the_registry_is_small_and_read_back() {
        let one = connection(Activity::Idle, 1_800_000_000_000);
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(
            text,
            r#"{"login":"00000000-0000-0000-0000-000000000000","state":"idle","since":1800000000000}"#
        );
        assert_eq!(serde_json::from_str::<Registered>(&text).unwrap(), one);
    }
}
