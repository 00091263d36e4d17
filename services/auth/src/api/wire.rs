//! The bodies of the HTTP routes.

use axum::{
    Json as Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use contracts::{SessionId, user::User};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Somebody new.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterBody {
    /// 3 to 32 letters of one alphabet, digits, `_`, `-` or `.`.
    pub(crate) username: String,
    /// An address.
    pub(crate) email: String,
    /// 8 characters to 1024 bytes.
    #[schema(format = Password)]
    pub(crate) password: String,
    /// What the list of logins shows; the browser's own name when it is left out.
    pub(crate) device: Option<String>,
    /// `false` for clients without cookies: the refresh token is in the answer.
    pub(crate) cookie: Option<bool>,
}

/// Somebody who is known.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginBody {
    /// The name or the address.
    pub(crate) login: String,
    /// The password.
    #[schema(format = Password)]
    pub(crate) password: String,
    /// What the list of logins shows; the browser's own name when it is left out.
    pub(crate) device: Option<String>,
    /// `false` for clients without cookies: the refresh token is in the answer.
    pub(crate) cookie: Option<bool>,
}

/// The token to exchange. Without a body the cookie is used.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshBody {
    /// The token of a client without cookies.
    pub(crate) refresh_token: Option<String>,
    /// `false` for clients without cookies: the refresh token is in the answer, if it was in the body.
    pub(crate) cookie: Option<bool>,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordBody {
    /// The password until now.
    #[schema(format = Password)]
    pub(crate) current_password: String,
    /// 8 characters to 1024 bytes.
    #[schema(format = Password)]
    pub(crate) new_password: String,
}

/// A new address.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmailBody {
    /// The password.
    #[schema(format = Password)]
    pub(crate) current_password: String,
    /// The new address.
    pub(crate) email: String,
}

/// A login, as the one who logged in gets it.
#[derive(Serialize, ToSchema)]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the protocol"
)]
pub(crate) struct Session {
    /// Who logged in.
    pub(crate) user: User,
    /// The login.
    pub(crate) session: SessionId,
    /// What goes into `Authorization: Bearer`.
    pub(crate) access_token: String,
    /// When that token ends.
    pub(crate) expires_at: String,
    /// What gets the next pair; for clients without cookies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<String>,
}

/// The logins of a person.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sessions {
    /// The most recently used first, at most 100.
    pub(crate) sessions: Vec<ListedSession>,
}

/// One of them.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListedSession {
    /// The login.
    pub(crate) id: SessionId,
    /// What it was made with.
    pub(crate) device: String,
    /// When it was made.
    pub(crate) created_at: String,
    /// When it was last refreshed.
    pub(crate) last_used_at: String,
    /// Whether this request belongs to it.
    pub(crate) current: bool,
}

/// An answer that may set cookies.
pub(crate) struct WithCookies<T> {
    pub(crate) status: StatusCode,
    pub(crate) cookies: [Option<HeaderValue>; 2],
    pub(crate) body: T,
}

impl<T: Serialize> IntoResponse for WithCookies<T> {
    fn into_response(self) -> Response {
        let mut response = (self.status, Body(self.body)).into_response();
        for cookie in self.cookies.into_iter().flatten() {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        response
    }
}

/// The name of a device: what the client says, else what its program says of itself; at most 100 characters.
pub(crate) fn device(said: Option<String>, headers: &HeaderMap) -> String {
    let program = || {
        headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let name = said.unwrap_or_else(program);
    name.trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(100)
        .collect()
}
