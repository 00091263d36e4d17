//! What concerns one person: records with the key of a user, and ephemera from the cache.

use std::sync::Arc;

use bytes::Bytes;
use cache::{Audience, Cache, Following};
use contracts::{
    UserId,
    frames::{self, ChatRef, Head, Lane},
};
use realtime::{Frame, Watchers};

use super::{presence::Presence, topic::Link, topics::Topics};

/// The people who are connected here.
#[derive(Default)]
pub(crate) struct People {
    links: Watchers<UserId, Link>,
    following: Following,
}

impl People {
    pub(crate) fn join(&self, link: &Arc<Link>) {
        if self.links.watch(link.user, link) {
            self.following.change(channel(link.user));
        }
    }

    pub(crate) fn leave(&self, link: &Link) {
        if self.links.unwatch(link.user, link) {
            self.following.change(channel(link.user));
        }
    }

    /// Takes a record of a person in: it goes to all of their connections as it is, and when it says
    /// that their chats have changed, they watch others.
    pub(crate) fn deliver(&self, user: UserId, bytes: &[u8], topics: &Topics, presence: &Presence) {
        if !self.links.is_watched(&user) {
            return;
        }
        let Ok(head) = Head::parse(bytes) else {
            return tracing::error!(user.id = %user, "a record of user {user} is no frame");
        };
        let frame = Frame::text(bytes);
        let change = matches!(head.t.as_ref(), frames::CHAT_ADDED | frames::CHAT_REMOVED)
            .then(|| head.content::<ChatRef>().ok())
            .flatten();
        self.links.each(&user, |link| {
            match &change {
                Some(added) if head.t == frames::CHAT_ADDED => {
                    topics.own(added.chat, link, 0, added.o);
                }
                Some(removed) => topics.disown(removed.chat, link, removed.o),
                None => {}
            }
            if change.is_some() {
                presence.doubt(link);
            }
            link.lasting_hint(&frame);
        });
    }

    /// Follows the channels of connected people in the cache, for good. Without the cache nothing is lost but what nobody
    /// may depend on.
    pub(crate) async fn follow(&self, cache: &dyn Cache) {
        self.following.follow(cache, self).await;
    }
}

impl Audience for People {
    fn channels(&self) -> Vec<String> {
        self.links.keys().into_iter().map(channel).collect()
    }

    fn wants(&self, channel: &str) -> bool {
        matches!(Lane::parse(channel.as_bytes()), Some(Lane::User(user)) if self.links.is_watched(&user))
    }

    fn hear(&self, channel: &str, payload: Bytes) {
        if let Some(Lane::User(user)) = Lane::parse(channel.as_bytes()) {
            let frame = Frame::text(&payload);
            self.links.each(&user, |link| link.hint(&frame, None));
        }
    }
}

/// The channel of a person.
fn channel(user: UserId) -> String {
    format!("u:{user}")
}
