//! Counts what arrived on each connection and what should not have: missing, duplicate, misordered.

use std::{
    collections::HashSet,
    fmt,
    ops::{Add, AddAssign},
};

/// What became of the messages of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that arrived for the first time, in any order.
    pub delivered: u64,
    /// Messages that never arrived.
    pub missing: u64,
    /// Messages that arrived again.
    pub duplicate: u64,
    /// Messages that arrived after a later one, or not in the order in which they were sent.
    pub misordered: u64,
}

impl Tally {
    /// Whether every message arrived exactly once and in order.
    pub fn is_clean(&self) -> bool {
        *self
            == Self {
                delivered: self.delivered,
                ..Self::default()
            }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.missing += other.missing;
        self.duplicate += other.duplicate;
        self.misordered += other.misordered;
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            delivered,
            missing,
            duplicate,
            misordered,
        } = self;
        write!(
            f,
            "{delivered} delivered, {missing} missing, {duplicate} duplicate, {misordered} misordered"
        )
    }
}

#[derive(Clone, Copy, Debug)]
struct Reader {
    /// `o` of the first message that is expected.
    first: u64,
    /// `o` of the next one.
    next: u64,
}

/// The readers of a round, one for each connection.
#[derive(Debug)]
pub struct Ledger {
    readers: Vec<Reader>,
    skipped: HashSet<(usize, u64)>,
    tally: Tally,
}

impl Ledger {
    /// `heads` is, for each connection, the `o` after which its messages come.
    pub fn new(heads: impl IntoIterator<Item = u64>) -> Self {
        let readers = heads
            .into_iter()
            .map(|head| Reader {
                first: head + 1,
                next: head + 1,
            })
            .collect();
        Self {
            readers,
            skipped: HashSet::new(),
            tally: Tally::default(),
        }
    }

    /// A message has arrived; answers which one of its stream it is, from 0, if it is the first time.
    pub fn arrived(&mut self, connection: usize, o: u64) -> Option<u64> {
        let reader = &mut self.readers[connection];
        if o == reader.next {
            reader.next += 1;
        } else if o > reader.next {
            self.skipped
                .extend((reader.next..o).map(|skipped| (connection, skipped)));
            reader.next = o + 1;
        } else if self.skipped.remove(&(connection, o)) {
            self.tally.misordered += 1;
        } else {
            self.tally.duplicate += 1;
            return None;
        }
        self.tally.delivered += 1;
        o.checked_sub(reader.first)
    }

    /// The text of a message was not that of the `n`th one sent to its stream.
    pub fn out_of_turn(&mut self) {
        self.tally.misordered += 1;
    }

    /// The result, when `expected` messages should have arrived in all.
    pub fn close(self, expected: u64) -> Tally {
        Tally {
            missing: expected.saturating_sub(self.tally.delivered),
            ..self.tally
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(arrivals: &[u64], expected: u64) -> Tally {
        let mut ledger = Ledger::new([10]);
        for o in arrivals {
            ledger.arrived(0, *o);
        }
        ledger.close(expected)
    }

    #[test]
    fn what_arrives_once_and_in_order_is_clean() {
        let tally = tally(&[11, 12, 13], 3);
        assert!(tally.is_clean());
        assert_eq!(tally.delivered, 3);
    }

    #[test]
    fn a_hole_that_stays_is_missing() {
        let tally = tally(&[11, 13], 3);
        assert_eq!(
            (tally.missing, tally.misordered, tally.duplicate),
            (1, 0, 0)
        );
        assert!(!tally.is_clean());
    }

    #[test]
    fn a_hole_that_is_filled_late_is_misordered() {
        let tally = tally(&[11, 13, 12], 3);
        assert_eq!(
            (
                tally.delivered,
                tally.missing,
                tally.misordered,
                tally.duplicate
            ),
            (3, 0, 1, 0)
        );
        assert!(!tally.is_clean());
    }

    #[test]
    fn what_arrives_again_is_a_duplicate() {
        let tally = tally(&[11, 12, 12, 11, 13], 3);
        assert_eq!((tally.delivered, tally.missing, tally.duplicate), (3, 0, 2));
    }

    #[test]
    fn a_tail_that_never_comes_is_missing() {
        assert_eq!(tally(&[11], 3).missing, 2);
    }
}
