//! `/api/ai`: an owner's runs, drafts and settings.

use std::sync::Arc;

use axum::{Extension, Router, extract::State};
use contracts::{
    ChatId, RunId,
    ai::Run,
    auth::{BearerAuth, Caller, Verifier},
};
use kit::{
    Fault,
    problem::{Json, Path, Problem, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::desk::Desk,
    domain::kernel::{Decision, Settings},
};

#[derive(OpenApi)]
#[openapi(
    info(title = "ai", description = "Runs, drafts and settings of a person's AI"),
    modifiers(&BearerAuth)
)]
struct Doc;

fn documented() -> OpenApiRouter<Desk> {
    OpenApiRouter::with_openapi(Doc::openapi())
        .routes(routes!(list_runs))
        .routes(routes!(read_run))
        .routes(routes!(cancel_run))
        .routes(routes!(approve_draft))
        .routes(routes!(discard_draft))
        .routes(routes!(read_settings, write_settings))
}

/// The routes, with the check of tokens in front.
pub(crate) fn router(desk: Desk, verifier: Arc<Verifier>) -> Router {
    documented()
        .with_state(desk)
        .split_for_parts()
        .0
        .layer(Extension(verifier))
}

/// Their description.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    documented().into_openapi()
}

/// Which runs.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
struct RunsQuery {
    /// Of this chat only.
    chat: Option<ChatId>,
    /// Only those that have not ended.
    #[serde(default)]
    open: bool,
}

/// Runs, newest first, at most 50.
#[derive(Debug, Serialize, ToSchema)]
struct Runs {
    runs: Vec<Run>,
}

/// How a draft is approved.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Approval {
    /// What is sent in the place of the draft's text, 1 to 16384 bytes.
    text: Option<String>,
}

/// Lists the caller's runs, newest first.
#[utoipa::path(get, path = "/api/ai/runs", tag = "ai", params(RunsQuery), security(("bearer" = [])),
    responses((status = 200, body = Runs), (status = "4XX", body = Problem)))]
async fn list_runs(
    State(desk): State<Desk>,
    caller: Caller,
    Query(query): Query<RunsQuery>,
) -> Result<Json<Runs>, Fault> {
    let runs = desk.runs(caller.user, query.chat, query.open).await?;
    Ok(Json(Runs { runs }))
}

/// Reads one of the caller's runs.
#[utoipa::path(get, path = "/api/ai/runs/{run}", tag = "ai", params(("run" = RunId, Path)), security(("bearer" = [])),
    responses((status = 200, body = Run), (status = "4XX", body = Problem)))]
async fn read_run(
    State(desk): State<Desk>,
    caller: Caller,
    Path(run): Path<RunId>,
) -> Result<Json<Run>, Fault> {
    desk.run(caller.user, run).await.map(Json)
}

/// Ends a run, wherever it is; 409 when it has ended or is on its way to be stored.
#[utoipa::path(post, path = "/api/ai/runs/{run}/cancel", tag = "ai", params(("run" = RunId, Path)),
    security(("bearer" = [])), responses((status = 200, body = Run), (status = "4XX", body = Problem)))]
async fn cancel_run(
    State(desk): State<Desk>,
    caller: Caller,
    Path(run): Path<RunId>,
) -> Result<Json<Run>, Fault> {
    desk.decide(caller.user, run, Decision::Cancel, None)
        .await
        .map(Json)
}

/// Sends a draft; 409 `superseded` when a newer message made it stale.
#[utoipa::path(post, path = "/api/ai/runs/{run}/approve", tag = "ai", params(("run" = RunId, Path)),
    request_body = Approval, security(("bearer" = [])),
    responses((status = 200, body = Run), (status = "4XX", body = Problem)))]
async fn approve_draft(
    State(desk): State<Desk>,
    caller: Caller,
    Path(run): Path<RunId>,
    Json(approval): Json<Approval>,
) -> Result<Json<Run>, Fault> {
    desk.approve(caller.user, run, approval.text)
        .await
        .map(Json)
}

/// Throws a draft away.
#[utoipa::path(post, path = "/api/ai/runs/{run}/discard", tag = "ai", params(("run" = RunId, Path)),
    security(("bearer" = [])), responses((status = 200, body = Run), (status = "4XX", body = Problem)))]
async fn discard_draft(
    State(desk): State<Desk>,
    caller: Caller,
    Path(run): Path<RunId>,
) -> Result<Json<Run>, Fault> {
    desk.decide(caller.user, run, Decision::Discard, None)
        .await
        .map(Json)
}

/// Reads what the caller chose for their binding in a chat.
#[utoipa::path(get, path = "/api/ai/settings/{chat}", tag = "ai", params(("chat" = ChatId, Path)),
    security(("bearer" = [])), responses((status = 200, body = Settings), (status = "4XX", body = Problem)))]
async fn read_settings(
    State(desk): State<Desk>,
    caller: Caller,
    Path(chat): Path<ChatId>,
) -> Result<Json<Settings>, Fault> {
    desk.settings(caller.user, chat).await.map(Json)
}

/// Chooses how replies are released and whether advice comes unasked.
#[utoipa::path(put, path = "/api/ai/settings/{chat}", tag = "ai", params(("chat" = ChatId, Path)),
    request_body = Settings, security(("bearer" = [])),
    responses((status = 200, body = Settings), (status = "4XX", body = Problem)))]
async fn write_settings(
    State(desk): State<Desk>,
    caller: Caller,
    Path(chat): Path<ChatId>,
    Json(settings): Json<Settings>,
) -> Result<Json<Settings>, Fault> {
    desk.configure(caller.user, chat, settings).await.map(Json)
}
