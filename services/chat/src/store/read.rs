//! Reading chats, members and bindings.

use std::collections::HashMap;

use contracts::{ChatId, ThreadId, UserId, chat::Binding};
use sql::{Args, args};

use super::{Error, Store, bound, stored};
use crate::domain::{Bound, Stored};

/// A chat with everybody and every binding in it.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) chat: Stored,
    pub(crate) members: Vec<UserId>,
    pub(crate) bindings: Vec<Bound>,
}

impl Whole {
    /// The bindings as `reader` may see them.
    pub(crate) fn binding_views(&self, reader: UserId) -> Vec<Binding> {
        self.bindings
            .iter()
            .map(|binding| binding.view(self.chat.projected, reader))
            .collect()
    }
}

impl Store {
    /// The chats of `ids` that exist, in no order.
    pub(crate) async fn whole(&self, ids: &[ChatId]) -> Result<HashMap<ChatId, Whole>, Error> {
        let mut tx = self.db.read_tx().await?;
        let list = || ids.iter().map(|id| args![id.0]).collect::<Vec<Args>>();
        let mut found = HashMap::new();
        let chats = "SELECT id, kind, title, creator, version, projected, outbox_n, created_ms FROM chat WHERE id IN ({list})";
        for row in tx.fetch_list(chats, args![], 1, list()).await? {
            let chat = stored(&row)?;
            found.insert(
                chat.id,
                Whole {
                    chat,
                    members: Vec::new(),
                    bindings: Vec::new(),
                },
            );
        }
        let members = "SELECT chat_id, user_id FROM member WHERE chat_id IN ({list})";
        for row in tx.fetch_list(members, args![], 1, list()).await? {
            if let Some(whole) = found.get_mut(&ChatId(row.get("chat_id")?)) {
                whole.members.push(UserId(row.get("user_id")?));
            }
        }
        let bindings = "SELECT chat_id, owner, thread_id, mode, state, reason, version FROM binding WHERE chat_id IN ({list})";
        for row in tx.fetch_list(bindings, args![], 1, list()).await? {
            let binding = bound(&row)?;
            if let Some(whole) = found.get_mut(&binding.chat) {
                whole.bindings.push(binding);
            }
        }
        for whole in found.values_mut() {
            whole.members.sort_unstable();
            whole.bindings.sort_unstable_by_key(|binding| binding.owner);
        }
        Ok(found)
    }

    /// One chat, for a member; strangers and unknown ids are both told that there is none.
    pub(crate) async fn for_member(&self, id: ChatId, reader: UserId) -> Result<Whole, Error> {
        let whole = self.whole(&[id]).await?.remove(&id);
        whole
            .filter(|whole| whole.members.contains(&reader))
            .ok_or(Error::NotFound("chat"))
    }

    /// In which chat a thread is and whose it is; `None` when no binding has it.
    pub(crate) async fn thread(&self, thread: ThreadId) -> Result<Option<(ChatId, UserId)>, Error> {
        let sql = "SELECT chat_id, owner FROM binding WHERE thread_id = $1";
        let row = self.db.fetch_optional(sql, args![thread.0]).await?;
        row.map(|row| Ok((ChatId(row.get("chat_id")?), UserId(row.get("owner")?))))
            .transpose()
    }

    /// Where a consumer's partition goes on.
    pub(crate) async fn place(&self, partition: &eventlog::Partition) -> Result<i64, Error> {
        let sql = "SELECT next_offset FROM position WHERE topic_id = $1 AND part = $2";
        let row = self
            .db
            .fetch_optional(sql, args![partition.topic_id, i64::from(partition.number)])
            .await?;
        Ok(row.ok_or(Error::NotFound("position"))?.get("next_offset")?)
    }

    /// How far a chat's decisions are projected.
    pub(crate) async fn projected(&self, id: ChatId) -> Result<i64, Error> {
        let row = self
            .db
            .fetch_optional("SELECT projected FROM chat WHERE id = $1", args![id.0])
            .await?;
        Ok(row
            .map(|row| row.get("projected"))
            .transpose()?
            .unwrap_or(0))
    }
}
