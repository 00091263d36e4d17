//! The channels of the cache in which texts grow. Without the cache nothing is lost but pieces.

use bytes::Bytes;
use cache::Audience;
use contracts::{
    UserId,
    frames::{self, Head, Lane},
};
use realtime::Listeners;
use uuid::Uuid;

use crate::api::Gate;

/// Those who are here, for the pieces of their texts.
pub(crate) struct Pieces<'l>(pub(crate) &'l Listeners<Gate>);

/// The channel in which the texts of `user` grow.
pub(crate) fn channel(user: Uuid) -> String {
    format!("u:{user}")
}

fn owner(channel: &str) -> Option<UserId> {
    match Lane::parse(channel.as_bytes()) {
        Some(Lane::User(user)) => Some(user),
        _ => None,
    }
}

impl Audience for Pieces<'_> {
    fn channels(&self) -> Vec<String> {
        self.0.people().into_iter().map(channel).collect()
    }

    fn wants(&self, channel: &str) -> bool {
        owner(channel).is_some_and(|user| self.0.is_here(user.0))
    }

    fn hear(&self, channel: &str, frame: Bytes) {
        let is_piece = Head::parse(&frame)
            .is_ok_and(|head| matches!(head.t.as_ref(), frames::AI_DELTA | frames::AI_SNAP));
        if let Some(user) = owner(channel)
            && is_piece
        {
            self.0.hint(user.0, &frame);
        }
    }
}
