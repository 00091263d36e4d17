//! The rules of chats and bindings, without any I/O.

use contracts::{
    ChatId, ThreadId, UserId,
    ai::Why,
    chat::{Binding, BindingMode, BindingState, Chat, Kind},
};
use sha2::{Digest as _, Sha256};

/// A chat as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: ChatId,
    pub(crate) kind: Kind,
    pub(crate) title: Option<String>,
    pub(crate) creator: UserId,
    pub(crate) version: i64,
    pub(crate) projected: i64,
    pub(crate) outbox_n: i64,
    pub(crate) created_ms: i64,
}

impl Stored {
    pub(crate) fn view(&self) -> Chat {
        Chat {
            id: self.id,
            kind: self.kind,
            title: self.title.clone(),
            creator: self.creator,
            created_at: kit::rfc3339(self.created_ms),
        }
    }
}

/// A binding as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bound {
    pub(crate) chat: ChatId,
    pub(crate) owner: UserId,
    pub(crate) thread: ThreadId,
    pub(crate) mode: BindingMode,
    pub(crate) state: BindingState,
    pub(crate) reason: Option<Why>,
    pub(crate) version: i64,
}

impl Bound {
    /// The binding as a reader may see it: it is ready only when that was projected, and why it failed is
    /// the owner's business.
    pub(crate) fn view(&self, projected: i64, reader: UserId) -> Binding {
        let early = self.state == BindingState::Ready && projected < self.version;
        Binding {
            chat: self.chat,
            owner: self.owner,
            thread: self.thread,
            mode: self.mode,
            state: if early {
                BindingState::Pending
            } else {
                self.state
            },
            reason: self.reason.filter(|_| reader == self.owner),
        }
    }
}

/// What binding a chat again leads to.
#[derive(Debug, PartialEq)]
pub(crate) enum Rebind {
    /// It is as asked.
    Same,
    /// Another mode on the thread that works.
    Mode,
    /// The thread has to be made (again).
    Init,
}

/// Decides what `mode` asks of an existing binding: a thread is kept, a failed one is made again.
pub(crate) fn rebind(bound: &Bound, mode: BindingMode) -> Rebind {
    match (bound.state, bound.mode == mode) {
        (BindingState::Failed, _) => Rebind::Init,
        (_, true) => Rebind::Same,
        (_, false) => Rebind::Mode,
    }
}

/// The key that makes a private chat unique for its pair.
pub(crate) fn pair_key(a: UserId, b: UserId) -> String {
    format!("{}:{}", a.min(b), a.max(b))
}

/// What a request for advice asks for: the first bytes of a digest of the question, if there is one.
pub(crate) fn intent(question: Option<&str>) -> i64 {
    let mut digest = Sha256::new();
    if let Some(question) = question {
        digest.update([1]);
        digest.update(question);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&digest.finalize()[..8]);
    i64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn bound(state: BindingState) -> Bound {
        let id = Uuid::from_u128(1);
        Bound {
            chat: ChatId(id),
            owner: UserId(id),
            thread: ThreadId(id),
            mode: BindingMode::Advice,
            state,
            reason: Some(Why::ProviderRefused),
            version: 3,
        }
    }

    /// row:B02: the pair, not the order, makes the key.
    #[test]
    fn a_pair_has_one_key() {
        let (a, b) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        assert_eq!(pair_key(a, b), pair_key(b, a));
    }

    /// row:E05, row:E10
    #[test]
    fn a_working_thread_is_kept_and_a_failed_one_made_again() {
        assert_eq!(
            rebind(&bound(BindingState::Ready), BindingMode::Advice),
            Rebind::Same
        );
        assert_eq!(
            rebind(&bound(BindingState::Ready), BindingMode::Autoreply),
            Rebind::Mode
        );
        assert_eq!(
            rebind(&bound(BindingState::Failed), BindingMode::Advice),
            Rebind::Init
        );
    }

    #[test]
    fn a_binding_is_ready_only_when_that_was_projected_and_its_trouble_is_the_owners() {
        let ready = bound(BindingState::Ready);
        let other = UserId(Uuid::from_u128(2));
        assert_eq!(ready.view(2, other).state, BindingState::Pending);
        assert_eq!(ready.view(3, other).state, BindingState::Ready);
        assert_eq!(ready.view(3, other).reason, None);
        assert!(ready.view(3, ready.owner).reason.is_some());
    }
}
