//! What other services ask.

use async_trait::async_trait;
use contracts::{
    ChatId, ThreadId, UserId,
    chat::{Binding, Chat, ChatApi, ThreadContext},
};
use kit::{Call, Fault};

use crate::store::Store;

/// The service as others see it.
pub(crate) struct Lookup(pub(crate) Store);

#[async_trait]
impl ChatApi for Lookup {
    async fn by_id(&self, call: &Call, id: ChatId) -> Result<Option<Chat>, Fault> {
        call.run(async {
            Ok(self
                .0
                .whole(&[id])
                .await?
                .remove(&id)
                .map(|whole| whole.chat.view()))
        })
        .await
    }

    async fn members(&self, call: &Call, id: ChatId) -> Result<Vec<UserId>, Fault> {
        call.run(async {
            Ok(self
                .0
                .whole(&[id])
                .await?
                .remove(&id)
                .map(|whole| whole.members)
                .unwrap_or_default())
        })
        .await
    }

    async fn bindings(&self, call: &Call, id: ChatId) -> Result<Vec<Binding>, Fault> {
        call.run(async {
            let whole = self.0.whole(&[id]).await?.remove(&id);
            Ok(whole
                .map(|whole| whole.binding_views(None))
                .unwrap_or_default())
        })
        .await
    }

    async fn thread(&self, call: &Call, thread: ThreadId) -> Result<Option<ThreadContext>, Fault> {
        call.run(async {
            let found = self.0.by_thread(thread).await?;
            Ok(found.map(|(binding, whole)| ThreadContext {
                binding: binding.view(whole.chat.projected, None),
                members: whole.members,
            }))
        })
        .await
    }
}
