//! What other services may ask.

use std::pin::Pin;

use async_trait::async_trait;
use contracts::{
    ChatId, ThreadId, UserId,
    chat::{Binding, Chat, ChatApi, ThreadContext},
    user::UserClient,
};
use kit::{Call, Fault};

use crate::{
    domain::Bound,
    store::{Error, Store, Whole},
};

/// What is known of chats.
pub(crate) struct Lookups {
    pub(crate) store: Store,
    pub(crate) users: UserClient,
}

#[async_trait]
impl ChatApi for Lookups {
    async fn by_id(&self, call: &Call, chat: ChatId) -> Result<Chat, Fault> {
        Ok(within(call, self.whole(chat)).await?.chat.view())
    }

    async fn bindings(&self, call: &Call, chat: ChatId) -> Result<Vec<Binding>, Fault> {
        let whole = within(call, self.whole(chat)).await?;
        let unexplained = |bound: &Bound| Binding {
            reason: None,
            ..bound.view(whole.chat.projected, bound.owner)
        };
        Ok(whole.bindings.iter().map(unexplained).collect())
    }

    async fn members(&self, call: &Call, chat: ChatId) -> Result<Vec<UserId>, Fault> {
        Ok(within(call, self.whole(chat)).await?.members)
    }

    async fn thread(&self, call: &Call, thread: ThreadId) -> Result<ThreadContext, Fault> {
        let (whole, owner) = within(call, self.around(thread)).await?;
        let person = self.users.by_id(call, owner).await?;
        Ok(ThreadContext {
            owner,
            email: person.and_then(|person| person.email),
            chat: whole.chat.id,
            members: whole.members,
        })
    }
}

impl Lookups {
    async fn whole(&self, chat: ChatId) -> Result<Whole, Error> {
        let found = self.store.whole(&[chat]).await?.remove(&chat);
        found.ok_or(Error::NotFound("chat"))
    }

    /// The chat that a thread is in, and who owns the thread.
    async fn around(&self, thread: ThreadId) -> Result<(Whole, UserId), Error> {
        let found = self.store.thread(thread).await?;
        let (chat, owner) = found.ok_or(Error::NotFound("thread"))?;
        Ok((self.whole(chat).await?, owner))
    }
}

/// Reads until the deadline, on the heap: the futures of statements are large.
fn within<'a, T: 'a>(
    call: &'a Call,
    work: impl Future<Output = Result<T, Error>> + Send + 'a,
) -> Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>> {
    let work = Box::pin(work);
    Box::pin(call.run(async { work.await.map_err(Fault::from) }))
}
