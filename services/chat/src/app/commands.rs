//! What people decide about chats. A command answers when its decision was projected.

use std::{collections::HashMap, sync::Arc, time::Duration};

use cache::{Decision, Limits, Rule};
use contracts::{
    ChatId, Key, RunId, ThreadId, UserId,
    ai::AiClient,
    chat::{Binding, BindingMode, BindingState},
    events::{AdviceRequest, Topics},
    message::{MessageClient, Summary},
    user::{PublicUser, UserClient},
};
use eventlog::submit::Submitter;
use kit::{Call, Clock, Code, Fault, Ids};
use tokio::time::Instant;

use super::{consumers::Version, publish::Publisher};
use crate::{
    Config, metrics as names,
    store::{Decided, Store, Whole},
};

/// The longest question that goes with a request for advice, in bytes.
const MAX_HINT: usize = 1000;
/// How long `ai` may take to say whether there is budget left.
const BUDGET_PATIENCE: Duration = Duration::from_millis(500);

/// The use cases.
pub(crate) struct Commands {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) publisher: Publisher,
    pub(crate) waiters: Submitter<Version, ()>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) users: UserClient,
    pub(crate) message: MessageClient,
    pub(crate) ai: AiClient,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

/// A chat as one of its members finds it.
pub(crate) struct Opened {
    pub(crate) whole: Whole,
    pub(crate) names: Vec<PublicUser>,
    pub(crate) summary: Summary,
}

impl Commands {
    /// Opens the private chat with `other`, or finds it. The flag says whether it is new.
    pub(crate) async fn open_private(
        &self,
        call: &Call,
        caller: UserId,
        other: UserId,
    ) -> Result<(ChatId, bool), Fault> {
        if caller == other {
            return Err(
                Fault::invalid("a private chat needs another person").reason("chat_with_oneself")
            );
        }
        self.limit("chats", caller, self.config.chats_per_minute)
            .await?;
        if self.users.by_id(call, other).await?.is_none() {
            return Err(Fault::not_found("user"));
        }
        let id = ChatId(self.ids.next());
        let decided = self
            .store
            .open_private(&self.topics, id, caller, other, self.clock.now_ms())
            .await?;
        self.settle(call, &decided, "open_private").await?;
        Ok((decided.chat, decided.new))
    }

    /// Binds the chat to the AI for `caller`.
    pub(crate) async fn bind(
        &self,
        call: &Call,
        chat: ChatId,
        caller: UserId,
        mode: BindingMode,
    ) -> Result<(), Fault> {
        self.limit("bindings", caller, self.config.bindings_per_minute)
            .await?;
        let thread = ThreadId(self.ids.next());
        let decided = self
            .store
            .bind(
                &self.topics,
                chat,
                caller,
                mode,
                thread,
                self.clock.now_ms(),
            )
            .await?;
        self.settle(call, &decided, "bind").await
    }

    /// Removes the caller's binding.
    pub(crate) async fn unbind(
        &self,
        call: &Call,
        chat: ChatId,
        caller: UserId,
    ) -> Result<(), Fault> {
        self.limit("bindings", caller, self.config.bindings_per_minute)
            .await?;
        let decided = self
            .store
            .unbind(&self.topics, chat, caller, self.clock.now_ms())
            .await?;
        self.settle(call, &decided, "unbind").await
    }

    /// The caller's own binding.
    pub(crate) async fn own_binding(&self, chat: ChatId, caller: UserId) -> Result<Binding, Fault> {
        let whole = self.store.for_member(chat, caller).await?;
        let own = whole
            .binding_views(caller)
            .into_iter()
            .find(|binding| binding.owner == caller);
        own.ok_or_else(|| Fault::not_found("binding"))
    }

    /// Asks for advice. The same caller, chat and key again name the same run; with another question they are refused.
    pub(crate) async fn ask(
        &self,
        call: &Call,
        chat: ChatId,
        caller: UserId,
        key: Key,
        hint: Option<String>,
    ) -> Result<RunId, Fault> {
        if hint.as_ref().is_some_and(|hint| hint.len() > MAX_HINT) {
            return Err(Fault::new(
                Code::TooLarge,
                format!("the question is longer than {MAX_HINT} bytes"),
            ));
        }
        let whole = self.store.for_member(chat, caller).await?;
        let binding = whole.bindings.iter().find(|bound| bound.owner == caller);
        let binding = binding.ok_or_else(|| Fault::not_found("binding"))?;
        let version = binding.version;
        let binding = binding.view(whole.chat.projected, caller);
        let conflict = |text: &str, word| Fault::new(Code::Conflict, text).reason(word);
        if binding.mode != BindingMode::Advice {
            return Err(conflict(
                "this binding answers for you; it gives no advice",
                "wrong_mode",
            ));
        }
        if binding.state != BindingState::Ready {
            return Err(conflict("the binding is not ready", "not_ready"));
        }
        self.limit("advice", caller, self.config.advice_per_minute)
            .await?;
        let run = RunId::derive(caller, chat, key);
        self.check_budget(call, caller, run).await?;
        let request = AdviceRequest {
            run,
            thread: binding.thread,
            chat,
            owner: caller,
            version,
            hint,
            request: Some(call.request_id().to_owned()),
        };
        let is_new = self
            .store
            .ask(&self.topics, &request, self.clock.now_ms())
            .await?;
        // The sweep publishes it when the log is away now.
        if is_new && let Err(error) = self.publisher.publish(chat).await {
            tracing::warn!(%error, "publishing failed; the sweep tries again");
        }
        Ok(run)
    }

    /// Counts what `caller` does of one kind.
    async fn limit(
        &self,
        what: &'static str,
        caller: UserId,
        per_minute: u32,
    ) -> Result<(), Fault> {
        let bucket = format!("chat:{what}:{caller}");
        match self
            .limits
            .take(&bucket, Rule::per_minute(per_minute))
            .await
        {
            Decision::Allowed => Ok(()),
            Decision::Denied { retry_after } => Err(Fault::new(
                Code::Exhausted,
                "too many requests of this kind",
            )
            .retry_in(retry_after)),
        }
    }

    /// Refuses what the budget of the day does not allow. Without an answer in time the request goes on: `ai` keeps
    /// the budget, and only the word comes later.
    async fn check_budget(&self, call: &Call, caller: UserId, run: RunId) -> Result<(), Fault> {
        let call = call.within(BUDGET_PATIENCE);
        match call.run(self.ai.may_ask(&call, caller)).await {
            // A retry names the run that it began; that one has its place in the budget.
            Err(spent) if spent.is(Code::Exhausted) => {
                let begun = call.run(self.ai.follow(&call, caller, run)).await;
                begun.map(drop).map_err(|_| spent)
            }
            _ => Ok(()),
        }
    }

    /// One chat of the caller.
    pub(crate) async fn open(
        &self,
        call: &Call,
        id: ChatId,
        caller: UserId,
    ) -> Result<Opened, Fault> {
        // The position first: what changes after it reaches the caller as an event.
        let summary = self.message.summary(call, caller, id).await?;
        let whole = self.store.for_member(id, caller).await?;
        let names = self.users.by_ids(call, whole.members.clone()).await?;
        Ok(Opened {
            whole,
            names,
            summary,
        })
    }

    /// The caller's chats, the most recently active first.
    pub(crate) async fn list(
        &self,
        call: &Call,
        caller: UserId,
        limit: usize,
    ) -> Result<Vec<Opened>, Fault> {
        let summaries = self.message.chats(call, caller, limit).await?;
        let ids: Vec<_> = summaries.iter().map(|summary| summary.chat).collect();
        let mut chats = self.store.whole(&ids).await?;
        let mut people: Vec<_> = chats
            .values()
            .flat_map(|whole| whole.members.iter().copied())
            .collect();
        people.sort_unstable();
        people.dedup();
        let mut names = HashMap::new();
        for some in people.chunks(500) {
            names.extend(
                self.users
                    .by_ids(call, some.to_vec())
                    .await?
                    .into_iter()
                    .map(|user| (user.id, user)),
            );
        }
        let open = |summary: Summary| {
            let whole = chats.remove(&summary.chat)?;
            let names = whole
                .members
                .iter()
                .filter_map(|user| names.get(user).cloned())
                .collect();
            Some(Opened {
                whole,
                names,
                summary,
            })
        };
        Ok(summaries.into_iter().filter_map(open).collect())
    }

    /// Publishes a decision and waits until it was projected.
    async fn settle(
        &self,
        call: &Call,
        decided: &Decided,
        kind: &'static str,
    ) -> Result<(), Fault> {
        let started = Instant::now();
        let pending = self.waiters.begin((decided.chat, decided.version))?;
        if decided.new {
            metrics::counter!(names::DECIDED, "kind" => kind).increment(1);
        }
        if self.store.projected(decided.chat).await? >= decided.version {
            return Ok(());
        }
        if let Err(error) = self.publisher.publish(decided.chat).await {
            tracing::warn!(%error, "publishing failed; the sweep tries again");
        }
        let told = pending.wait();
        tokio::pin!(told);
        // Another replica may be the one that is told, so the store is asked now and then.
        let mut ask = tokio::time::interval(Duration::from_millis(250));
        call.run(async {
            loop {
                tokio::select! {
                    told = &mut told => return told,
                    _ = ask.tick() => {
                        if self.store.projected(decided.chat).await? >= decided.version {
                            return Ok(());
                        }
                    }
                }
            }
        })
        .await
        .map_err(|fault| {
            let text = "it is decided and not yet in effect; ask again";
            Fault::new(Code::Unavailable, text).with_source(fault)
        })?;
        metrics::histogram!(names::PROJECTED).record(started.elapsed().as_secs_f64());
        Ok(())
    }
}
