//! `/api/messages`: send, read, mark.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Router, extract::State, http::StatusCode};
use cache::{Limits, Rule};
use contracts::{
    ChatId, Key, MessageId, RunId,
    auth::{Caller, Verifier},
    events::Send,
    message::{History, MAX_PAGE, Marks, MessageClient, Page, Stored},
};
use eventlog::submit::Submitter;
use kit::{
    Call, Fault,
    problem::{Json, Path, Problem, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) message: MessageClient,
    pub(crate) limits: Limits,
    /// Sends of one person.
    pub(crate) sends: Rule,
}

/// The size of a page when nobody says otherwise.
const PAGE: usize = 50;

#[derive(OpenApi)]
#[openapi(info(title = "message", description = "Messages, history and marks"))]
struct Doc;

fn documented() -> OpenApiRouter<Door> {
    OpenApiRouter::with_openapi(Doc::openapi())
        .routes(routes!(read_messages, send_message))
        .routes(routes!(read_marks, move_marks))
}

/// The routes, with the check of tokens in front.
pub(crate) fn router(door: Door, verifier: Arc<Verifier>) -> Router {
    documented()
        .with_state(door)
        .split_for_parts()
        .0
        .layer(Extension(verifier))
}

/// Their description.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    documented().into_openapi()
}

/// Which page.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    /// Messages with a smaller number.
    before: Option<i64>,
    /// Messages with a larger number.
    after: Option<i64>,
    /// 1 to 200, else 50.
    limit: Option<usize>,
}

/// A message to send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewMessage {
    /// Made once per intent; a retry repeats it.
    key: Key,
    /// 1 to 16384 bytes, something to see among them.
    text: String,
    /// The message of this chat that it answers.
    reply_to: Option<MessageId>,
    /// The advice that the text was taken from.
    from_run: Option<RunId>,
}

/// How far the caller has got.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewMarks {
    /// The newest number that this device has stored.
    delivered: i64,
    /// The newest number that was seen.
    read: i64,
}

/// The marks of the present members.
#[derive(Debug, Serialize, ToSchema)]
struct MarksOfAll {
    marks: Vec<Marks>,
}

/// Reads a page of messages, oldest first; without `before` and `after` the newest ones.
#[utoipa::path(get, path = "/api/messages/{chat}", tag = "message",
    params(("chat" = ChatId, Path), PageQuery), security(("token" = [])),
    responses((status = 200, body = History), (status = "4XX", body = Problem)))]
async fn read_messages(
    State(door): State<Door>,
    caller: Caller,
    call: Call,
    Path(chat): Path<ChatId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<History>, Fault> {
    let page = match (query.before, query.after) {
        (None, None) => Page::Latest,
        (Some(seq), None) => Page::Before(seq),
        (None, Some(seq)) => Page::After(seq),
        (Some(_), Some(_)) => return Err(Fault::invalid("either before or after, not both")),
    };
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Fault::invalid(format!(
            "limit is not within 1..={MAX_PAGE}"
        )));
    }
    door.message
        .history(&call, caller.user, chat, page, limit)
        .await
        .map(Json)
}

/// Sends a message; the answer comes when it is stored. 200 when an earlier try had stored it.
#[utoipa::path(post, path = "/api/messages/{chat}", tag = "message",
    params(("chat" = ChatId, Path)), request_body = NewMessage, security(("token" = [])),
    responses((status = 201, body = Stored), (status = 200, body = Stored), (status = "4XX", body = Problem)))]
async fn send_message(
    State(door): State<Door>,
    caller: Caller,
    call: Call,
    Path(chat): Path<ChatId>,
    Json(new): Json<NewMessage>,
) -> Result<(StatusCode, Json<Stored>), Fault> {
    // A send may wait as long as a waiter may, and a moment more to hear of it.
    let patience = Submitter::<(), ()>::TIMEOUT + Duration::from_secs(1);
    let call = Call::new(call.request_id(), patience);
    let NewMessage {
        key,
        text,
        reply_to,
        from_run,
    } = new;
    let send = Send {
        chat,
        author: caller.user,
        key,
        text,
        reply_to,
        from_run,
        ai: None,
        request: None,
    };
    let bucket = format!("message:send:{}", caller.user);
    door.limits.take(&bucket, door.sends).await.into_result()?;
    let stored = door.message.send(&call, send).await?;
    let status = if stored.dup {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, Json(stored)))
}

/// Reads how far each member has got.
#[utoipa::path(get, path = "/api/messages/{chat}/marks", tag = "message",
    params(("chat" = ChatId, Path)), security(("token" = [])),
    responses((status = 200, body = MarksOfAll), (status = "4XX", body = Problem)))]
async fn read_marks(
    State(door): State<Door>,
    caller: Caller,
    call: Call,
    Path(chat): Path<ChatId>,
) -> Result<Json<MarksOfAll>, Fault> {
    Ok(Json(MarksOfAll {
        marks: door.message.marks(&call, caller.user, chat).await?,
    }))
}

/// Moves the caller's marks forward; smaller values change nothing.
#[utoipa::path(post, path = "/api/messages/{chat}/marks", tag = "message",
    params(("chat" = ChatId, Path)), request_body = NewMarks, security(("token" = [])),
    responses((status = 200, body = Marks), (status = "4XX", body = Problem)))]
async fn move_marks(
    State(door): State<Door>,
    caller: Caller,
    call: Call,
    Path(chat): Path<ChatId>,
    Json(marks): Json<NewMarks>,
) -> Result<Json<Marks>, Fault> {
    door.message
        .mark(&call, caller.user, chat, marks.delivered, marks.read)
        .await
        .map(Json)
}
