//! The caller's end of the contract over gRPC.

use std::sync::Arc;

use async_trait::async_trait;
use kit::{Call, Fault};
use rpc::{Channel, Remote};

use super::{AiApi, AiClient, Delta, Run};
use crate::{
    RunId, UserId,
    r#gen::{
        ai::{self as proto, ai_service_client::AiServiceClient},
        chat::BindingMode,
    },
    wire::{id, word},
};

/// The contract as a service elsewhere offers it.
pub fn connect(channel: impl Into<Channel>) -> AiClient {
    let client = AiServiceClient::new(channel.into());
    Arc::new(Connected(Remote::new("ai", client)))
}

struct Connected(Remote<AiServiceClient<Channel>>);

#[async_trait]
impl AiApi for Connected {
    async fn follow(&self, call: &Call, owner: UserId, run: RunId) -> Result<Option<Delta>, Fault> {
        let message = proto::FollowRunRequest {
            owner_id: owner.to_string(),
            run_id: run.to_string(),
        };
        let found = rpc::read!(self.0, call, follow_run, message).await?;
        found.delta.map(TryInto::try_into).transpose()
    }

    async fn cancel(&self, call: &Call, owner: UserId, run: RunId) -> Result<Run, Fault> {
        let message = proto::CancelRunRequest {
            owner_id: owner.to_string(),
            run_id: run.to_string(),
        };
        rpc::write!(self.0, call, cancel_run, message)
            .await?
            .try_into()
    }

    async fn open_runs(&self, call: &Call, owner: UserId) -> Result<Vec<Run>, Fault> {
        let owner_id = owner.to_string();
        let message = proto::GetOpenRunsRequest { owner_id };
        let found = rpc::read!(self.0, call, get_open_runs, message).await?;
        found.runs.into_iter().map(TryInto::try_into).collect()
    }

    async fn may_ask(&self, call: &Call, owner: UserId) -> Result<(), Fault> {
        let owner_id = owner.to_string();
        let message = proto::CheckBudgetRequest { owner_id };
        rpc::read!(self.0, call, check_budget, message)
            .await
            .map(drop)
    }
}

impl TryFrom<proto::Delta> for Delta {
    type Error = Fault;

    fn try_from(delta: proto::Delta) -> Result<Self, Fault> {
        Ok(Self {
            run: id(&delta.run_id)?,
            chat: id(&delta.chat_id)?,
            n: delta.n,
            text: delta.text,
        })
    }
}

impl TryFrom<proto::Run> for Run {
    type Error = Fault;

    fn try_from(run: proto::Run) -> Result<Self, Fault> {
        Ok(Self {
            run: id(&run.id)?,
            chat: id(&run.chat_id)?,
            kind: word::<BindingMode, _>(run.kind)?,
            state: word::<proto::RunState, _>(run.state)?,
            trigger_o: run.trigger_o,
            text: run.text,
            why: run.why.map(word::<proto::Why, _>).transpose()?,
            model: run.model,
            at: run.at,
            created_at: run.created_at,
        })
    }
}
