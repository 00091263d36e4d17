//! The service's end of the contract over gRPC.

use async_trait::async_trait;
use rpc::{Answer, Service, answer};
use tonic::Request;

use super::{AiClient, Delta, Run};
use crate::{
    r#gen::{
        ai::{
            self as proto,
            ai_service_server::{AiService, AiServiceServer},
        },
        chat::BindingMode,
    },
    wire::asked,
};

/// Offers the contract over gRPC.
pub fn serve(api: AiClient) -> Service {
    Service::new(AiServiceServer::new(Served(api)))
}

struct Served(AiClient);

#[async_trait]
impl AiService for Served {
    async fn follow_run(
        &self,
        request: Request<proto::FollowRunRequest>,
    ) -> Answer<proto::FollowRunResponse> {
        answer(request, |call, message| async move {
            let owner = asked("owner_id", &message.owner_id)?;
            let run = asked("run_id", &message.run_id)?;
            let delta = self.0.follow(&call, owner, run).await?;
            Ok(proto::FollowRunResponse {
                delta: delta.map(Into::into),
            })
        })
        .await
    }

    async fn cancel_run(&self, request: Request<proto::CancelRunRequest>) -> Answer<proto::Run> {
        answer(request, |call, message| async move {
            let owner = asked("owner_id", &message.owner_id)?;
            let run = asked("run_id", &message.run_id)?;
            self.0.cancel(&call, owner, run).await
        })
        .await
    }

    async fn get_open_runs(
        &self,
        request: Request<proto::GetOpenRunsRequest>,
    ) -> Answer<proto::GetOpenRunsResponse> {
        answer(request, |call, message| async move {
            let owner = asked("owner_id", &message.owner_id)?;
            let runs = self.0.open_runs(&call, owner).await?;
            Ok(proto::GetOpenRunsResponse {
                runs: runs.into_iter().map(Into::into).collect(),
            })
        })
        .await
    }

    async fn check_budget(
        &self,
        request: Request<proto::CheckBudgetRequest>,
    ) -> Answer<proto::CheckBudgetResponse> {
        answer(request, |call, message| async move {
            let owner = asked("owner_id", &message.owner_id)?;
            self.0.may_ask(&call, owner).await?;
            Ok(proto::CheckBudgetResponse {})
        })
        .await
    }
}

impl From<Delta> for proto::Delta {
    fn from(delta: Delta) -> Self {
        Self {
            run_id: delta.run.to_string(),
            chat_id: delta.chat.to_string(),
            n: delta.n,
            text: delta.text,
        }
    }
}

impl From<Run> for proto::Run {
    fn from(run: Run) -> Self {
        Self {
            id: run.run.to_string(),
            chat_id: run.chat.to_string(),
            kind: BindingMode::from(run.kind).into(),
            state: proto::RunState::from(run.state).into(),
            trigger_o: run.trigger_o,
            text: run.text,
            why: run.why.map(|why| proto::Why::from(why).into()),
            model: run.model,
            at: run.at,
            created_at: run.created_at,
        }
    }
}
