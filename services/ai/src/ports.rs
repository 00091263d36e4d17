//! What the AI needs from outside: somebody who writes.

use async_trait::async_trait;
use contracts::ai::Why;
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

/// What went wrong with a provider; nothing of the provider's own text is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It cannot be reached, or says that it is not well.
    Unavailable,
    /// It did not answer in time.
    Timeout,
    /// It asks for fewer calls.
    RateLimited,
    /// It refuses us: wrong key, wrong model, wrong address.
    Refused,
    /// It broke off in the middle.
    CutOff,
    /// What it sent is no answer.
    Malformed,
    /// It sent more than may be.
    TooLong,
    /// It sent nothing to say.
    Empty,
}

impl Failure {
    /// As the owner is told.
    pub(crate) fn why(self) -> Why {
        match self {
            Self::Unavailable => Why::ProviderUnavailable,
            Self::Timeout => Why::ProviderTimeout,
            Self::RateLimited => Why::ProviderRateLimited,
            Self::Refused => Why::ProviderRefused,
            Self::CutOff => Why::ProviderCutOff,
            Self::Malformed => Why::ProviderMalformed,
            Self::TooLong => Why::ProviderTooLong,
            Self::Empty => Why::ProviderEmpty,
        }
    }

    /// For logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate_limited",
            Self::Refused => "refused",
            Self::CutOff => "cut_off",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Empty => "empty",
        }
    }

    /// Whether the provider did nothing for a call that ended so before the first piece.
    pub(crate) fn is_free(self) -> bool {
        matches!(self, Self::Unavailable | Self::RateLimited | Self::Refused)
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
