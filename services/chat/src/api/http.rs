//! `/api/chats`: open, list, bind, ask for advice.

use std::sync::Arc;

use axum::{Extension, Router, extract::State, http::StatusCode};
use contracts::{
    ChatId, Key, RunId, UserId,
    auth::{Caller, Verifier},
    chat::{Binding, BindingMode, Chat},
    message::{Message, Position},
    user::PublicUser,
};
use kit::{
    Call, Fault,
    problem::{Json, Path, Problem, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::commands::{Commands, Opened};

#[derive(OpenApi)]
#[openapi(info(title = "chat", description = "Chats, members and AI bindings"))]
struct Doc;

fn documented() -> OpenApiRouter<Arc<Commands>> {
    OpenApiRouter::with_openapi(Doc::openapi())
        .routes(routes!(list_chats, open_chat))
        .routes(routes!(read_chat))
        .routes(routes!(read_binding, set_binding, remove_binding))
        .routes(routes!(ask_advice))
}

/// The routes, with the check of tokens in front.
pub(crate) fn router(commands: Arc<Commands>, verifier: Arc<Verifier>) -> Router {
    documented()
        .with_state(commands)
        .split_for_parts()
        .0
        .layer(Extension(verifier))
}

/// Their description.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    documented().into_openapi()
}

/// What kind of chat to open.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum NewChat {
    /// The one chat with another person.
    Private {
        /// The other person.
        user: UserId,
    },
}

/// A chat as its member finds it.
#[derive(Debug, Serialize, ToSchema)]
struct ChatView {
    #[serde(flatten)]
    chat: Chat,
    /// Everybody in it.
    members: Vec<PublicUser>,
    /// Whose AI listens here, and what it does.
    bindings: Vec<Binding>,
    /// The head of its stream; read before everything else here.
    pos: Position,
    /// The number of the newest message.
    seq: i64,
    /// Messages of others after the read mark, counted up to 1000.
    unread: i64,
    /// The caller's read mark.
    read: i64,
    /// The first event that the caller may see.
    from_o: i64,
    /// The newest message.
    last: Option<Message>,
}

impl ChatView {
    fn of(opened: Opened, reader: UserId) -> Self {
        let Opened {
            whole,
            names,
            summary,
        } = opened;
        Self {
            bindings: whole.binding_views(reader),
            chat: whole.chat.view(),
            members: names,
            pos: summary.pos,
            seq: summary.seq,
            unread: summary.unread,
            read: summary.read,
            from_o: summary.from_o,
            last: summary.last,
        }
    }
}

/// Chats, the most recently active first.
#[derive(Debug, Serialize, ToSchema)]
struct Chats {
    chats: Vec<ChatView>,
}

/// How many chats.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// 1 to 500, else 100.
    limit: Option<usize>,
}

/// What the AI shall do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBinding {
    /// `advice` or `autoreply`.
    mode: BindingMode,
}

/// A request for advice.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAdvice {
    /// Made once per intent; a retry repeats it.
    key: Key,
    /// What the caller wants to know, at most 1000 bytes.
    hint: Option<String>,
}

/// The run that will answer.
#[derive(Debug, Serialize, ToSchema)]
struct Asked {
    run: RunId,
}

/// Opens a chat. 200 when the pair has one already.
#[utoipa::path(post, path = "/api/chats", tag = "chat", request_body = NewChat, security(("token" = [])),
    responses((status = 201, body = ChatView), (status = 200, body = ChatView), (status = "4XX", body = Problem)))]
async fn open_chat(
    State(commands): State<Arc<Commands>>,
    caller: Caller,
    call: Call,
    Json(new): Json<NewChat>,
) -> Result<(StatusCode, Json<ChatView>), Fault> {
    let NewChat::Private { user } = new;
    let (id, new) = commands.open_private(&call, caller.user, user).await?;
    let view = ChatView::of(commands.open(&call, id, caller.user).await?, caller.user);
    Ok((
        if new {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        },
        Json(view),
    ))
}

/// Lists the caller's chats.
#[utoipa::path(get, path = "/api/chats", tag = "chat", params(ListQuery), security(("token" = [])),
    responses((status = 200, body = Chats), (status = "4XX", body = Problem)))]
async fn list_chats(
    State(commands): State<Arc<Commands>>,
    caller: Caller,
    call: Call,
    Query(query): Query<ListQuery>,
) -> Result<Json<Chats>, Fault> {
    let limit = query.limit.unwrap_or(100);
    let opened = commands.list(&call, caller.user, limit).await?;
    Ok(Json(Chats {
        chats: opened
            .into_iter()
            .map(|opened| ChatView::of(opened, caller.user))
            .collect(),
    }))
}

/// Reads a chat.
#[utoipa::path(get, path = "/api/chats/{id}", tag = "chat", params(("id" = ChatId, Path)), security(("token" = [])),
    responses((status = 200, body = ChatView), (status = "4XX", body = Problem)))]
async fn read_chat(
    State(commands): State<Arc<Commands>>,
    caller: Caller,
    call: Call,
    Path(id): Path<ChatId>,
) -> Result<Json<ChatView>, Fault> {
    Ok(Json(ChatView::of(
        commands.open(&call, id, caller.user).await?,
        caller.user,
    )))
}

/// Reads the caller's own binding.
#[utoipa::path(get, path = "/api/chats/{id}/binding", tag = "chat", params(("id" = ChatId, Path)),
    security(("token" = [])), responses((status = 200, body = Binding), (status = "4XX", body = Problem)))]
async fn read_binding(
    State(commands): State<Arc<Commands>>,
    caller: Caller,
    Path(id): Path<ChatId>,
) -> Result<Json<Binding>, Fault> {
    commands.own_binding(id, caller.user).await.map(Json)
}

/// Binds the chat to the AI for the caller, or changes what it does. The thread is kept.
#[utoipa::path(put, path = "/api/chats/{id}/binding", tag = "chat", params(("id" = ChatId, Path)),
    request_body = NewBinding, security(("token" = [])),
    responses((status = 200, body = Binding), (status = "4XX", body = Problem)))]
async fn set_binding(
    State(commands): State<Arc<Commands>>,
    caller: Caller,
    call: Call,
    Path(id): Path<ChatId>,
    Json(new): Json<NewBinding>,
) -> Result<Json<Binding>, Fault> {
    commands.bind(&call, id, caller.user, new.mode).await?;
    commands.own_binding(id, caller.user).await.map(Json)
}

/// Removes the caller's binding; nothing reaches the AI any more.
#[utoipa::path(delete, path = "/api/chats/{id}/binding", tag = "chat", params(("id" = ChatId, Path)),
    security(("token" = [])), responses((status = 204), (status = "4XX", body = Problem)))]
async fn remove_binding(
    State(commands): State<Arc<Commands>>,
    caller: Caller,
    call: Call,
    Path(id): Path<ChatId>,
) -> Result<StatusCode, Fault> {
    commands.unbind(&call, id, caller.user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks for advice. It comes to all devices of the caller and stays readable at `/api/ai/runs`. 409 `conflict` when the key
/// was used for another question, 429 with the code `quota` when the AI calls of the day are used up.
#[utoipa::path(post, path = "/api/chats/{id}/advice", tag = "chat", params(("id" = ChatId, Path)),
    request_body = NewAdvice, security(("token" = [])),
    responses((status = 202, body = Asked), (status = "4XX", body = Problem)))]
async fn ask_advice(
    State(commands): State<Arc<Commands>>,
    caller: Caller,
    call: Call,
    Path(id): Path<ChatId>,
    Json(new): Json<NewAdvice>,
) -> Result<(StatusCode, Json<Asked>), Fault> {
    let run = commands
        .ask(&call, id, caller.user, new.key, new.hint)
        .await?;
    Ok((StatusCode::ACCEPTED, Json(Asked { run })))
}
