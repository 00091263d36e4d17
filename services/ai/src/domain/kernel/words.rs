//! The words of the kernel: what is known of a binding, what can happen to it, what has to be done.

use contracts::{
    RunId,
    ai::{RunState, Why},
    chat::BindingMode,
};
use serde::{Deserialize, Serialize};

use super::guards;

/// The bounds that the guards keep; times in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// How long after a word or a decision of the owner the AI only drafts.
    pub(crate) takeover_ms: i64,
    /// The pause after the last message that ends a turn.
    pub(crate) pause_ms: i64,
    /// The longest a turn may be waited for.
    pub(crate) pause_max_ms: i64,
    /// Automatic messages in a row, of anybody's AI, without a human one.
    pub(crate) consecutive: u32,
    /// Replies of one binding in an hour.
    pub(crate) replies_per_hour: usize,
    /// How long the outcome of a release is waited for.
    pub(crate) outcome_ms: i64,
    /// Advice that one binding may have asked for and not yet got.
    pub(crate) open_advice: usize,
}

/// Whether a reply needs its owner's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Release {
    /// Every reply is a draft until its owner approves it.
    #[default]
    Approval,
    /// Replies are sent after a visible delay, unless a guard holds them.
    Immediate,
}

/// What the owner chose for one binding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Whether replies wait for approval.
    pub(crate) release: Release,
    /// Whether advice comes after each message of another member without being asked for.
    pub(crate) advice_on_message: bool,
}

/// Everything the guards know of one binding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// What the binding does; `None` when it is gone.
    pub(crate) mode: Option<BindingMode>,
    /// What the owner chose.
    pub(crate) settings: Settings,
    /// The newest message of the chat.
    pub(crate) newest_o: i64,
    /// When the owner last wrote or decided.
    pub(crate) owner_active_ms: Option<i64>,
    /// Automatic messages since the last human one.
    pub(crate) automatic: u32,
    /// When replies were released, those of the last hour.
    pub(crate) released_ms: Vec<i64>,
    /// A turn that nobody has answered yet.
    pub(crate) turn: Option<Turn>,
    /// The reply, or the advice nobody asked for, that is in work.
    pub(crate) open: Option<Open>,
    /// Advice that the owner asked for.
    pub(crate) asked: Vec<RunId>,
}

impl State {
    /// When the next [`Event::Timer`] is due; `None` when nothing waits for the time.
    pub(crate) fn due_ms(&self, limits: &Limits) -> Option<i64> {
        match self.open.map(|open| open.phase) {
            Some(Phase::Sending(at)) => Some(at),
            Some(Phase::Released(since)) => Some(since + limits.outcome_ms),
            // A thread's calls never overlap: a turn waits until the run before it has ended.
            Some(Phase::Working | Phase::Held) => None,
            None => self.turn.map(|turn| guards::pause_ends_ms(&turn, limits)),
        }
    }
}

/// Messages that wait for the conversation to pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Turn {
    /// When its first message came.
    pub(crate) since_ms: i64,
    /// When its last message came.
    pub(crate) last_ms: i64,
    /// Whether it takes the place of a run that an automatic message made stale; that happens once.
    pub(crate) again: bool,
    /// What makes its answer a draft, whatever the settings say.
    pub(crate) draft: Option<Why>,
}

/// The one run that may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Open {
    /// Its id, also the idempotency key of its message.
    pub(crate) run: RunId,
    /// The newest message that it takes into account.
    pub(crate) trigger_o: i64,
    /// See [`Turn::again`].
    pub(crate) again: bool,
    /// See [`Turn::draft`].
    pub(crate) draft: Option<Why>,
    /// How far it is.
    pub(crate) phase: Phase,
}

/// How far the open run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// The provider is to write, or writes.
    Working,
    /// A draft waits for its owner.
    Held,
    /// It is sent at this moment unless something comes between.
    Sending(i64),
    /// It was handed over at this moment; `message` will tell the outcome.
    Released(i64),
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// The binding's owner, or their AI.
    Owner,
    /// Another member, or their AI.
    Other,
}

/// A stored message, as far as the guards care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its place in the chat.
    pub(crate) o: i64,
    /// In whose name it stands.
    pub(crate) author: Author,
    /// Whether an AI wrote it.
    pub(crate) automatic: bool,
    /// The run that wrote it.
    pub(crate) run: Option<RunId>,
    /// When it was stored.
    pub(crate) at_ms: i64,
}

/// What an owner decides about a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Send the draft, as it is or edited.
    Approve,
    /// Throw the draft away.
    Discard,
    /// End the run, wherever it is.
    Cancel,
}

/// What `message` did with a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The reply stands in the chat.
    Stored,
    /// A newer message was there first.
    Superseded,
    /// The binding was gone.
    BindingGone,
    /// It was refused for another reason.
    Refused,
}

/// What can happen to a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A message was stored in the chat.
    Fed(Line),
    /// The binding exists and does this.
    Bound(BindingMode),
    /// The binding is gone.
    Unbound,
    /// The owner chose other settings.
    Configured(Settings),
    /// The owner asks for advice.
    Asked(RunId),
    /// The budget answered a [`Action::Reserve`].
    Reserved {
        /// For which run.
        run: RunId,
        /// Whether there was enough.
        granted: bool,
    },
    /// The provider has finished the run's text.
    Finished(RunId),
    /// The provider has failed for good; the caller keeps the reason on the run.
    Failed(RunId),
    /// The owner decided.
    Decided(RunId, Decision),
    /// A release was stored or refused.
    Told(RunId, Outcome),
    /// [`State::due_ms`] has passed.
    Timer,
}

/// What comes in from outside with an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Milliseconds since 1970.
    pub(crate) now_ms: i64,
    /// A fresh id, for the run that the event may begin.
    pub(crate) run: RunId,
    /// A random human-like delay, for the release that the event may begin.
    pub(crate) delay_ms: i64,
}

/// What has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make a row for this run, in the state `queued`.
    Open {
        /// The run.
        run: RunId,
        /// Advice or reply.
        kind: BindingMode,
        /// The newest message that it takes into account.
        trigger_o: i64,
    },
    /// Take the cost of a call out of the owner's budget, then tell [`Event::Reserved`].
    Reserve(RunId),
    /// Let the provider write.
    Start(RunId),
    /// Stop the provider if it is writing.
    Stop(RunId),
    /// The run is in this state now.
    Mark {
        /// The run.
        run: RunId,
        /// How far it is.
        state: RunState,
        /// Why.
        why: Option<Why>,
    },
    /// Tell the owner the advice.
    Advise(RunId),
    /// Hand the text over to be stored, once.
    Release {
        /// The run.
        run: RunId,
        /// Whether its owner approved it.
        approved: bool,
    },
    /// The decision came too late or too early.
    Refuse(RunId),
}
