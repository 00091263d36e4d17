//! The guards as one pure function: [`step`] takes a binding's state, what happened and the moment,
//! and gives the next state with what has to be done about it. No I/O, no clock, no randomness.
//!
//! The guards keep the fixed order of the product's contract; each is one function in [`guards`]:
//!
//! | no. | guard | where it is asked |
//! |---|---|---|
//! | 1 | only a person's message triggers, and not the owner's own | when a message is fed |
//! | 2 | consent of the chat and its members | when a message is fed (comes with its settings) |
//! | 3 | the owner is here: a draft only | when fed, and again before the release |
//! | 4 | schedule and audience | when a message is fed (comes with its settings) |
//! | 5 | wait for a pause | by the timer |
//! | 6 | limits | by the timer, and again before the release |
//! | 7 | reserve the budget | by the timer, answered with [`Event::Reserved`] |
//! | 8 | a newer message, another binding | with every event, and by `message` in its commit |
//! | 9 | output checks | when the text is there (comes with its settings) |
//! | 10 | mode: hold, or send after a visible delay | when the text is there |
//! | 11 | release once, under the run's id | last |
//!
//! What has to be done is stored in the transaction that stores the state, so a restart at any point
//! finds both or neither.

use contracts::{
    RunId,
    ai::{RunState, Why},
    chat::BindingMode,
};

pub(crate) mod guards;
mod words;

pub(crate) use words::{
    Action, Author, Decision, Event, Limits, Line, Moment, Open, Outcome, Phase, Release, Settings,
    State, Turn,
};

#[cfg(test)]
mod properties;
#[cfg(test)]
mod rules;

use guards::Verdict;

/// Applies one event. The result depends on the arguments and on nothing else.
pub(crate) fn step(
    limits: &Limits,
    state: State,
    event: Event,
    moment: Moment,
) -> (State, Vec<Action>) {
    let mut step = Step {
        limits,
        state,
        moment,
        actions: Vec::new(),
    };
    match event {
        Event::Fed(line) => step.fed(line),
        Event::Bound(mode) => step.bound(Some(mode), Why::BindingChanged),
        Event::Unbound => step.bound(None, Why::BindingRemoved),
        Event::Configured(settings) => step.configured(settings),
        Event::Asked(run) => step.asked(run),
        Event::Reserved { run, granted } => step.reserved(run, granted),
        Event::Finished(run) => step.finished(run),
        Event::Failed(run) => step.failed(run),
        Event::Decided(run, decision) => step.decided(run, decision),
        Event::Told(run, outcome) => step.told(run, outcome),
        Event::Timer => step.timer(),
    }
    (step.state, step.actions)
}

struct Step<'a> {
    limits: &'a Limits,
    state: State,
    moment: Moment,
    actions: Vec<Action>,
}

impl Step<'_> {
    fn fed(&mut self, line: Line) {
        if line.o <= self.state.newest_o {
            return;
        }
        self.state.newest_o = line.o;
        self.state.automatic = if line.automatic {
            self.state.automatic + 1
        } else {
            0
        };
        if !line.automatic && line.author == Author::Owner {
            self.state.owner_active_ms = self
                .state
                .owner_active_ms
                .max(Some(line.at_ms.min(self.moment.now_ms)));
            self.state.turn = None;
        }
        if self
            .state
            .open
            .is_some_and(|open| line.run == Some(open.run))
        {
            return self.told_open(Outcome::Stored);
        }
        self.overtake(&line);
        let draft = match guards::ask(guards::TRIGGER, &self.view(Some(&line), None)) {
            Verdict::Pass => None,
            Verdict::Draft(why) => Some(why),
            Verdict::Stop(_) => return,
        };
        let now = self.moment.now_ms;
        let since_ms = self.state.turn.map_or(now, |turn| turn.since_ms);
        self.state.turn = Some(Turn {
            since_ms,
            last_ms: now,
            again: false,
            draft,
        });
    }

    /// Guard 8: a message makes stale what does not know of it. A person's message is answered by a turn of
    /// its own; for an automatic one the run starts again, and only once, else two AIs could go on for ever.
    fn overtake(&mut self, line: &Line) {
        let Some(open) = self
            .state
            .open
            .filter(|open| !matches!(open.phase, Phase::Released(_)))
        else {
            return;
        };
        if line.automatic {
            if open.again {
                return;
            }
            let now = self.moment.now_ms;
            self.state.turn = Some(Turn {
                since_ms: now,
                last_ms: now,
                again: true,
                draft: open.draft,
            });
        }
        let by_owner = !line.automatic && line.author == Author::Owner;
        let why = if by_owner {
            Why::OwnerWrote
        } else {
            Why::NewerMessage
        };
        self.end(open, RunState::Superseded, Some(why));
    }

    fn bound(&mut self, mode: Option<BindingMode>, why: Why) {
        if self.state.mode == mode {
            return;
        }
        self.state.mode = mode;
        self.state.turn = None;
        // This comes in the order of the chat's stream, so a release that is not stored by now never will be.
        if let Some(open) = self.state.open {
            self.end(open, RunState::Cancelled, Some(why));
        }
        for run in std::mem::take(&mut self.state.asked) {
            self.actions.push(Action::Stop(run));
            self.mark(run, RunState::Cancelled, Some(why));
        }
    }

    fn configured(&mut self, settings: Settings) {
        self.state.settings = settings;
        if let Some(open) = self
            .state
            .open
            .filter(|open| matches!(open.phase, Phase::Sending(_)))
        {
            // Somebody who asks for approval means what is on its way, too.
            if let Verdict::Draft(why) = guards::mode(&self.view(None, Some(&open))) {
                self.hold(open, why);
            }
        }
        if self.state.mode == Some(BindingMode::Advice) && !settings.advice_on_message {
            self.state.turn = None;
        }
    }

    fn asked(&mut self, run: RunId) {
        if self.state.mode != Some(BindingMode::Advice) {
            let why = if self.state.mode.is_none() {
                Why::BindingRemoved
            } else {
                Why::BindingChanged
            };
            return self.mark(run, RunState::Cancelled, Some(why));
        }
        if self.state.asked.len() >= self.limits.open_advice {
            return self.mark(run, RunState::Blocked, Some(Why::Busy));
        }
        self.state.asked.push(run);
        self.actions.push(Action::Reserve(run));
    }

    fn timer(&mut self) {
        let now = self.moment.now_ms;
        if self.state.due_ms(self.limits).is_none_or(|due| due > now) {
            return;
        }
        match self.state.open {
            Some(open) if matches!(open.phase, Phase::Sending(_)) => self.release_if_allowed(open),
            Some(open) => self.end(open, RunState::Failed, Some(Why::NotConfirmed)),
            None => self.start(),
        }
    }

    fn start(&mut self) {
        let (Some(turn), Some(kind)) = (self.state.turn.take(), self.state.mode) else {
            return;
        };
        let (run, trigger_o) = (self.moment.run, self.state.newest_o);
        self.actions.push(Action::Open {
            run,
            kind,
            trigger_o,
        });
        let open = Open {
            run,
            trigger_o,
            again: turn.again,
            draft: turn.draft,
            phase: Phase::Working,
        };
        if kind == BindingMode::Autoreply
            && let Verdict::Stop(why) = guards::ask(guards::START, &self.view(None, Some(&open)))
        {
            return self.mark(run, RunState::Blocked, why);
        }
        self.state.open = Some(open);
        self.actions.push(Action::Reserve(run));
    }

    /// Guard 7: the caller took the cost of the call out of the budget, or could not.
    fn reserved(&mut self, run: RunId, granted: bool) {
        let is_open = self.state.open.is_some_and(|open| open.run == run);
        if !is_open && !self.state.asked.contains(&run) {
            return;
        }
        if granted {
            return self.actions.push(Action::Start(run));
        }
        self.forget(run);
        self.mark(run, RunState::Blocked, Some(Why::Quota));
    }

    fn finished(&mut self, run: RunId) {
        if self.state.asked.contains(&run) {
            self.forget(run);
            self.mark(run, RunState::Done, None);
            return self.actions.push(Action::Advise(run));
        }
        let Some(open) = self
            .state
            .open
            .filter(|open| open.run == run && open.phase == Phase::Working)
        else {
            return;
        };
        if self.state.mode == Some(BindingMode::Advice) {
            self.forget(run);
            self.mark(run, RunState::Done, None);
            return self.actions.push(Action::Advise(run));
        }
        self.release_if_allowed(open);
    }

    fn failed(&mut self, run: RunId) {
        let is_open = self
            .state
            .open
            .is_some_and(|open| open.run == run && open.phase == Phase::Working);
        if is_open || self.state.asked.contains(&run) {
            self.forget(run);
            self.mark(run, RunState::Failed, None);
        }
    }

    /// Guards 3, 6 and 10 before every release that nobody approved.
    fn release_if_allowed(&mut self, open: Open) {
        match guards::ask(guards::RELEASE, &self.view(None, Some(&open))) {
            Verdict::Stop(why) => self.end(open, RunState::Blocked, why),
            Verdict::Draft(why) => self.hold(open, why),
            Verdict::Pass if matches!(open.phase, Phase::Sending(_)) => self.release(open, false),
            Verdict::Pass => {
                let at = self.moment.now_ms + self.moment.delay_ms;
                self.state.open = Some(Open {
                    phase: Phase::Sending(at),
                    ..open
                });
                self.mark(open.run, RunState::Sending, Some(Why::Delay));
            }
        }
    }

    /// Guard 11: the normal way of a message, under the run's id, once.
    fn release(&mut self, open: Open, approved: bool) {
        let now = self.moment.now_ms;
        self.state
            .released_ms
            .retain(|at| now - at < guards::HOUR_MS);
        self.state.released_ms.push(now);
        self.state.open = Some(Open {
            phase: Phase::Released(now),
            ..open
        });
        self.mark(open.run, RunState::Sending, None);
        self.actions.push(Action::Release {
            run: open.run,
            approved,
        });
    }

    fn hold(&mut self, open: Open, why: Why) {
        self.state.open = Some(Open {
            phase: Phase::Held,
            ..open
        });
        self.mark(open.run, RunState::Held, Some(why));
    }

    fn decided(&mut self, run: RunId, decision: Decision) {
        self.state.owner_active_ms = self.state.owner_active_ms.max(Some(self.moment.now_ms));
        if self.state.asked.contains(&run) && decision != Decision::Approve {
            self.forget(run);
            self.actions.push(Action::Stop(run));
            return self.mark(run, RunState::Cancelled, Some(Why::Cancelled));
        }
        let Some(open) = self.state.open.filter(|open| open.run == run) else {
            return self.actions.push(Action::Refuse(run));
        };
        match (decision, open.phase) {
            (Decision::Approve, Phase::Held | Phase::Sending(_)) => self.release(open, true),
            (Decision::Discard, Phase::Held | Phase::Sending(_)) => {
                self.end(open, RunState::Cancelled, Some(Why::Discarded));
            }
            (Decision::Cancel, Phase::Working | Phase::Held | Phase::Sending(_)) => {
                self.end(open, RunState::Cancelled, Some(Why::Cancelled));
            }
            _ => self.actions.push(Action::Refuse(run)),
        }
    }

    fn told(&mut self, run: RunId, outcome: Outcome) {
        let released = |open: &Open| open.run == run && matches!(open.phase, Phase::Released(_));
        if self.state.open.as_ref().is_some_and(released) {
            self.told_open(outcome);
        } else if outcome == Outcome::Stored {
            // What is stored is stored, however late the word comes.
            self.mark(run, RunState::Done, None);
        }
    }

    fn told_open(&mut self, outcome: Outcome) {
        let Some(open) = self.state.open.take() else {
            return;
        };
        match outcome {
            Outcome::Stored => self.mark(open.run, RunState::Done, None),
            // The person's message that was there first is fed on its own and makes a turn if it should.
            Outcome::Superseded => {
                self.mark(open.run, RunState::Superseded, Some(Why::NewerMessage));
            }
            Outcome::BindingGone => {
                self.mark(open.run, RunState::Cancelled, Some(Why::BindingRemoved));
            }
            Outcome::Refused => self.mark(open.run, RunState::Failed, Some(Why::Refused)),
        }
    }

    /// Ends the open run and stops the provider if it is still at it.
    fn end(&mut self, open: Open, state: RunState, why: Option<Why>) {
        self.state.open = None;
        if open.phase == Phase::Working {
            self.actions.push(Action::Stop(open.run));
        }
        self.mark(open.run, state, why);
    }

    fn forget(&mut self, run: RunId) {
        self.state.open = self.state.open.filter(|open| open.run != run);
        self.state.asked.retain(|asked| *asked != run);
    }

    fn mark(&mut self, run: RunId, state: RunState, why: Option<Why>) {
        self.actions.push(Action::Mark { run, state, why });
    }

    fn view<'v>(&'v self, line: Option<&'v Line>, open: Option<&'v Open>) -> guards::View<'v> {
        guards::View {
            limits: self.limits,
            state: &self.state,
            now_ms: self.moment.now_ms,
            line,
            open,
        }
    }
}
