//! Who reads what: members, the partitions they own, and the places of groups.
//!
//! Pure state without I/O; time is passed in. A partition that moves is given up by its owner at the
//! owner's next poll, so that a batch in work is finished first, or taken away when the owner has not
//! polled for its session timeout.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::memory::Slot;
use crate::Error;

/// Identifies one consumer, for a member name can be taken over by another one.
pub(super) type Token = u64;

/// The owned partitions, each with the number of the change of owner that brought it.
pub(super) type Owned = BTreeMap<Slot, u64>;

/// What a consumer says about itself.
#[derive(Clone)]
pub(super) struct Membership {
    pub(super) group: Arc<str>,
    pub(super) member: Arc<str>,
    pub(super) token: Token,
    /// The partitions of its topics, in order.
    pub(super) slots: Arc<[Slot]>,
    pub(super) session_timeout: Duration,
    /// Wakes its poll.
    pub(super) wake: Arc<Notify>,
}

/// What a poll learns of its group.
pub(super) struct View {
    pub(super) owned: Owned,
    /// Its session was over and it begins anew.
    pub(super) is_back: bool,
    /// When to look again, since another member may have gone silent by then.
    pub(super) look_again: Option<Instant>,
}

struct Member {
    membership: Membership,
    /// The end of its last poll; `None` while one is running.
    seen: Option<Instant>,
}

impl Member {
    fn ends(&self, now: Instant) -> Instant {
        self.seen.unwrap_or(now) + self.membership.session_timeout
    }
}

#[derive(Default)]
struct Seat {
    owner: Option<Arc<str>>,
    /// Who shall own it; the owner gives it up when this is somebody else.
    target: Option<Arc<str>>,
    change: u64,
}

struct Position {
    next: i64,
    is_saved: bool,
}

#[derive(Default)]
struct Group {
    members: BTreeMap<Arc<str>, Member>,
    seats: BTreeMap<Slot, Seat>,
    positions: BTreeMap<Slot, Position>,
    changes: u64,
    /// No member came or went since the seats got their targets.
    is_balanced: bool,
}

/// All groups of the log.
#[derive(Default)]
pub(super) struct Groups {
    groups: HashMap<Arc<str>, Group>,
    last_token: Token,
}

impl Groups {
    /// A token that no consumer has.
    pub(super) fn token(&mut self) -> Token {
        self.last_token += 1;
        self.last_token
    }

    /// Joins; whoever had the member's name before is put out.
    pub(super) fn join(&mut self, membership: Membership, now: Instant) {
        let group = self
            .groups
            .entry(Arc::clone(&membership.group))
            .or_default();
        group.remove(&membership.member);
        group.add(membership, now);
        group.share(now);
    }

    /// Leaves at once, unless somebody else has taken the name.
    pub(super) fn leave(&mut self, membership: &Membership, now: Instant) {
        let Some(group) = self.groups.get_mut(&membership.group) else {
            return;
        };
        if group.is_current(membership) {
            group.remove(&membership.member);
            group.share(now);
        }
    }

    /// Begins a poll, or goes on with it: gives up what shall move and says what is owned.
    ///
    /// # Errors
    /// [`Error::Invalid`] when another consumer has taken the member's name.
    pub(super) fn poll(&mut self, membership: &Membership, now: Instant) -> Result<View, Error> {
        let group = self
            .groups
            .entry(Arc::clone(&membership.group))
            .or_default();
        let member = &membership.member;
        let is_back = !group.members.contains_key(member);
        if is_back {
            group.add(membership.clone(), now);
        } else if !group.is_current(membership) {
            return Err(Error::Invalid(format!(
                "another consumer is member {member} of group {} now",
                membership.group
            )));
        }
        if let Some(member) = group.members.get_mut(member) {
            member.seen = None;
        }
        group.give_up(member);
        group.share(now);
        let look_again = group.others(member).map(|other| other.ends(now)).min();
        Ok(View {
            owned: group.owned(member),
            is_back,
            look_again,
        })
    }

    /// A poll has ended.
    pub(super) fn rest(&mut self, membership: &Membership, now: Instant) {
        let Some(group) = self.groups.get_mut(&membership.group) else {
            return;
        };
        if group.is_current(membership)
            && let Some(member) = group.members.get_mut(&membership.member)
        {
            member.seen = Some(now);
        }
    }

    /// Whether this very consumer owns the partition.
    pub(super) fn is_owner(&self, membership: &Membership, slot: Slot) -> bool {
        self.groups.get(&membership.group).is_some_and(|group| {
            group.is_current(membership)
                && group
                    .seats
                    .get(&slot)
                    .is_some_and(|seat| seat.owner.as_ref() == Some(&membership.member))
        })
    }

    /// The next offset that a group reads, as far as the log was told.
    pub(super) fn position(&self, group: &str, slot: Slot) -> Option<i64> {
        self.groups
            .get(group)?
            .positions
            .get(&slot)
            .map(|position| position.next)
    }

    /// Keeps the next offset that a group reads.
    pub(super) fn set_position(&mut self, group: &Arc<str>, slot: Slot, next: i64) {
        let positions = &mut self.groups.entry(Arc::clone(group)).or_default().positions;
        let position = positions.entry(slot).or_insert(Position {
            next: i64::MIN,
            is_saved: true,
        });
        if position.next != next {
            *position = Position {
                next,
                is_saved: false,
            };
        }
    }

    /// Takes over what the file knows.
    pub(super) fn load_position(&mut self, group: Arc<str>, slot: Slot, next: i64) {
        self.groups.entry(group).or_default().positions.insert(
            slot,
            Position {
                next,
                is_saved: true,
            },
        );
    }

    /// The positions that the file does not know yet.
    pub(super) fn unsaved(&self) -> Vec<(Arc<str>, Slot, i64)> {
        self.positions()
            .filter(|(.., position)| !position.is_saved)
            .map(told)
            .collect()
    }

    /// The file knows these now.
    pub(super) fn mark_saved(&mut self, saved: &[(Arc<str>, Slot, i64)]) {
        for (group, slot, next) in saved {
            let position = self
                .groups
                .get_mut(group)
                .and_then(|group| group.positions.get_mut(slot));
            if let Some(position) = position
                && position.next == *next
            {
                position.is_saved = true;
            }
        }
    }

    /// Every position.
    pub(super) fn all_positions(&self) -> Vec<(Arc<str>, Slot, i64)> {
        self.positions().map(told).collect()
    }

    /// The lowest position of any group in a partition: nothing from there on may be removed.
    pub(super) fn floor(&self, slot: Slot) -> Option<i64> {
        self.groups
            .values()
            .filter_map(|group| group.positions.get(&slot))
            .map(|position| position.next)
            .min()
    }

    fn positions(&self) -> impl Iterator<Item = (&Arc<str>, &Slot, &Position)> {
        self.groups.iter().flat_map(|(name, group)| {
            group
                .positions
                .iter()
                .map(move |(slot, position)| (name, slot, position))
        })
    }
}

fn told((group, slot, position): (&Arc<str>, &Slot, &Position)) -> (Arc<str>, Slot, i64) {
    (Arc::clone(group), *slot, position.next)
}

impl Group {
    fn add(&mut self, membership: Membership, now: Instant) {
        self.is_balanced = false;
        for slot in membership.slots.iter() {
            self.seats.entry(*slot).or_default();
        }
        self.members.insert(
            Arc::clone(&membership.member),
            Member {
                membership,
                seen: Some(now),
            },
        );
    }

    fn remove(&mut self, name: &Arc<str>) {
        let Some(member) = self.members.remove(name) else {
            return;
        };
        self.is_balanced = false;
        // The consumer may be in a poll and learns there that it is out.
        member.membership.wake.notify_one();
        for seat in self.seats.values_mut() {
            if seat.owner.as_ref() == Some(name) {
                seat.owner = None;
            }
            if seat.target.as_ref() == Some(name) {
                seat.target = None;
            }
        }
    }

    fn is_current(&self, membership: &Membership) -> bool {
        self.members
            .get(&membership.member)
            .is_some_and(|member| member.membership.token == membership.token)
    }

    fn others(&self, name: &str) -> impl Iterator<Item = &Member> {
        self.members
            .iter()
            .filter(move |(other, _)| &***other != name)
            .map(|(_, member)| member)
    }

    fn owned(&self, name: &Arc<str>) -> Owned {
        let seats = self
            .seats
            .iter()
            .filter(|(_, seat)| seat.owner.as_ref() == Some(name));
        seats.map(|(slot, seat)| (*slot, seat.change)).collect()
    }

    fn give_up(&mut self, name: &Arc<str>) {
        for seat in self.seats.values_mut() {
            if seat.owner.as_ref() == Some(name) && seat.target.as_ref() != Some(name) {
                seat.owner = None;
            }
        }
    }

    /// Spreads the partitions evenly while moving as few as possible.
    fn share(&mut self, now: Instant) {
        let silent: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| member.seen.is_some() && member.ends(now) <= now)
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in silent {
            self.remove(&name);
        }
        if !self.is_balanced {
            self.balance();
            self.is_balanced = true;
        }
        self.hand_over();
    }

    /// Sets the target of every seat; one that has a target keeps it where that is fair.
    fn balance(&mut self) {
        let Self { members, seats, .. } = self;
        let wants = |name: &Arc<str>, slot: &Slot| {
            members
                .get(name)
                .is_some_and(|member| member.membership.slots.binary_search(slot).is_ok())
        };
        let mut loads: BTreeMap<Arc<str>, usize> =
            members.keys().map(|name| (Arc::clone(name), 0)).collect();
        for (slot, seat) in seats.iter_mut() {
            seat.target = seat.target.take().filter(|name| wants(name, slot));
            if let Some(load) = seat.target.as_ref().and_then(|name| loads.get_mut(name)) {
                *load += 1;
            }
        }
        let least = |loads: &BTreeMap<Arc<str>, usize>, slot: &Slot| {
            let able = loads.iter().filter(|(name, _)| wants(name, slot));
            able.min_by_key(|(_, load)| **load)
                .map(|(name, load)| (Arc::clone(name), *load))
        };
        for (slot, seat) in seats.iter_mut().filter(|(_, seat)| seat.target.is_none()) {
            let Some((name, load)) = least(&loads, slot) else {
                continue;
            };
            loads.insert(Arc::clone(&name), load + 1);
            seat.target = Some(name);
        }
        for (slot, seat) in seats.iter_mut() {
            let Some(from) = seat.target.clone() else {
                continue;
            };
            let Some((to, load)) = least(&loads, slot) else {
                continue;
            };
            if loads[&from] > load + 1 {
                loads.entry(from).and_modify(|load| *load -= 1);
                loads.insert(Arc::clone(&to), load + 1);
                seat.target = Some(to);
            }
        }
    }

    /// Free seats go to their targets; owners that shall give one up are woken.
    fn hand_over(&mut self) {
        for seat in self.seats.values_mut() {
            if seat.owner == seat.target {
                continue;
            }
            if seat.owner.is_none() {
                seat.owner.clone_from(&seat.target);
                self.changes += 1;
                seat.change = self.changes;
            }
            if let Some(member) = seat
                .owner
                .as_ref()
                .and_then(|owner| self.members.get(owner))
            {
                member.membership.wake.notify_one();
            }
        }
    }
}
