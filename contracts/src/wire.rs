//! Ids and words on the way over gRPC: what a caller of ours gets wrong is refused, what a service of ours gets wrong
//! is a defect.

use std::str::FromStr;

use kit::Fault;
use prost::UnknownEnumValue;

use crate::{
    ai::{RunState, Why},
    chat::{BindingMode, BindingState, Kind},
    r#gen::{ai, chat, message},
    message::Auto,
};

/// An id that a caller sent in `field`.
pub(crate) fn asked<T: FromStr>(field: &str, text: &str) -> Result<T, Fault> {
    text.parse()
        .map_err(|_| Fault::invalid(format!("{field} is not a UUID")))
}

/// An id that a service of ours answered.
pub(crate) fn id<T: FromStr<Err = uuid::Error>>(text: &str) -> Result<T, Fault> {
    text.parse().map_err(Fault::internal)
}

/// A message that a service of ours always sends.
pub(crate) fn present<T>(field: Option<T>) -> Result<T, Fault> {
    field.ok_or_else(|| Fault::internal("the answer lacks a field"))
}

/// A word that a service of ours answered, by its number.
pub(crate) fn word<W, T>(number: i32) -> Result<T, Fault>
where
    W: TryFrom<i32, Error = UnknownEnumValue>,
    T: TryFrom<W, Error = Fault>,
{
    W::try_from(number).map_err(Fault::internal)?.try_into()
}

/// Our words and those of the wire are the same, one by one.
macro_rules! words {
    ($ours:ty, $wire:ty: $($word:ident)+) => {
        impl From<$ours> for $wire {
            fn from(word: $ours) -> Self {
                match word {
                    $(<$ours>::$word => Self::$word,)+
                }
            }
        }

        impl TryFrom<$wire> for $ours {
            type Error = Fault;

            fn try_from(word: $wire) -> Result<Self, Fault> {
                match word {
                    $(<$wire>::$word => Ok(Self::$word),)+
                    <$wire>::Unspecified => Err(Fault::internal("the answer lacks a word")),
                }
            }
        }
    };
}

words!(Kind, chat::Kind: Private Group Room);
words!(BindingMode, chat::BindingMode: Advice Autoreply);
words!(BindingState, chat::BindingState: Pending Ready Failed);
words!(Auto, message::Auto: No Replied);
words!(RunState, ai::RunState:
    Queued Running Held Sending Done Failed Cancelled Superseded Blocked);
words!(Why, ai::Why:
    OwnerPresent ConsecutiveLimit HourLimit Quota Busy NewerMessage OwnerWrote BindingChanged BindingRemoved Approval
    Delay Discarded Cancelled Refused NotConfirmed ChatUnavailable NothingShared ProviderUnavailable ProviderTimeout
    ProviderRateLimited ProviderRefused ProviderCutOff ProviderMalformed ProviderTooLong ProviderEmpty);

#[cfg(test)]
mod tests {
    use kit::Code;

    use super::*;
    use crate::UserId;

    /// A newer service may say what we do not know; nobody takes it for something else.
    #[test]
    fn unknown_words_and_broken_ids_are_defects_of_the_service_that_answers() {
        let known = word::<chat::Kind, Kind>(chat::Kind::Room as i32);
        assert_eq!(known.ok(), Some(Kind::Room));
        for number in [0, -1, 4] {
            let fault = word::<chat::Kind, Kind>(number).unwrap_err();
            assert!(fault.is(Code::Internal), "{number}");
        }
        assert!(id::<UserId>("1").unwrap_err().is(Code::Internal));
        assert!(present::<()>(None).unwrap_err().is(Code::Internal));
    }

    #[test]
    fn broken_ids_of_a_caller_are_refused_by_name() {
        let fault = asked::<UserId>("chat_id", "1").unwrap_err();
        assert!(fault.is(Code::Invalid) && fault.public().contains("chat_id"));
    }
}
