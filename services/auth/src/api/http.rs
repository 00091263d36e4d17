//! `/api/register`, `/api/login`, `/api/refresh`, `/api/logout`, `/api/sessions`, `/api/password`.

use std::{pin::Pin, sync::Arc};

use axum::{
    Extension, Router,
    extract::{FromRequest as _, FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::IntoResponse,
};
use contracts::{
    SessionId,
    auth::{BearerAuth, Caller, Verifier},
};
use kit::{
    Call, Fault,
    http::Peer,
    problem::{Json, Path, Problem},
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    cookie,
    wire::{
        ListedSession, LoginBody, PasswordBody, RefreshBody, RegisterBody, Session, Sessions,
        WithCookie, device,
    },
};
use crate::{
    app::{Auth, Issued, Login, Registration},
    domain::{Error, address},
};

/// The routes of the service, checked by `verifier`, and their description.
pub fn routes(auth: Arc<Auth>, verifier: Arc<Verifier>) -> (Router, utoipa::openapi::OpenApi) {
    let (router, openapi) = described().split_for_parts();
    (router.with_state(auth).layer(Extension(verifier)), openapi)
}

/// The description alone.
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(title = "auth", description = "Logins: registering, logging in, staying logged in."),
    tags((name = "auth", description = "Logins")),
    modifiers(&BearerAuth)
)]
struct Description;

fn described() -> OpenApiRouter<Arc<Auth>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(sessions))
        .routes(routes!(end_session))
        .routes(routes!(change_password))
}

/// The address that limits count by.
struct Client(std::net::IpAddr);

impl FromRequestParts<Arc<Auth>> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        auth: &Arc<Auth>,
    ) -> Result<Self, Self::Rejection> {
        let Peer(peer) = Peer::from_request_parts(parts, auth).await?;
        Ok(Self(address::client(
            peer.ip(),
            &parts.headers,
            &auth.config.trusted_proxies,
        )))
    }
}

/// Make an account and log in.
#[utoipa::path(
    post, path = "/api/register", tag = "auth", request_body = RegisterBody,
    responses(
        (status = 201, body = Session, description = "sets the cookie `refresh`, unless `cookie` is false"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "`username_invalid`, `email_invalid`, `password_invalid`"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "`username_taken`, `email_taken`"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "too many from this address"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "try again"),
    )
)]
async fn register(
    State(auth): State<Arc<Auth>>,
    call: Call,
    Client(client): Client,
    headers: HeaderMap,
    Json(body): Json<RegisterBody>,
) -> Result<WithCookie<Session>, Fault> {
    let RegisterBody {
        username,
        email,
        password,
        device: said,
        cookie,
    } = body;
    let new = Registration {
        username,
        email,
        password,
        device: device(said, &headers),
    };
    let issued = within(&call, auth.register(&call, client, new)).await?;
    Ok(answer(&auth, StatusCode::CREATED, issued, cookie))
}

/// Log in by name or address.
#[utoipa::path(
    post, path = "/api/login", tag = "auth", request_body = LoginBody,
    responses(
        (status = 200, body = Session, description = "sets the cookie `refresh`, unless `cookie` is false"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "the body is not as expected"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "`bad_credentials`"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "too many from this address, or at this account"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "try again"),
    )
)]
async fn login(
    State(auth): State<Arc<Auth>>,
    call: Call,
    Client(client): Client,
    headers: HeaderMap,
    Json(body): Json<LoginBody>,
) -> Result<WithCookie<Session>, Fault> {
    let LoginBody {
        login,
        password,
        device: said,
        cookie,
    } = body;
    let login = Login {
        who: login,
        password,
        device: device(said, &headers),
    };
    let issued = within(&call, auth.login(&call, client, login)).await?;
    Ok(answer(&auth, StatusCode::OK, issued, cookie))
}

/// Exchange the refresh token for a new pair.
#[utoipa::path(
    post, path = "/api/refresh", tag = "auth", request_body(content = Option<RefreshBody>, description = "may be left out: then the cookie is used"),
    responses(
        (status = 200, body = Session, description = "sets the cookie `refresh`, unless `cookie` is false"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "the body is not as expected"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "`refresh_invalid`: log in again"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "`other_site`"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "try again with the same token"),
    )
)]
async fn refresh(
    State(auth): State<Arc<Auth>>,
    Extension(verifier): Extension<Arc<Verifier>>,
    call: Call,
    request: Request,
) -> Result<WithCookie<Session>, Fault> {
    let from_cookie = cookie::read(request.headers(), &auth.config);
    let body = if request.headers().contains_key(header::CONTENT_TYPE) {
        Json::<RefreshBody>::from_request(request, &auth).await?.0
    } else {
        RefreshBody::default()
    };
    let token = match body.refresh_token {
        Some(token) => token,
        None => from_cookie?.ok_or(Error::Refresh)?,
    };
    let result = call
        .run(Box::pin(async { Ok(auth.refresh(&call, &token).await) }))
        .await?;
    if let Err(Error::Reused(session)) = &result {
        verifier.note_revoked(*session);
    }
    Ok(answer(&auth, StatusCode::OK, result?, body.cookie))
}

/// End this login.
#[utoipa::path(
    post, path = "/api/logout", tag = "auth", security(("bearer" = [])),
    responses(
        (status = 204, description = "the login is over; clears the cookie"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "no valid token"),
    )
)]
async fn logout(
    State(auth): State<Arc<Auth>>,
    Extension(verifier): Extension<Arc<Verifier>>,
    call: Call,
    caller: Caller,
) -> Result<impl IntoResponse, Fault> {
    within(&call, auth.logout(&caller)).await?;
    verifier.note_revoked(caller.session);
    let cleared = cookie::clear(&auth.config).unwrap_or(HeaderValue::from_static(""));
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cleared)]))
}

/// Your logins.
#[utoipa::path(
    get, path = "/api/sessions", tag = "auth", security(("bearer" = [])),
    responses(
        (status = 200, body = Sessions),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "no valid token"),
    )
)]
async fn sessions(
    State(auth): State<Arc<Auth>>,
    call: Call,
    caller: Caller,
) -> Result<Json<Sessions>, Fault> {
    let sessions = within(&call, auth.sessions(&caller)).await?;
    let listed = |session: crate::store::Session| ListedSession {
        current: session.id == caller.session,
        id: session.id,
        device: session.device,
        created_at: kit::rfc3339(session.created_at),
        last_used_at: kit::rfc3339(session.last_used_at),
    };
    Ok(Json(Sessions {
        sessions: sessions.into_iter().map(listed).collect(),
    }))
}

/// End one of your logins. Its sockets close within two seconds.
#[utoipa::path(
    delete, path = "/api/sessions/{id}", tag = "auth", security(("bearer" = [])),
    params(("id" = SessionId, Path, description = "The login")),
    responses(
        (status = 204, description = "the login is over"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "no valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "you have no such login"),
    )
)]
async fn end_session(
    State(auth): State<Arc<Auth>>,
    Extension(verifier): Extension<Arc<Verifier>>,
    call: Call,
    caller: Caller,
    Path(id): Path<SessionId>,
) -> Result<StatusCode, Fault> {
    within(&call, auth.end_session(&caller, id)).await?;
    verifier.note_revoked(id);
    Ok(StatusCode::NO_CONTENT)
}

/// Change the password. Every other login of yours ends.
#[utoipa::path(
    post, path = "/api/password", tag = "auth", security(("bearer" = [])), request_body = PasswordBody,
    responses(
        (status = 204, description = "the new password holds"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "`password_invalid`"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "no valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "`wrong_password`"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "too many at this account"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "try again"),
    )
)]
async fn change_password(
    State(auth): State<Arc<Auth>>,
    Extension(verifier): Extension<Arc<Verifier>>,
    call: Call,
    caller: Caller,
    Json(body): Json<PasswordBody>,
) -> Result<StatusCode, Fault> {
    let change = auth.change_password(&call, &caller, &body.current_password, &body.new_password);
    for session in within(&call, change).await? {
        verifier.note_revoked(session);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Runs a use case until the deadline, on the heap: the futures of statements are large.
fn within<'a, T: 'a>(
    call: &'a Call,
    work: impl Future<Output = Result<T, Error>> + Send + 'a,
) -> Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>> {
    let work = Box::pin(work);
    Box::pin(call.run(async { work.await.map_err(Fault::from) }))
}

fn answer(
    auth: &Auth,
    status: StatusCode,
    issued: Issued,
    wants_cookie: Option<bool>,
) -> WithCookie<Session> {
    let Issued {
        user,
        session,
        access_token,
        access_ends_at,
        refresh_token,
    } = issued;
    let (cookie, refresh_token) = if wants_cookie.unwrap_or(true) {
        let lasts_ms = session.ends_at - auth.clock.now_ms();
        (cookie::set(&refresh_token, lasts_ms, &auth.config), None)
    } else {
        (None, Some(refresh_token.text()))
    };
    let expires_at = kit::rfc3339(access_ends_at);
    WithCookie {
        status,
        cookie,
        body: Session {
            user,
            session: session.id,
            access_token,
            expires_at,
            refresh_token,
        },
    }
}
