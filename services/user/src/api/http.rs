//! `/api/users`: the own profile and the names of others.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{FromRef, State},
};
use cache::Limits;
use contracts::{
    UserId,
    auth::{BearerAuth, Caller, Verifier},
    user::{MAX_IDS, ProfileChange, PublicUser, User, UserClient},
};
use kit::{
    Call, Fault,
    problem::{Json, Path, Problem, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::Config;

/// What the routes stand on.
#[derive(Clone)]
pub struct Door {
    /// The service.
    pub user: UserClient,
    /// Where limits are counted.
    pub limits: Limits,
    /// What can be set.
    pub config: Config,
}

impl FromRef<Door> for UserClient {
    fn from_ref(door: &Door) -> Self {
        door.user.clone()
    }
}

/// The routes of the service, checked by `verifier`, and their description.
pub fn routes(door: Door, verifier: Arc<Verifier>) -> (Router, utoipa::openapi::OpenApi) {
    let (router, openapi) = described().split_for_parts();
    (router.with_state(door).layer(Extension(verifier)), openapi)
}

/// The description alone.
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(title = "user", description = "Accounts and profiles."),
    tags((name = "users", description = "The own profile and the names of others")),
    modifiers(&BearerAuth)
)]
struct Description;

fn described() -> OpenApiRouter<Door> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(own_profile, change_own_profile))
        .routes(routes!(by_id))
        .routes(routes!(find))
}

/// What a person changes about themselves. Password and address are changed at `/api/password` and `/api/email`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeProfile {
    /// The new name: 3 to 32 letters of one alphabet, digits, `_`, `-` or `.`.
    username: Option<String>,
}

/// Whom to look for: exactly one of both.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Find {
    /// A whole name.
    username: Option<String>,
    /// Ids with commas between them, at most 500; unknown ones are left out.
    ids: Option<String>,
}

/// One person for a name, a list for ids.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Found {
    /// The owner of the name.
    One(PublicUser),
    /// Those among the ids that exist.
    Many {
        /// In the order of their ids.
        users: Vec<PublicUser>,
    },
}

/// Your profile.
#[utoipa::path(
    get, path = "/api/users/me", tag = "users", security(("bearer" = [])),
    responses(
        (status = 200, body = User),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "no valid token"),
    )
)]
async fn own_profile(
    State(user): State<UserClient>,
    call: Call,
    caller: Caller,
) -> Result<Json<User>, Fault> {
    let own = user.by_id(&call, caller.user).await?;
    own.map(Json).ok_or_else(|| Fault::not_found("user"))
}

/// Change your name. What is left out stays as it is.
#[utoipa::path(
    patch, path = "/api/users/me", tag = "users", security(("bearer" = [])), request_body = ChangeProfile,
    responses(
        (status = 200, body = User),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "`username_invalid`"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "no valid token"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "`username_taken`"),
    )
)]
async fn change_own_profile(
    State(user): State<UserClient>,
    call: Call,
    caller: Caller,
    Json(body): Json<ChangeProfile>,
) -> Result<Json<User>, Fault> {
    if body.username.is_none() {
        return Err(Fault::invalid("there is nothing to change"));
    }
    let change = ProfileChange {
        username: body.username,
        ..ProfileChange::default()
    };
    user.update(&call, caller.user, change).await.map(Json)
}

/// The name of a person.
#[utoipa::path(
    get, path = "/api/users/{id}", tag = "users", security(("bearer" = [])),
    params(("id" = UserId, Path, description = "The person")),
    responses(
        (status = 200, body = PublicUser),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "no valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "there is no such person"),
    )
)]
async fn by_id(
    State(user): State<UserClient>,
    call: Call,
    _: Caller,
    Path(id): Path<UserId>,
) -> Result<Json<PublicUser>, Fault> {
    public(user.by_id(&call, id).await?).map(Json)
}

/// Find people by their whole name or by their ids.
#[utoipa::path(
    get, path = "/api/users", tag = "users", security(("bearer" = [])), params(Find),
    responses(
        (status = 200, body = Found),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "not exactly one of `username` and `ids`"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "no valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "nobody has this name"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "too many names at once"),
    )
)]
async fn find(
    State(Door {
        user,
        limits,
        config,
    }): State<Door>,
    call: Call,
    caller: Caller,
    Query(query): Query<Find>,
) -> Result<Json<Found>, Fault> {
    match (query.username, query.ids) {
        (Some(username), None) => {
            // Names can be guessed, ids cannot.
            let bucket = format!("user:find:{}", caller.user);
            limits
                .take(&bucket, config.find_limit)
                .await
                .into_result()?;
            let found = user.by_username(&call, &username).await?;
            public(found).map(|user| Json(Found::One(user)))
        }
        (None, Some(ids)) => {
            let users = user.by_ids(&call, parse_ids(&ids)?).await?;
            Ok(Json(Found::Many { users }))
        }
        _ => Err(Fault::invalid("give either `username` or `ids`")),
    }
}

fn public(found: Option<User>) -> Result<PublicUser, Fault> {
    let user = found.ok_or_else(|| Fault::not_found("user"))?;
    Ok(PublicUser {
        id: user.id,
        username: user.username,
    })
}

fn parse_ids(text: &str) -> Result<Vec<UserId>, Fault> {
    let ids: Vec<&str> = text.split(',').filter(|id| !id.is_empty()).collect();
    if ids.len() > MAX_IDS {
        return Err(Fault::invalid(format!("at most {MAX_IDS} ids at once")));
    }
    ids.iter()
        .map(|id| {
            id.parse()
                .map_err(|_| Fault::invalid(format!("`{id}` is not an id")))
        })
        .collect()
}
