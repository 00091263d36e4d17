//! One connection's place in one chat stream.
//!
//! Events leave with rising `o` and without a hole, whatever order and repetition they come in. While
//! the database is read for what lies before, events that happen meanwhile wait.

use std::collections::VecDeque;

/// Events that may wait; what comes after them is read from the database again.
const MAX_WAITING: usize = 128;

/// A place in a stream; `T` is what is sent for an event.
#[derive(Debug)]
pub(crate) struct Subscription<T> {
    last: i64,
    until: Option<i64>,
    waiting: Option<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    events: VecDeque<(i64, T)>,
    /// Later events were seen and not kept.
    is_cut: bool,
}

/// What to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It was sent before, or it waits.
    Nothing,
    /// Send it.
    Send,
    /// Events before it are missing: read them from the database.
    Fetch,
    /// It lies behind what this reader may see.
    Over,
}

/// What can be sent after the database was read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Release<T> {
    /// What waited, in order.
    pub(crate) events: Vec<T>,
    /// Whether everything that happens from now on can be sent at once.
    pub(crate) is_live: bool,
}

impl<T: Clone> Subscription<T> {
    /// Keeps everything that happens until [`Subscription::start`] says where to begin.
    pub(crate) fn waiting() -> Self {
        let waiting = Waiting {
            events: VecDeque::new(),
            is_cut: false,
        };
        Self {
            last: i64::MIN,
            until: None,
            waiting: Some(waiting),
        }
    }

    /// Everything up to `last` is known to the reader, who may see events up to `until`.
    pub(crate) fn start(&mut self, last: i64, until: Option<i64>) {
        self.last = last;
        self.until = until;
    }

    /// Whether it has begun and is not over.
    pub(crate) fn is_open(&self) -> bool {
        self.last != i64::MIN && !self.is_over()
    }

    /// The last event that was sent or was known.
    pub(crate) fn last(&self) -> i64 {
        self.last
    }

    /// The reader may see nothing after `o`.
    pub(crate) fn end_at(&mut self, o: i64) {
        self.until = Some(self.until.map_or(o, |until| until.min(o)));
    }

    /// Whether the reader has seen the last that they may see.
    pub(crate) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| self.last >= until)
    }

    /// An event has happened.
    pub(crate) fn offer(&mut self, o: i64, event: &T) -> Step {
        if let Some(waiting) = &mut self.waiting {
            waiting.keep(o, event);
            return Step::Nothing;
        }
        match self.advance(o) {
            Step::Fetch => {
                let mut waiting = Waiting {
                    events: VecDeque::new(),
                    is_cut: false,
                };
                waiting.keep(o, event);
                self.waiting = Some(waiting);
                Step::Fetch
            }
            step => step,
        }
    }

    /// An event was read from the database.
    pub(crate) fn advance(&mut self, o: i64) -> Step {
        if o <= self.last {
            Step::Nothing
        } else if self.until.is_some_and(|until| o > until) {
            Step::Over
        } else if o == self.last + 1 {
            self.last = o;
            Step::Send
        } else {
            Step::Fetch
        }
    }

    /// The database has nothing more: what waited follows, as far as it has no hole.
    pub(crate) fn release(&mut self) -> Release<T> {
        let mut events = Vec::new();
        let Some(mut waiting) = self.waiting.take() else {
            return Release {
                events,
                is_live: true,
            };
        };
        while let Some((o, event)) = waiting.events.pop_front() {
            match self.advance(o) {
                Step::Nothing => {}
                Step::Send => events.push(event),
                Step::Over => {
                    return Release {
                        events,
                        is_live: true,
                    };
                }
                Step::Fetch => {
                    waiting.events.push_front((o, event));
                    self.waiting = Some(waiting);
                    return Release {
                        events,
                        is_live: false,
                    };
                }
            }
        }
        let is_live = !std::mem::take(&mut waiting.is_cut);
        if !is_live {
            self.waiting = Some(waiting);
        }
        Release { events, is_live }
    }
}

impl<T: Clone> Waiting<T> {
    fn keep(&mut self, o: i64, event: &T) {
        if self.is_cut || self.events.len() >= MAX_WAITING {
            self.is_cut = true;
        } else if self.events.back().is_none_or(|(last, _)| *last < o) {
            self.events.push_back((o, event.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn live(last: i64) -> Subscription<i64> {
        let mut subscription = Subscription::waiting();
        subscription.start(last, None);
        assert!(subscription.release().is_live);
        subscription
    }

    #[test]
    fn repeated_events_are_dropped_and_a_hole_is_fetched() {
        let mut place = live(5);
        assert_eq!(place.offer(6, &6), Step::Send);
        assert_eq!(place.offer(6, &6), Step::Nothing);
        assert_eq!(place.offer(9, &9), Step::Fetch);
        assert_eq!(place.offer(10, &10), Step::Nothing, "it waits");
        assert_eq!([7, 8].map(|o| place.advance(o)), [Step::Send, Step::Send]);
        assert_eq!(
            place.release(),
            Release {
                events: vec![9, 10],
                is_live: true
            }
        );
        assert_eq!(place.offer(11, &11), Step::Send);
    }

    /// guarantee:G8: nothing outside of the reader's interval is ever sent.
    #[test]
    fn nothing_after_the_end_of_a_membership_is_sent() {
        let mut place = live(5);
        place.end_at(7);
        assert!(!place.is_over());
        assert_eq!(place.offer(6, &6), Step::Send);
        assert_eq!(place.offer(7, &7), Step::Send);
        assert!(place.is_over());
        assert_eq!(place.offer(8, &8), Step::Over);

        let mut place = Subscription::waiting();
        assert_eq!(place.offer(8, &8), Step::Nothing);
        place.start(6, Some(7));
        assert_eq!(place.advance(7), Step::Send);
        assert_eq!(
            place.release(),
            Release {
                events: vec![],
                is_live: true
            }
        );
    }

    #[test]
    fn too_many_waiting_events_are_read_again() {
        let mut place = Subscription::waiting();
        for o in 1..=200 {
            assert_eq!(place.offer(o, &o), Step::Nothing);
        }
        place.start(0, None);
        let first = place.release();
        assert_eq!((first.events.len(), first.is_live), (MAX_WAITING, false));
        for o in 129..=200 {
            assert_eq!(place.advance(o), Step::Send);
        }
        assert!(place.release().is_live);
    }

    proptest! {
        /// guarantee:G5: live events that are lost or come twice, mixed with reads of the database at any
        /// moment, give the stream without a hole and in order.
        #[test]
        fn any_mix_gives_the_stream_in_order(
            since in 0_i64..20,
            script in prop::collection::vec((any::<bool>(), 0_u8..6), 1..200),
        ) {
            let mut head = 20;
            let mut place = Subscription::waiting();
            place.start(since, None);
            let mut sent = Vec::new();
            for (is_lost, action) in script {
                match action {
                    0 => {
                        while place.last() < head {
                            let o = place.last() + 1;
                            prop_assert_eq!(place.advance(o), Step::Send);
                            sent.push(o);
                        }
                        sent.extend(place.release().events);
                    }
                    1 => prop_assert_ne!(place.offer(head, &head), Step::Over),
                    _ => {
                        head += 1;
                        if !is_lost && place.offer(head, &head) == Step::Send {
                            sent.push(head);
                        }
                    }
                }
                if place.offer(head, &head) == Step::Send {
                    sent.push(head);
                }
            }
            let expected: Vec<_> = (since + 1..=place.last()).collect();
            prop_assert_eq!(sent, expected);
        }
    }
}
