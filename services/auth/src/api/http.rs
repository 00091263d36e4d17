//! `/api/register`, `/api/login`, `/api/refresh`, `/api/logout`, `/api/sessions`, `/api/password`, `/api/email`.

use std::{pin::Pin, sync::Arc};

use axum::{
    Extension, Router,
    extract::{FromRequest as _, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use contracts::{
    SessionId,
    auth::{BearerAuth, Caller, Verifier},
    user::User,
};
use kit::{
    Call, Code, Fault,
    http::Client,
    problem::{Json, Path, Problem},
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    cookie,
    wire::{
        EmailBody, ListedSession, LoginBody, PasswordBody, RefreshBody, RegisterBody, Session,
        Sessions, WithCookies, device,
    },
};
use crate::{
    app::{Auth, Issued, Login, Registration},
    domain::Error,
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
        .routes(routes!(change_email))
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
) -> Result<WithCookies<Session>, Fault> {
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
) -> Result<WithCookies<Session>, Fault> {
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
        proof: cookie::known(&headers, &auth.config),
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
) -> Result<WithCookies<Session>, Fault> {
    let from_cookie = cookie::read(request.headers(), &auth.config);
    let body = if request.headers().contains_key(header::CONTENT_TYPE) {
        Json::<RefreshBody>::from_request(request, &auth).await?.0
    } else {
        RefreshBody::default()
    };
    // What a script cannot read in its cookie it does not get in an answer either.
    let (token, wants_cookie) = match body.refresh_token {
        Some(token) => (token, body.cookie),
        None => (from_cookie?.ok_or(Error::Refresh)?, Some(true)),
    };
    let result = call
        .run(Box::pin(async { Ok(auth.refresh(&call, &token).await) }))
        .await?;
    if let Err(Error::Reused(session)) = &result {
        verifier.note_revoked(*session);
    }
    Ok(answer(&auth, StatusCode::OK, result?, wants_cookie))
}

/// End this login, and the one that the cookie belongs to. The cookie is enough.
#[utoipa::path(
    post, path = "/api/logout", tag = "auth", security(("bearer" = [])),
    responses(
        (status = 204, description = "the login is over; clears the cookie"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "no valid token and no cookie"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "`other_site`"),
    )
)]
async fn logout(
    State(auth): State<Arc<Auth>>,
    Extension(verifier): Extension<Arc<Verifier>>,
    call: Call,
    caller: Result<Caller, Fault>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let token = match cookie::read(&headers, &auth.config) {
        Ok(token) => token,
        // Another site cannot have made a request with a good token in its head.
        Err(other_site) if caller.is_err() => return Err(other_site.into()),
        Err(_) => None,
    };
    let ended = match (caller, token) {
        (Err(refused), None) => Err(refused),
        (caller, token) => {
            let caller = caller.ok();
            within(&call, auth.logout(caller.as_ref(), token.as_deref())).await
        }
    };
    // Whoever wanted to leave is not let in again by what is left in the browser. While the server cannot do it, the
    // cookie stays: it is what the next try needs.
    let is_over = match &ended {
        Ok(_) => true,
        Err(fault) => fault.is(Code::Unauthenticated),
    };
    let mut response = match ended {
        Ok(ended) => {
            for session in ended {
                verifier.note_revoked(session);
            }
            StatusCode::NO_CONTENT.into_response()
        }
        Err(fault) => fault.into_response(),
    };
    if is_over && let Some(cleared) = cookie::clear(&auth.config) {
        response.headers_mut().insert(header::SET_COOKIE, cleared);
    }
    Ok(response)
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

/// Change the address.
#[utoipa::path(
    post, path = "/api/email", tag = "auth", security(("bearer" = [])), request_body = EmailBody,
    responses(
        (status = 200, body = User),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "`email_invalid`"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "no valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "`wrong_password`"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "`email_taken`"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "too many at this account"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "try again"),
    )
)]
async fn change_email(
    State(auth): State<Arc<Auth>>,
    call: Call,
    caller: Caller,
    Json(body): Json<EmailBody>,
) -> Result<Json<User>, Fault> {
    let change = auth.change_email(&call, &caller, &body.current_password, body.email);
    within(&call, change).await.map(Json)
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
) -> WithCookies<Session> {
    let Issued {
        user,
        session,
        access_token,
        access_ends_at,
        refresh_token,
    } = issued;
    let (cookies, refresh_token) = if wants_cookie.unwrap_or(true) {
        let lasts_ms = session.ends_at - auth.clock.now_ms();
        let refresh = cookie::set(&refresh_token, lasts_ms, &auth.config);
        let proof = auth.proof(user.id, session.id);
        let known = proof.and_then(|proof| cookie::set_known(&proof, &auth.config));
        ([refresh, known], None)
    } else {
        ([None, None], Some(refresh_token.text()))
    };
    let expires_at = kit::rfc3339(access_ends_at);
    WithCookies {
        status,
        cookies,
        body: Session {
            user,
            session: session.id,
            access_token,
            expires_at,
            refresh_token,
        },
    }
}
