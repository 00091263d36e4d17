//! Faults over HTTP: RFC 9457 problem details with a stable `code`, and extractors that answer with them.

use axum::{
    Json as AxumJson,
    extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, header, request::Parts};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Code, Fault, http::current_request_id};

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// The words that belong to the status.
    pub title: String,
    /// The HTTP status, again.
    pub status: u16,
    /// A stable word to decide by, such as `username_taken`.
    pub code: String,
    /// A sentence for a person.
    pub detail: String,
    /// What to quote when asking for help; it is in the logs.
    pub request_id: String,
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let request_id = current_request_id();
        self.report(&request_id);
        let status = self.code().http();
        let problem = Problem {
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code: self.word().to_owned(),
            detail: self.public().to_owned(),
            request_id: request_id.to_string(),
        };
        let mut response = (status, AxumJson(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.is(Code::Unauthenticated) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = self.retry_after() {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(after.as_secs() + u64::from(after.subsec_nanos() > 0)),
            );
        }
        response
    }
}

/// A JSON body. Unknown fields are refused where the type says `deny_unknown_fields`; U+0000 always.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        AxumJson(self.0).into_response()
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let kind = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| {
            kind.trim_start()
                .to_ascii_lowercase()
                .starts_with("application/json")
        }) {
            return Err(Fault::invalid("the body must be sent as application/json"));
        }
        let body =
            Bytes::from_request(request, state)
                .await
                .map_err(|rejection| match rejection {
                    BytesRejection::FailedToBufferBody(cause)
                        if cause.status() == http::StatusCode::PAYLOAD_TOO_LARGE =>
                    {
                        Fault::new(Code::TooLarge, "the body is too large")
                    }
                    _ => Fault::invalid("the body could not be read"),
                })?;
        parse_json(&body).map(Self)
    }
}

/// Reads JSON as every door does: no U+0000, one document, errors that name the place.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    if holds_nul(body) {
        return Err(Fault::invalid("the character U+0000 is not accepted"));
    }
    serde_json::from_slice(body)
        .map_err(|error| Fault::invalid(format!("the JSON is not as expected: {error}")))
}

/// Whether a JSON document contains U+0000, raw or escaped.
fn holds_nul(json: &[u8]) -> bool {
    let mut at = 0;
    while at < json.len() {
        match json[at] {
            0 => return true,
            b'\\' if json[at + 1..].starts_with(b"u0000") => return true,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    false
}

macro_rules! extractor {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<T>(pub T);

        impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for $name<T> {
            type Rejection = Fault;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
                match axum::extract::$name::<T>::from_request_parts(parts, state).await {
                    Ok(axum::extract::$name(value)) => Ok(Self(value)),
                    Err(rejection) => Err(Fault::invalid(format!("{}: {}", $what, rejection.body_text()))),
                }
            }
        }
    };
}

extractor!(
    /// The query string.
    Query,
    "the query is not as expected"
);
extractor!(
    /// The parameters in the path.
    Path,
    "the path is not as expected"
);

#[cfg(test)]
mod tests {
    use super::holds_nul;

    #[test]
    fn only_a_real_nul_is_found() {
        assert!(holds_nul(br#"{"a":"\u0000"}"#));
        assert!(holds_nul(b"\"\0\""));
        assert!(!holds_nul(br#"{"a":"\\u0000"}"#));
        assert!(holds_nul(br#"{"a":"\\\u0000"}"#));
        assert!(!holds_nul(br#""\"#));
    }
}
