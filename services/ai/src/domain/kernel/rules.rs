//! One test for each guard: take the guard away and it fails.

use contracts::{RunId, ai::RunState, chat::BindingMode};
use uuid::Uuid;

use super::*;

const MINUTE: i64 = 60_000;

pub(super) fn limits() -> Limits {
    Limits {
        takeover_ms: 10 * MINUTE,
        pause_ms: 3_000,
        pause_max_ms: 15_000,
        consecutive: 3,
        replies_per_hour: 60,
        outcome_ms: 2 * MINUTE,
        open_advice: 4,
    }
}

/// A binding with a clock, and with a budget that grants everything unless told otherwise.
struct Binding {
    limits: Limits,
    state: State,
    now_ms: i64,
    o: i64,
    runs: u128,
    budget: bool,
    done: Vec<Action>,
}

impl Binding {
    fn new(mode: BindingMode, release: Release) -> Self {
        let mut binding = Self {
            limits: limits(),
            state: State::default(),
            now_ms: 100 * MINUTE,
            o: 0,
            runs: 0,
            budget: true,
            done: Vec::new(),
        };
        binding.on(Event::Bound(mode));
        binding.on(Event::Configured(Settings {
            release,
            advice_on_message: false,
        }));
        binding
    }

    fn immediate() -> Self {
        Self::new(BindingMode::Autoreply, Release::Immediate)
    }

    fn on(&mut self, event: Event) {
        self.runs += 1;
        let moment = Moment {
            now_ms: self.now_ms,
            run: RunId(Uuid::from_u128(self.runs)),
            delay_ms: 5_000,
        };
        let (state, actions) = step(&self.limits, std::mem::take(&mut self.state), event, moment);
        self.state = state;
        self.done.extend(&actions);
        for action in actions {
            if let Action::Reserve(run) = action {
                self.on(Event::Reserved {
                    run,
                    granted: self.budget,
                });
            }
        }
    }

    fn line(&mut self, author: Author, automatic: bool) {
        self.o += 1;
        self.on(Event::Fed(Line {
            o: self.o,
            author,
            automatic,
            run: None,
            at_ms: self.now_ms,
        }));
    }

    fn other_writes(&mut self) {
        self.line(Author::Other, false);
    }

    fn owner_writes(&mut self) {
        self.line(Author::Owner, false);
    }

    fn wait(&mut self, ms: i64) {
        self.now_ms += ms;
        self.on(Event::Timer);
    }

    fn open(&self) -> RunId {
        self.state.open.expect("a run is open").run
    }

    /// Another member writes, the pause passes, the provider finishes.
    fn written(&mut self) -> RunId {
        self.other_writes();
        self.wait(3_000);
        let run = self.open();
        self.on(Event::Finished(run));
        run
    }

    fn last(&self, run: RunId) -> Option<(RunState, Option<Why>)> {
        self.done.iter().rev().find_map(|action| match action {
            Action::Mark {
                run: marked,
                state,
                why,
            } if *marked == run => Some((*state, *why)),
            _ => None,
        })
    }

    fn starts(&self) -> usize {
        self.done
            .iter()
            .filter(|action| matches!(action, Action::Start(_)))
            .count()
    }

    fn releases(&self) -> usize {
        self.done
            .iter()
            .filter(|action| matches!(action, Action::Release { .. }))
            .count()
    }
}

#[test]
fn a_reply_is_written_after_the_pause_and_sent_after_the_delay() {
    let mut binding = Binding::immediate();
    let run = binding.written();
    assert_eq!(
        binding.last(run),
        Some((RunState::Sending, Some(Why::Delay)))
    );
    assert_eq!(binding.releases(), 0);
    binding.wait(4_999);
    assert_eq!(binding.releases(), 0);
    binding.wait(1);
    assert_eq!(binding.releases(), 1);
    binding.on(Event::Told(run, Outcome::Stored));
    assert_eq!(binding.last(run), Some((RunState::Done, None)));
}

/// Guard 1. row:E22: an AI's message triggers nothing.
#[test]
fn an_automatic_message_never_triggers() {
    let mut binding = Binding::immediate();
    binding.line(Author::Other, true);
    binding.wait(MINUTE);
    assert_eq!(binding.starts(), 0);
}

/// Guard 1. row:E21: the owner's own message triggers nothing.
#[test]
fn the_owners_own_message_never_triggers() {
    let mut binding = Binding::immediate();
    binding.owner_writes();
    binding.wait(11 * MINUTE);
    assert_eq!(binding.starts(), 0);
}

/// Guard 3: the draft is made all the same, and waits.
#[test]
fn nothing_is_sent_unapproved_while_the_owner_is_here() {
    let mut binding = Binding::immediate();
    binding.owner_writes();
    binding.wait(9 * MINUTE);
    let run = binding.written();
    assert_eq!(
        binding.last(run),
        Some((RunState::Held, Some(Why::OwnerPresent)))
    );
    binding.wait(60 * MINUTE);
    assert_eq!(binding.releases(), 0, "what was held once stays held");
    binding.on(Event::Decided(run, Decision::Approve));
    assert_eq!(binding.releases(), 1);
}

/// Guard 3: a decision is a sign of life as well.
#[test]
fn a_decision_of_the_owner_holds_the_next_reply() {
    let mut binding = Binding::immediate();
    let run = binding.written();
    binding.on(Event::Decided(run, Decision::Discard));
    let next = binding.written();
    assert_eq!(
        binding.last(next),
        Some((RunState::Held, Some(Why::OwnerPresent)))
    );
    binding.on(Event::Decided(next, Decision::Discard));
    binding.wait(11 * MINUTE);
    let later = binding.written();
    assert_eq!(
        binding.last(later),
        Some((RunState::Sending, Some(Why::Delay)))
    );
}

/// Guard 5: quick messages make one turn; a turn does not wait for ever.
#[test]
fn a_reply_waits_for_a_pause_but_not_for_ever() {
    let mut binding = Binding::immediate();
    for _ in 0..7 {
        binding.other_writes();
        binding.wait(2_000);
    }
    assert_eq!(binding.starts(), 0, "nobody paused yet");
    binding.wait(1_000);
    assert_eq!(binding.starts(), 1, "15 s are over");
    assert_eq!(binding.state.open.expect("open").trigger_o, 7);
}

/// Guard 6: machines do not talk on among themselves.
#[test]
fn three_automatic_messages_in_a_row_are_enough() {
    let mut binding = Binding::immediate();
    binding.other_writes();
    for _ in 0..3 {
        binding.line(Author::Other, true);
    }
    binding.wait(15_000);
    assert_eq!(binding.starts(), 0);
    assert!(binding.done.iter().any(|action| {
        matches!(
            action,
            Action::Mark {
                state: RunState::Blocked,
                why: Some(Why::ConsecutiveLimit),
                ..
            }
        )
    }));
}

/// Guard 6, asked again before the release: what came during the delay counts as well.
#[test]
fn limits_hold_for_what_is_on_its_way() {
    let mut binding = Binding::immediate();
    binding.written();
    binding.line(Author::Other, true);
    binding.wait(3_000);
    // An automatic message replaces a run only once, so this one lives on.
    let run = binding.open();
    binding.on(Event::Finished(run));
    binding.line(Author::Other, true);
    binding.line(Author::Other, true);
    binding.wait(5_000);
    assert_eq!(
        (binding.last(run), binding.releases()),
        (Some((RunState::Blocked, Some(Why::ConsecutiveLimit))), 0)
    );
    let mut binding = Binding::immediate();
    let run = binding.written();
    // Somebody lowers the setting and starts the server again.
    binding.limits.replies_per_hour = 0;
    binding.wait(5_000);
    assert_eq!(
        (binding.last(run), binding.releases()),
        (Some((RunState::Blocked, Some(Why::HourLimit))), 0)
    );
}

/// Guard 6: so many replies an hour.
#[test]
fn replies_of_an_hour_are_counted() {
    let mut binding = Binding::immediate();
    binding.limits.replies_per_hour = 2;
    for _ in 0..3 {
        let run = binding
            .state
            .open
            .map_or_else(|| binding.written_or_blocked(), |open| open.run);
        binding.wait(5_000);
        binding.on(Event::Told(run, Outcome::Stored));
    }
    assert_eq!(binding.releases(), 2);
    binding.wait(60 * MINUTE);
    let run = binding.written();
    assert_eq!(
        binding.last(run),
        Some((RunState::Sending, Some(Why::Delay)))
    );
}

impl Binding {
    fn written_or_blocked(&mut self) -> RunId {
        self.other_writes();
        self.wait(3_000);
        let run = self.state.open.map_or(RunId(Uuid::nil()), |open| open.run);
        self.on(Event::Finished(run));
        run
    }
}

/// Guard 7. row:E34: what is not granted is not called.
#[test]
fn without_budget_nothing_is_called() {
    let mut binding = Binding::immediate();
    binding.budget = false;
    binding.other_writes();
    binding.wait(3_000);
    assert_eq!(binding.starts(), 0);
    let mut advised = Binding::new(BindingMode::Advice, Release::Approval);
    advised.budget = false;
    let run = RunId(Uuid::from_u128(77));
    advised.on(Event::Asked(run));
    assert_eq!(
        (advised.starts(), advised.last(run)),
        (0, Some((RunState::Blocked, Some(Why::Quota))))
    );
}

/// Guard 8: a draft that a newer message made stale cannot be sent; a new one takes its place.
#[test]
fn a_newer_message_makes_a_draft_stale() {
    let mut binding = Binding::new(BindingMode::Autoreply, Release::Approval);
    let stale = binding.written();
    assert_eq!(
        binding.last(stale),
        Some((RunState::Held, Some(Why::Approval)))
    );
    let fresh = binding.written();
    assert_eq!(
        binding.last(stale),
        Some((RunState::Superseded, Some(Why::NewerMessage)))
    );
    binding.on(Event::Decided(stale, Decision::Approve));
    assert_eq!(
        (binding.releases(), binding.done.last()),
        (0, Some(&Action::Refuse(stale)))
    );
    binding.on(Event::Decided(fresh, Decision::Approve));
    assert_eq!(binding.releases(), 1);
}

/// Guard 8: an automatic message makes a run start again, and only once.
#[test]
fn an_automatic_message_starts_a_run_again_once() {
    let mut binding = Binding::immediate();
    let first = binding.written();
    binding.line(Author::Other, true);
    assert_eq!(
        binding.last(first),
        Some((RunState::Superseded, Some(Why::NewerMessage)))
    );
    binding.wait(3_000);
    let second = binding.open();
    assert_ne!(first, second);
    binding.line(Author::Other, true);
    assert_eq!(binding.open(), second, "the second is not replaced again");
}

/// Guard 8: who answers in person needs no reply.
#[test]
fn the_owners_message_ends_the_reply() {
    let mut binding = Binding::immediate();
    let run = binding.written();
    binding.owner_writes();
    binding.wait(MINUTE);
    assert_eq!(
        binding.last(run),
        Some((RunState::Superseded, Some(Why::OwnerWrote)))
    );
    assert_eq!((binding.releases(), binding.starts()), (0, 1));
}

/// Guard 8. row:E25: a binding that is gone, or does something else, says nothing more.
#[test]
fn a_binding_that_is_gone_sends_nothing() {
    for (event, why) in [
        (Event::Unbound, Why::BindingRemoved),
        (Event::Bound(BindingMode::Advice), Why::BindingChanged),
    ] {
        let mut binding = Binding::immediate();
        let run = binding.written();
        binding.on(event);
        binding.wait(MINUTE);
        assert_eq!(binding.last(run), Some((RunState::Cancelled, Some(why))));
        assert_eq!(binding.releases(), 0);
    }
}

/// Guard 10: approval is the default, and asking for it holds what is on its way.
#[test]
fn approval_first_unless_the_owner_chose_otherwise() {
    assert_eq!(Settings::default().release, Release::Approval);
    let mut binding = Binding::immediate();
    let run = binding.written();
    binding.on(Event::Configured(Settings::default()));
    binding.wait(MINUTE);
    assert_eq!(
        binding.last(run),
        Some((RunState::Held, Some(Why::Approval)))
    );
    assert_eq!(binding.releases(), 0);
}

/// Guard 10: a provider that fails is told to the owner and nothing is said to the others.
#[test]
fn a_failed_provider_says_nothing_to_the_chat() {
    let mut binding = Binding::immediate();
    binding.other_writes();
    binding.wait(3_000);
    let run = binding.open();
    binding.on(Event::Failed(run));
    binding.wait(MINUTE);
    assert_eq!(binding.last(run), Some((RunState::Failed, None)));
    assert_eq!(binding.releases(), 0);
    assert_eq!(
        binding.written(),
        binding.open(),
        "the next message is answered again"
    );
}

/// Guard 11, guarantee:G16: however often the word comes, one release and one outcome.
#[test]
fn a_run_is_released_once() {
    let mut binding = Binding::immediate();
    let run = binding.written();
    binding.wait(5_000);
    binding.on(Event::Decided(run, Decision::Approve));
    binding.on(Event::Finished(run));
    binding.wait(MINUTE);
    binding.on(Event::Told(run, Outcome::Stored));
    binding.on(Event::Told(run, Outcome::Stored));
    binding.wait(MINUTE);
    assert_eq!(binding.releases(), 1);
}

#[test]
fn a_release_without_an_outcome_fails_visibly_and_a_late_word_corrects_it() {
    let mut binding = Binding::immediate();
    let run = binding.written();
    binding.wait(5_000);
    binding.wait(2 * MINUTE);
    assert_eq!(
        binding.last(run),
        Some((RunState::Failed, Some(Why::NotConfirmed)))
    );
    binding.on(Event::Told(run, Outcome::Stored));
    assert_eq!(binding.last(run), Some((RunState::Done, None)));
}

/// row:E13, row:E14: advice is given in advice mode, for each request, and cancelled on demand.
#[test]
fn advice_is_for_who_asked_and_only_in_advice_mode() {
    let (first, second) = (RunId(Uuid::from_u128(71)), RunId(Uuid::from_u128(72)));
    let mut binding = Binding::new(BindingMode::Advice, Release::Approval);
    binding.on(Event::Asked(first));
    binding.on(Event::Asked(second));
    binding.on(Event::Finished(first));
    assert!(binding.done.contains(&Action::Advise(first)));
    binding.on(Event::Decided(second, Decision::Cancel));
    binding.on(Event::Finished(second));
    assert!(!binding.done.contains(&Action::Advise(second)));
    let mut replying = Binding::immediate();
    replying.on(Event::Asked(first));
    assert_eq!(
        replying.last(first),
        Some((RunState::Cancelled, Some(Why::BindingChanged)))
    );
}

/// row:E17: advice without being asked, only if the owner switched it on.
#[test]
fn advice_on_each_message_is_a_choice() {
    let mut binding = Binding::new(BindingMode::Advice, Release::Approval);
    binding.other_writes();
    binding.wait(MINUTE);
    assert_eq!(binding.starts(), 0);
    binding.on(Event::Configured(Settings {
        advice_on_message: true,
        ..Settings::default()
    }));
    let run = binding.written();
    assert!(binding.done.contains(&Action::Advise(run)));
    assert_eq!(binding.releases(), 0);
}
