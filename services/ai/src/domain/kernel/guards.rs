//! The guards, each a small function of what is known at a moment. Their order is that of the lists.

use contracts::{ai::Why, chat::BindingMode};

use super::{Author, Limits, Line, Open, Release, State, Turn};

/// One hour in milliseconds.
pub(crate) const HOUR_MS: i64 = 3_600_000;

/// What a guard sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// The bounds.
    pub(crate) limits: &'a Limits,
    /// The binding.
    pub(crate) state: &'a State,
    /// The moment.
    pub(crate) now_ms: i64,
    /// The message that may trigger, while one is fed.
    pub(crate) line: Option<&'a Line>,
    /// The run that wants to go on.
    pub(crate) open: Option<&'a Open>,
}

/// What a guard says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing against it.
    Pass,
    /// The text may be written, and waits for its owner.
    Draft(Why),
    /// No further.
    Stop(Option<Why>),
}

/// One guard.
pub(crate) type Guard = fn(&View<'_>) -> Verdict;

/// Asked when a message is fed: guards 1 and 3. Consent (2) belongs between them, schedule and audience (4) behind.
pub(crate) const TRIGGER: &[Guard] = &[written_by_another_person, wanted, owner_is_here];
/// Asked when the pause (5) is over: guard 6. The budget (7) follows.
pub(crate) const START: &[Guard] = &[consecutive, hourly];
/// Asked before a release that nobody approved: guards 3, 6 and 10. Output checks (9) belong before the mode.
pub(crate) const RELEASE: &[Guard] = &[owner_is_here, consecutive, hourly, mode];

/// Asks in order. The first stop ends it, the first draft is kept.
pub(crate) fn ask(guards: &[Guard], view: &View<'_>) -> Verdict {
    let mut verdict = Verdict::Pass;
    for guard in guards {
        match guard(view) {
            Verdict::Draft(why) if verdict == Verdict::Pass => verdict = Verdict::Draft(why),
            Verdict::Pass | Verdict::Draft(_) => {}
            Verdict::Stop(why) => return Verdict::Stop(why),
        }
    }
    verdict
}

/// Guard 1: an automatic message never triggers (RFC 3834 section 2), and neither does the owner's own.
pub(crate) fn written_by_another_person(view: &View<'_>) -> Verdict {
    match view.line {
        Some(line) if line.automatic || line.author == Author::Owner => Verdict::Stop(None),
        _ => Verdict::Pass,
    }
}

/// Whether the binding acts on messages at all.
pub(crate) fn wanted(view: &View<'_>) -> Verdict {
    match view.state.mode {
        Some(BindingMode::Autoreply) => Verdict::Pass,
        Some(BindingMode::Advice) if view.state.settings.advice_on_message => Verdict::Pass,
        Some(BindingMode::Advice) | None => Verdict::Stop(None),
    }
}

/// Guard 3: the owner wrote or decided a short while ago, or had when the turn began: a draft only.
pub(crate) fn owner_is_here(view: &View<'_>) -> Verdict {
    let active = view
        .state
        .owner_active_ms
        .is_some_and(|at| view.now_ms - at < view.limits.takeover_ms);
    match view.open.and_then(|open| open.draft) {
        Some(why) => Verdict::Draft(why),
        None if active => Verdict::Draft(Why::OwnerPresent),
        None => Verdict::Pass,
    }
}

/// Guard 5: when a turn is over.
pub(crate) fn pause_ends_ms(turn: &Turn, limits: &Limits) -> i64 {
    (turn.last_ms + limits.pause_ms).min(turn.since_ms + limits.pause_max_ms)
}

/// Guard 6: so many automatic messages in a row, whoever's AI wrote them, and no more.
pub(crate) fn consecutive(view: &View<'_>) -> Verdict {
    if view.state.automatic >= view.limits.consecutive {
        Verdict::Stop(Some(Why::ConsecutiveLimit))
    } else {
        Verdict::Pass
    }
}

/// Guard 6: so many replies of this binding in an hour, and no more.
pub(crate) fn hourly(view: &View<'_>) -> Verdict {
    let recent = view
        .state
        .released_ms
        .iter()
        .filter(|at| view.now_ms - **at < HOUR_MS)
        .count();
    if recent >= view.limits.replies_per_hour {
        Verdict::Stop(Some(Why::HourLimit))
    } else {
        Verdict::Pass
    }
}

/// Guard 10: what the owner chose.
pub(crate) fn mode(view: &View<'_>) -> Verdict {
    match view.state.settings.release {
        Release::Approval => Verdict::Draft(Why::Approval),
        Release::Immediate => Verdict::Pass,
    }
}
