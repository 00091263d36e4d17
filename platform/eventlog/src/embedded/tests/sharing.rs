//! The rules by which a group shares its partitions, with time in hand.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    Error,
    embedded::{
        groups::{Groups, Membership},
        memory::Slot,
    },
};

const TIMEOUT: Duration = Duration::from_secs(6);

fn membership(groups: &mut Groups, member: &str, slots: std::ops::Range<Slot>) -> Membership {
    Membership {
        group: "group".into(),
        member: member.into(),
        token: groups.token(),
        slots: slots.collect(),
        session_timeout: TIMEOUT,
        wake: Arc::default(),
    }
}

fn poll(groups: &mut Groups, membership: &Membership, now: Instant) -> Vec<Slot> {
    let view = groups.poll(membership, now).unwrap();
    groups.rest(membership, now);
    view.owned.into_keys().collect()
}

#[test]
fn as_few_partitions_as_possible_move_and_each_waits_for_its_owner() {
    let (mut groups, now) = (Groups::default(), Instant::now());
    let one = membership(&mut groups, "one", 0..7);
    groups.join(one.clone(), now);
    assert_eq!(poll(&mut groups, &one, now).len(), 7);
    let two = membership(&mut groups, "two", 0..7);
    groups.join(two.clone(), now);
    assert!(
        poll(&mut groups, &two, now).is_empty(),
        "the owner may have a batch in work"
    );
    let kept = poll(&mut groups, &one, now);
    assert_eq!((kept.len(), poll(&mut groups, &two, now).len()), (4, 3));
    let three = membership(&mut groups, "three", 0..7);
    groups.join(three.clone(), now);
    assert!(
        poll(&mut groups, &one, now)
            .iter()
            .all(|slot| kept.contains(slot))
    );
    poll(&mut groups, &two, now);
    let counts = [&one, &two, &three].map(|member| poll(&mut groups, member, now).len());
    assert_eq!(
        (counts.iter().sum::<usize>(), counts.iter().max()),
        (7, Some(&3)),
        "{counts:?}"
    );
}

#[test]
fn members_share_only_what_they_read() {
    let (mut groups, now) = (Groups::default(), Instant::now());
    let one = membership(&mut groups, "one", 0..4);
    let two = membership(&mut groups, "two", 2..4);
    groups.join(one.clone(), now);
    groups.join(two.clone(), now);
    poll(&mut groups, &one, now);
    assert_eq!(poll(&mut groups, &two, now), [2, 3]);
    assert_eq!(poll(&mut groups, &one, now), [0, 1]);
}

#[test]
fn only_a_member_that_does_not_poll_loses_its_session() {
    let (mut groups, now) = (Groups::default(), Instant::now());
    let waits = membership(&mut groups, "waits", 0..2);
    let silent = membership(&mut groups, "silent", 0..2);
    groups.join(waits.clone(), now);
    groups.join(silent.clone(), now);
    poll(&mut groups, &waits, now);
    assert_eq!(poll(&mut groups, &silent, now).len(), 1);
    let waiting = groups.poll(&waits, now).unwrap();
    assert_eq!(waiting.look_again, Some(now + TIMEOUT));
    let later = now + TIMEOUT;
    assert_eq!(groups.poll(&waits, later).unwrap().owned.len(), 2);
    let much_later = later + 10 * TIMEOUT;
    let back = groups.poll(&silent, much_later).unwrap();
    assert!(
        back.is_back && back.owned.is_empty(),
        "a poll that runs is a sign of life"
    );
}

#[test]
fn whoever_takes_a_members_name_puts_the_former_one_out() {
    let (mut groups, now) = (Groups::default(), Instant::now());
    let former = membership(&mut groups, "one", 0..2);
    groups.join(former.clone(), now);
    let next = membership(&mut groups, "one", 0..2);
    groups.join(next.clone(), now);
    assert!(matches!(groups.poll(&former, now), Err(Error::Invalid(_))));
    groups.leave(&former, now);
    assert_eq!(poll(&mut groups, &next, now), [0, 1]);
    assert!(!groups.is_owner(&former, 0) && groups.is_owner(&next, 0));
}
