//! What the AI needs from outside: somebody who writes.

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::domain::prompt::Prompt;

/// The longest text that is taken from a provider, in bytes of UTF-8.
pub(crate) const MAX_TEXT: usize = 8 * 1024;

/// A piece of what a provider sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The next words.
    Text(String),
    /// What the call cost, in tokens of input and output together.
    Tokens(i64),
}

/// What went wrong with a provider. The words are stable and safe to show; nothing of the provider's own
/// text is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// It cannot be reached, or says that it is not well.
    #[error("provider_unavailable")]
    Unavailable,
    /// It did not answer in time.
    #[error("provider_timeout")]
    Timeout,
    /// It asks for fewer calls.
    #[error("provider_rate_limited")]
    RateLimited,
    /// It refuses us: wrong key, wrong model, wrong address.
    #[error("provider_refused")]
    Refused,
    /// It broke off in the middle.
    #[error("provider_cut_off")]
    CutOff,
    /// What it sent is no answer.
    #[error("provider_malformed")]
    Malformed,
    /// It sent more than may be.
    #[error("provider_too_long")]
    TooLong,
    /// It sent nothing to say.
    #[error("provider_empty")]
    Empty,
}

impl Failure {
    /// The stable word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "provider_unavailable",
            Self::Timeout => "provider_timeout",
            Self::RateLimited => "provider_rate_limited",
            Self::Refused => "provider_refused",
            Self::CutOff => "provider_cut_off",
            Self::Malformed => "provider_malformed",
            Self::TooLong => "provider_too_long",
            Self::Empty => "provider_empty",
        }
    }

    /// Whether the same call may go well a little later.
    pub(crate) fn is_passing(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::Timeout | Self::RateLimited | Self::CutOff
        )
    }
}

/// The pieces of one answer. Dropping it ends the call.
pub(crate) type Pieces = BoxStream<'static, Result<Piece, Failure>>;

/// Somebody who writes: one dialect at one address. It keeps nothing between two calls.
#[async_trait]
pub(crate) trait Provider: Send + Sync + 'static {
    /// The name of the model, as it is shown beside a message.
    fn model(&self) -> &str;

    /// Starts one call. Whoever calls keeps the time and bounds the text.
    async fn write(&self, prompt: &Prompt) -> Result<Pieces, Failure>;
}
