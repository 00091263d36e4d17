//! Runs, advice and drafts of the AI. Owned by the service `ai`. Over gRPC: [`connect`] and [`serve`].

mod connect;
mod serve;

pub use connect::connect;
pub use serve::serve;

use std::sync::Arc;

use async_trait::async_trait;
use kit::{Call, Fault};
use serde::{Deserialize, Serialize};

use crate::{ChatId, RunId, UserId, chat::BindingMode};

/// How far a run has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It waits for its turn, or for the conversation to pause.
    Queued,
    /// The provider works.
    Running,
    /// A draft waits for the owner's decision.
    Held,
    /// The reply is on its way to be stored, after its visible delay.
    Sending,
    /// Done: the advice is there, or the reply is stored.
    Done,
    /// It failed; the reason says why.
    Failed,
    /// The binding is gone, or the owner ended it.
    Cancelled,
    /// Newer messages made it stale; a new run takes its place.
    Superseded,
    /// A guard or a limit stopped it; the reason says which.
    Blocked,
}

/// Why a run is held or ended as it did, or why a binding failed: every word there is. Clients have a sentence for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The owner wrote or decided a short while ago, so the reply is a draft.
    OwnerPresent,
    /// Too many automatic messages in a row.
    ConsecutiveLimit,
    /// Too many replies in an hour.
    HourLimit,
    /// The owner's calls or tokens of the day are used up.
    Quota,
    /// More advice was asked for than can wait.
    Busy,
    /// A newer message came.
    NewerMessage,
    /// The owner answered in person.
    OwnerWrote,
    /// The binding does something else now.
    BindingChanged,
    /// The binding is gone.
    BindingRemoved,
    /// Every reply needs the owner's word.
    Approval,
    /// It waits for its visible delay.
    Delay,
    /// The owner threw the draft away.
    Discarded,
    /// The owner ended it.
    Cancelled,
    /// The chat's stream refused the message.
    Refused,
    /// Nobody said whether it was stored.
    NotConfirmed,
    /// The chat could not be read.
    ChatUnavailable,
    /// There is nothing that every present member may read.
    NothingShared,
    /// The provider cannot be reached, or says that it is not well.
    ProviderUnavailable,
    /// The provider did not answer in time.
    ProviderTimeout,
    /// The provider asks for fewer calls.
    ProviderRateLimited,
    /// The provider refuses us: wrong key, wrong model, wrong address.
    ProviderRefused,
    /// The provider broke off in the middle.
    ProviderCutOff,
    /// What the provider sent is no answer.
    ProviderMalformed,
    /// The provider sent more than may be.
    ProviderTooLong,
    /// The provider sent nothing to say.
    ProviderEmpty,
}

/// A run, told to its owner only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Run {
    /// The id.
    pub run: RunId,
    /// The chat.
    pub chat: ChatId,
    /// Advice or reply.
    pub kind: BindingMode,
    /// How far it is.
    pub state: RunState,
    /// The newest event that it takes into account.
    pub trigger_o: i64,
    /// The text, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Why it ended as it did, or which guards hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// The provider's model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// When a reply in its visible delay is sent, RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// When it was made, RFC 3339 in UTC.
    pub created_at: String,
}

/// On the topic of advice responses: a finished run, and whom it is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// Who asked, and alone is told.
    pub owner: UserId,
    /// The run, with the text.
    #[serde(flatten)]
    pub run: Run,
}

/// A draft that waits for its owner: a run in the state `held`.
pub type Draft = Run;

/// A piece of a text that is being written, or all of it so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// The run.
    pub run: RunId,
    /// The chat.
    pub chat: ChatId,
    /// Counts the pieces from 1 without a hole.
    pub n: u32,
    /// The piece, or the whole text in a snapshot.
    pub text: String,
}

/// What `ai` offers. `owner` is always the token's user; foreign and unknown runs are both answered with `not_found`.
#[async_trait]
pub trait AiApi: Send + Sync + 'static {
    /// The whole text so far of a run that is being written by this process; `None` when it is not, and its row
    /// says the rest. Deltas that follow carry larger `n`.
    async fn follow(&self, call: &Call, owner: UserId, run: RunId) -> Result<Option<Delta>, Fault>;

    /// Ends a run; again changes nothing. `conflict` when it has ended otherwise or is on its way to be stored.
    async fn cancel(&self, call: &Call, owner: UserId, run: RunId) -> Result<Run, Fault>;

    /// The owner's runs that have not ended, newest first, at most 50.
    async fn open_runs(&self, call: &Call, owner: UserId) -> Result<Vec<Run>, Fault>;

    /// Whether the owner's budget of the day allows another call; `quota` with the time until it does, else.
    async fn may_ask(&self, call: &Call, owner: UserId) -> Result<(), Fault>;
}

/// How callers hold it.
pub type AiClient = Arc<dyn AiApi>;
