//! Random histories of bindings in one chat, judged by what stands in the chat afterwards.
//!
//! The chat here is a small model of `message`: it stores a release once per run, refuses what a newer human
//! message made stale, and refuses without a binding. Words come late, twice, and across restarts.

use std::collections::{HashMap, HashSet};

use contracts::{RunId, ai::RunState, chat::BindingMode};
use proptest::prelude::*;
use uuid::Uuid;

use super::{rules::limits, *};

#[derive(Clone, Copy, Debug)]
enum Op {
    /// A person writes; people above the number of bindings own none.
    Write(usize),
    /// The next stored message is fed to a binding.
    Feed(usize),
    /// Time passes, and the timers that are due fire.
    Pass(i64),
    /// The provider ends the call of a binding, well or not.
    End(usize, bool),
    /// The owner decides about the binding's newest run.
    Decide(usize, Decision),
    /// The oldest release that is on its way reaches the chat.
    Store,
    /// The oldest outcome that is on its way is told; or told and kept, to come again.
    Tell(bool),
    /// The binding goes away.
    Unbind(usize),
    /// The owner chooses.
    Configure(usize, Release),
    /// The process ends and starts from what is stored.
    Restart,
}

fn op(bindings: usize) -> impl Strategy<Value = Op> {
    let release = prop_oneof![1 => Just(Release::Approval), 3 => Just(Release::Immediate)];
    let decision = prop_oneof![
        Just(Decision::Approve),
        Just(Decision::Discard),
        Just(Decision::Cancel)
    ];
    prop_oneof![
        6 => (0..=bindings).prop_map(Op::Write),
        20 => (0..bindings).prop_map(Op::Feed),
        8 => prop_oneof![Just(1_000_i64), Just(3_000), Just(5_000), Just(700_000)].prop_map(Op::Pass),
        10 => (0..bindings, any::<bool>()).prop_map(|(binding, well)| Op::End(binding, well)),
        3 => (0..bindings, decision).prop_map(|(binding, decision)| Op::Decide(binding, decision)),
        10 => Just(Op::Store),
        10 => any::<bool>().prop_map(Op::Tell),
        1 => (0..bindings).prop_map(Op::Unbind),
        2 => (0..bindings, release).prop_map(|(binding, release)| Op::Configure(binding, release)),
        2 => Just(Op::Restart),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Said {
    author: usize,
    run: Option<(usize, RunId)>,
    at_ms: i64,
}

/// What is known of a run from its actions alone.
#[derive(Clone, Copy, Debug)]
struct Seen {
    binding: usize,
    trigger_o: i64,
    state: RunState,
    releases: usize,
}

struct World {
    limits: Limits,
    now_ms: i64,
    ids: u128,
    bindings: Vec<State>,
    bound: Vec<bool>,
    fed: Vec<usize>,
    chat: Vec<Said>,
    on_the_way: Vec<(usize, RunId)>,
    outcomes: Vec<(usize, RunId, Outcome)>,
    runs: HashMap<RunId, Seen>,
    last_active_ms: Vec<Option<i64>>,
}

impl World {
    fn new(bindings: usize) -> Self {
        let mut world = Self {
            limits: limits(),
            now_ms: 1_000_000_000,
            ids: 0,
            bindings: vec![State::default(); bindings],
            bound: vec![true; bindings],
            fed: vec![0; bindings],
            chat: Vec::new(),
            on_the_way: Vec::new(),
            outcomes: Vec::new(),
            runs: HashMap::new(),
            last_active_ms: vec![None; bindings],
        };
        for binding in 0..bindings {
            world.tell(binding, Event::Bound(BindingMode::Autoreply));
            world.tell(
                binding,
                Event::Configured(Settings {
                    release: Release::Immediate,
                    ..Settings::default()
                }),
            );
        }
        world
    }

    fn tell(&mut self, binding: usize, event: Event) {
        self.ids += 1;
        let moment = Moment {
            now_ms: self.now_ms,
            run: RunId(Uuid::from_u128(self.ids)),
            delay_ms: 5_000,
        };
        if let Event::Fed(line) = event
            && line.author == Author::Owner
            && !line.automatic
        {
            self.last_active_ms[binding] = self.last_active_ms[binding].max(Some(line.at_ms));
        }
        if let Event::Decided(..) = event {
            self.last_active_ms[binding] = Some(self.now_ms);
        }
        let (state, actions) = step(
            &self.limits,
            std::mem::take(&mut self.bindings[binding]),
            event,
            moment,
        );
        self.bindings[binding] = state;
        for action in actions {
            self.act(binding, action, event);
        }
    }

    fn act(&mut self, binding: usize, action: Action, cause: Event) {
        match action {
            Action::Open { run, trigger_o, .. } => {
                let fresh = Seen {
                    binding,
                    trigger_o,
                    state: RunState::Queued,
                    releases: 0,
                };
                let twice = self
                    .runs
                    .values()
                    .any(|seen| seen.binding == binding && seen.trigger_o == trigger_o);
                assert!(!twice, "two runs for one trigger");
                assert!(self.runs.insert(run, fresh).is_none());
            }
            Action::Reserve(run) => self.tell(binding, Event::Reserved { run, granted: true }),
            Action::Mark { run, state, .. } => {
                let seen = self.runs.get_mut(&run).expect("a known run");
                let ended = matches!(
                    seen.state,
                    RunState::Superseded | RunState::Cancelled | RunState::Blocked
                );
                assert!(!ended, "{state:?} after {:?}", seen.state);
                seen.state = state;
            }
            Action::Release { run, approved } => {
                let active = self.last_active_ms[binding];
                let here = active.is_some_and(|at| self.now_ms - at < self.limits.takeover_ms);
                assert!(
                    approved || !here,
                    "released without approval while the owner is here"
                );
                assert!(!approved || matches!(cause, Event::Decided(_, Decision::Approve)));
                assert!(self.bound[binding], "released without a binding");
                let seen = self.runs.get_mut(&run).expect("a known run");
                assert_eq!(seen.state, RunState::Sending, "released in another state");
                seen.releases += 1;
                assert_eq!(seen.releases, 1, "released twice");
                self.on_the_way.push((binding, run));
            }
            Action::Start(_) | Action::Stop(_) | Action::Advise(_) | Action::Refuse(_) => {}
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Write(author) => self.chat.push(Said {
                author,
                run: None,
                at_ms: self.now_ms,
            }),
            Op::Feed(binding) => self.feed(binding),
            Op::Pass(ms) => {
                self.now_ms += ms;
                for binding in 0..self.bindings.len() {
                    self.tell(binding, Event::Timer);
                }
            }
            Op::End(binding, well) => {
                if let Some(open) = self.bindings[binding].open {
                    self.tell(
                        binding,
                        if well {
                            Event::Finished(open.run)
                        } else {
                            Event::Failed(open.run)
                        },
                    );
                }
            }
            Op::Decide(binding, decision) => {
                if let Some(open) = self.bindings[binding].open {
                    self.tell(binding, Event::Decided(open.run, decision));
                }
            }
            Op::Store => self.store(),
            Op::Tell(again) => {
                if !self.outcomes.is_empty() {
                    let (binding, run, outcome) = self.outcomes.remove(0);
                    self.tell(binding, Event::Told(run, outcome));
                    if again {
                        self.outcomes.push((binding, run, outcome));
                    }
                }
            }
            Op::Unbind(binding) => self.unbind(binding),
            Op::Configure(binding, release) => {
                self.tell(
                    binding,
                    Event::Configured(Settings {
                        release,
                        ..Settings::default()
                    }),
                );
            }
            Op::Restart => self.restart(),
        }
    }

    fn unbind(&mut self, binding: usize) {
        // The stream of the chat tells the outcomes before the removal.
        let (before, others) = std::mem::take(&mut self.outcomes)
            .into_iter()
            .partition(|told| told.0 == binding);
        self.outcomes = others;
        for (binding, run, outcome) in before {
            self.tell(binding, Event::Told(run, outcome));
        }
        self.bound[binding] = false;
        self.tell(binding, Event::Unbound);
    }

    fn restart(&mut self) {
        for state in &mut self.bindings {
            let stored = serde_json::to_string(state).expect("a state is stored");
            *state = serde_json::from_str(&stored).expect("and read back");
        }
        // What was fed or published without being marked comes again.
        self.fed
            .iter_mut()
            .for_each(|fed| *fed = fed.saturating_sub(1));
        let again = self.on_the_way.clone();
        self.on_the_way.extend(again);
    }

    fn feed(&mut self, binding: usize) {
        let Some(said) = self.chat.get(self.fed[binding]).copied() else {
            return;
        };
        self.fed[binding] += 1;
        if !self.bound[binding] {
            return;
        }
        let o = i64::try_from(self.fed[binding]).expect("a small chat");
        let author = if said.author == binding {
            Author::Owner
        } else {
            Author::Other
        };
        let run = said.run.map(|(_, run)| run);
        self.tell(
            binding,
            Event::Fed(Line {
                o,
                author,
                automatic: run.is_some(),
                run,
                at_ms: said.at_ms,
            }),
        );
    }

    /// What `message` does with a reply.
    fn store(&mut self) {
        if self.on_the_way.is_empty() {
            return;
        }
        let (binding, run) = self.on_the_way.remove(0);
        let stored = self
            .chat
            .iter()
            .any(|said| said.run == Some((binding, run)));
        let human_o = self
            .chat
            .iter()
            .rposition(|said| said.run.is_none())
            .map_or(0, |at| at + 1);
        let stale = i64::try_from(human_o).expect("a small chat") > self.runs[&run].trigger_o;
        let outcome = if stored {
            Outcome::Stored
        } else if !self.bound[binding] {
            Outcome::BindingGone
        } else if stale {
            Outcome::Superseded
        } else {
            self.chat.push(Said {
                author: binding,
                run: Some((binding, run)),
                at_ms: self.now_ms,
            });
            Outcome::Stored
        };
        self.outcomes.push((binding, run, outcome));
    }

    /// Lets everything that is under way come to its end.
    fn settle(&mut self) {
        for _ in 0..40 {
            for binding in 0..self.bindings.len() {
                while self.fed[binding] < self.chat.len() {
                    self.feed(binding);
                }
                self.apply(Op::End(binding, true));
            }
            self.apply(Op::Pass(5_000));
            while !self.on_the_way.is_empty() {
                self.store();
            }
            while !self.outcomes.is_empty() {
                self.apply(Op::Tell(false));
            }
        }
    }

    /// Between two human messages, each binding speaks at most once.
    fn check_chat(&self) {
        let mut spoke = HashSet::new();
        for said in &self.chat {
            match said.run {
                None => spoke.clear(),
                Some((binding, run)) => {
                    assert!(
                        spoke.insert(binding),
                        "binding {binding} spoke twice after one human message"
                    );
                    assert_eq!(said.author, binding);
                    assert!(!matches!(
                        self.runs[&run].state,
                        RunState::Superseded | RunState::Cancelled
                    ));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// row:E22, row:E25, guarantee:G16, threat:T86: at most one reply of each binding for one human message,
    /// none after the binding went, none without approval while the owner is here, none of a stale draft, none
    /// twice; whatever comes late, twice, or after a restart.
    #[test]
    fn no_history_makes_a_binding_speak_out_of_turn(ops in prop::collection::vec(op(3), 1..120)) {
        let mut world = World::new(3);
        for op in ops {
            world.apply(op);
        }
        world.check_chat();
        world.settle();
        world.check_chat();
    }

    /// row:E22: after one human message two bindings fall silent within the limit, and stay silent.
    #[test]
    fn two_bindings_fall_silent(ops in prop::collection::vec(op(2), 0..60), author in 0..3_usize) {
        let mut world = World::new(2);
        for op in ops {
            world.apply(op);
        }
        world.settle();
        world.apply(Op::Pass(3_600_000));
        world.apply(Op::Write(author));
        let before = world.chat.len();
        world.settle();
        let said = world.chat.len() - before;
        prop_assert!(said <= 2 && said <= world.limits.consecutive as usize);
        let length = world.chat.len();
        world.settle();
        prop_assert_eq!(world.chat.len(), length, "they went on");
    }
}
