//! Decisions: each one is a version of its chat and a row of the outbox, in one transaction.

use contracts::{
    ChatId, ThreadId, UserId,
    chat::{BindingMode, BindingState, Kind},
    events::{AdviceRequest, BindingInit, Change, ChangeKind, Persist, ThreadCreated, Topics},
    pipeline,
};
use serde::Serialize;
use sql::{Tx, args};

use super::{Error, Places, Store, bound, stored, word};
use crate::{
    dialect,
    domain::{self, Bound, Rebind, Stored},
};

/// What a command led to.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) chat: ChatId,
    /// The version to wait for: the answer is given when it was projected.
    pub(crate) version: i64,
    /// Whether anything new was decided.
    pub(crate) new: bool,
}

/// One transaction of decisions about one chat.
struct Decision<'a> {
    tx: Tx,
    chat: Stored,
    topics: &'a Topics,
    now_ms: i64,
}

impl<'a> Decision<'a> {
    async fn about(
        mut tx: Tx,
        chat: ChatId,
        topics: &'a Topics,
        now_ms: i64,
    ) -> Result<Self, Error> {
        let row = tx
            .fetch_optional(dialect::lock_chat(tx.engine()), args![chat.0])
            .await?;
        let chat = stored(&row.ok_or(Error::NotFound("chat"))?)?;
        Ok(Self {
            tx,
            chat,
            topics,
            now_ms,
        })
    }

    /// Adds the next version.
    async fn change(&mut self, actor: UserId, change: ChangeKind) -> Result<i64, Error> {
        self.chat.version += 1;
        let version = self.chat.version;
        let record = Persist::Change(Change {
            chat: self.chat.id,
            version,
            actor,
            change,
        });
        let (topic, key) = (
            self.topics.message_persist.clone(),
            pipeline::persist_key(self.chat.id),
        );
        self.put(Some(version), topic, key.to_vec(), &record)
            .await?;
        Ok(version)
    }

    /// Adds a row to the outbox.
    async fn put<T: Serialize>(
        &mut self,
        version: Option<i64>,
        topic: String,
        key: Vec<u8>,
        payload: &T,
    ) -> Result<(), Error> {
        self.chat.outbox_n += 1;
        let payload = pipeline::encode(payload).to_vec();
        let (id, n, now) = (self.chat.id.0, self.chat.outbox_n, self.now_ms);
        self.tx
            .execute(
                "INSERT INTO outbox (chat_id, n, version, topic, key, payload, created_ms, next_ms)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                args![id, n, version, topic, key, payload, now, now + 2000],
            )
            .await?;
        Ok(())
    }

    async fn binding(&mut self, owner: UserId) -> Result<Option<Bound>, Error> {
        let row = self
            .tx
            .fetch_optional(
                "SELECT chat_id, owner, thread_id, mode, state, reason, version FROM binding
                 WHERE chat_id = $1 AND owner = $2",
                args![self.chat.id.0, owner.0],
            )
            .await?;
        row.map(|row| bound(&row)).transpose()
    }

    async fn require_member(&mut self, user: UserId) -> Result<(), Error> {
        let row = self
            .tx
            .fetch_optional(
                "SELECT user_id FROM member WHERE chat_id = $1 AND user_id = $2",
                args![self.chat.id.0, user.0],
            )
            .await?;
        row.map(drop).ok_or(Error::NotFound("chat"))
    }

    /// Writes a binding as the next version of its chat.
    async fn set_binding(&mut self, mut binding: Bound) -> Result<(), Error> {
        let (owner, thread) = (binding.owner, binding.thread);
        let (mode, state) = (binding.mode, binding.state);
        binding.version = self
            .change(
                owner,
                ChangeKind::BindingSet {
                    owner,
                    thread,
                    mode,
                    state,
                },
            )
            .await?;
        self.tx
            .execute(
                "INSERT INTO binding (chat_id, owner, thread_id, mode, state, reason, version)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (chat_id, owner) DO UPDATE SET mode = excluded.mode, state = excluded.state,
                 reason = excluded.reason, version = excluded.version",
                args![
                    self.chat.id.0,
                    owner.0,
                    thread.0,
                    word(&mode),
                    word(&state),
                    binding.reason.as_ref().map(word),
                    binding.version
                ],
            )
            .await?;
        Ok(())
    }

    async fn ask_for_thread(
        &mut self,
        owner: UserId,
        thread: ThreadId,
        mode: BindingMode,
    ) -> Result<(), Error> {
        let init = BindingInit {
            thread,
            chat: self.chat.id,
            owner,
            mode,
        };
        let topic = self.topics.ai_binding_init.clone();
        self.put(None, topic, thread.to_string().into_bytes(), &init)
            .await
    }

    async fn commit(mut self, new: bool) -> Result<Decided, Error> {
        let (id, version, n) = (self.chat.id, self.chat.version, self.chat.outbox_n);
        self.tx
            .execute(
                "UPDATE chat SET version = $2, outbox_n = $3 WHERE id = $1",
                args![id.0, version, n],
            )
            .await?;
        kit::failpoint!("chat.commit.before");
        self.tx.commit().await?;
        kit::failpoint!("chat.commit.after");
        Ok(Decided {
            chat: id,
            version,
            new,
        })
    }
}

impl Store {
    /// Opens the one private chat of a pair, or finds it.
    pub(crate) async fn open_private(
        &self,
        topics: &Topics,
        id: ChatId,
        creator: UserId,
        other: UserId,
        now_ms: i64,
    ) -> Result<Decided, Error> {
        let pair = domain::pair_key(creator, other);
        let mut tx = self.db.write_tx().await?;
        let inserted = tx
            .execute(
                "INSERT INTO chat (id, kind, title, creator, pair_key, version, projected, outbox_n, created_ms)
                 VALUES ($1, $2, NULL, $3, $4, 0, 0, 0, $5) ON CONFLICT DO NOTHING",
                args![id.0, word(&Kind::Private), creator.0, pair.as_str(), now_ms],
            )
            .await?;
        if inserted == 0 {
            let found = tx
                .fetch_optional("SELECT id FROM chat WHERE pair_key = $1", args![pair])
                .await?;
            let chat = ChatId(found.ok_or(Error::NotFound("chat"))?.get("id")?);
            return Ok(Decided {
                chat,
                version: 1,
                new: false,
            });
        }
        let members = vec![creator.min(other), creator.max(other)];
        let rows = members.iter().map(|user| args![id.0, user.0]).collect();
        tx.insert_many("INSERT INTO member (chat_id, user_id)", 2, "", rows)
            .await?;
        let mut decision = Decision::about(tx, id, topics, now_ms).await?;
        let created = ChangeKind::Created {
            chat_kind: Kind::Private,
            title: None,
            members,
        };
        decision.change(creator, created).await?;
        decision.commit(true).await
    }

    /// Binds a chat to the AI for one of its members, or changes the binding; `thread` is used for a new one.
    pub(crate) async fn bind(
        &self,
        topics: &Topics,
        chat: ChatId,
        owner: UserId,
        mode: BindingMode,
        thread: ThreadId,
        now_ms: i64,
    ) -> Result<Decided, Error> {
        let tx = self.db.write_tx().await?;
        let mut decision = Decision::about(tx, chat, topics, now_ms).await?;
        decision.require_member(owner).await?;
        let (binding, init) = match decision.binding(owner).await? {
            None => {
                let state = BindingState::Pending;
                (
                    Bound {
                        chat,
                        owner,
                        thread,
                        mode,
                        state,
                        reason: None,
                        version: 0,
                    },
                    true,
                )
            }
            Some(binding) => match domain::rebind(&binding, mode) {
                Rebind::Same => {
                    return Ok(Decided {
                        chat,
                        version: binding.version,
                        new: false,
                    });
                }
                Rebind::Mode => (Bound { mode, ..binding }, false),
                Rebind::Init => (
                    Bound {
                        mode,
                        state: BindingState::Pending,
                        reason: None,
                        ..binding
                    },
                    true,
                ),
            },
        };
        let thread = binding.thread;
        decision.set_binding(binding).await?;
        if init {
            decision.ask_for_thread(owner, thread, mode).await?;
        }
        decision.commit(true).await
    }

    /// Removes a binding; nothing happens when there is none.
    pub(crate) async fn unbind(
        &self,
        topics: &Topics,
        chat: ChatId,
        owner: UserId,
        now_ms: i64,
    ) -> Result<Decided, Error> {
        let tx = self.db.write_tx().await?;
        let mut decision = Decision::about(tx, chat, topics, now_ms).await?;
        decision.require_member(owner).await?;
        let Some(binding) = decision.binding(owner).await? else {
            return Ok(Decided {
                chat,
                version: decision.chat.version,
                new: false,
            });
        };
        decision
            .change(
                owner,
                ChangeKind::BindingRemoved {
                    owner,
                    thread: binding.thread,
                },
            )
            .await?;
        decision
            .tx
            .execute(
                "DELETE FROM binding WHERE chat_id = $1 AND owner = $2",
                args![chat.0, owner.0],
            )
            .await?;
        decision.commit(true).await
    }

    /// Asks for advice; the record is published like everything else that was decided. Says whether it is new: the same
    /// request again changes nothing.
    pub(crate) async fn ask(
        &self,
        topics: &Topics,
        request: &AdviceRequest,
        now_ms: i64,
    ) -> Result<bool, Error> {
        let tx = self.db.write_tx().await?;
        let mut decision = Decision::about(tx, request.chat, topics, now_ms).await?;
        if !super::asked::note(&mut decision.tx, request, now_ms).await? {
            return Ok(false);
        }
        let topic = topics.ai_advice_request.clone();
        decision
            .put(
                None,
                topic,
                request.thread.to_string().into_bytes(),
                request,
            )
            .await?;
        decision.commit(true).await.map(|_| true)
    }

    /// Takes in what became of threads, and moves the positions of the records in the same transaction.
    pub(crate) async fn threads_created(
        &self,
        topics: &Topics,
        created: &[ThreadCreated],
        places: (&Places, &Places),
        now_ms: i64,
    ) -> Result<Vec<ChatId>, Error> {
        let mut tx = self.db.write_tx().await?;
        super::outbox::move_positions(&mut tx, places).await?;
        let mut touched = Vec::new();
        for created in created {
            if tx
                .fetch_optional("SELECT id FROM chat WHERE id = $1", args![created.chat.0])
                .await?
                .is_none()
            {
                continue;
            }
            let mut decision = Decision::about(tx, created.chat, topics, now_ms).await?;
            // A binding that was removed or made anew meanwhile has another thread, or none.
            let current = decision
                .binding(created.owner)
                .await?
                .filter(|binding| binding.thread == created.thread);
            let state = if created.failed.is_some() {
                BindingState::Failed
            } else {
                BindingState::Ready
            };
            if let Some(binding) = current.filter(|binding| binding.state != state) {
                decision
                    .set_binding(Bound {
                        state,
                        reason: created.failed,
                        ..binding
                    })
                    .await?;
                touched.push(created.chat);
            }
            let (id, version, n) = (
                decision.chat.id,
                decision.chat.version,
                decision.chat.outbox_n,
            );
            tx = decision.tx;
            tx.execute(
                "UPDATE chat SET version = $2, outbox_n = $3 WHERE id = $1",
                args![id.0, version, n],
            )
            .await?;
        }
        tx.commit().await?;
        Ok(touched)
    }
}
