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
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default();
        if !essence.trim().eq_ignore_ascii_case("application/json") {
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

/// Reads JSON as every door does: no U+0000, one object, errors that name the place and nothing of what was sent.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    if holds_nul(body) {
        return Err(Fault::invalid("the character U+0000 is not accepted"));
    }
    // A list would be taken for the fields in the order of their declaration.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Fault::invalid("the JSON must be an object"));
    }
    serde_json::from_slice(body).map_err(|_| Fault::invalid(complaint::<T>(body)))
}

/// What is wrong, in our words: the library's name types of this program. It is read once more for the place, so that
/// what is as it should be does not pay for it.
fn complaint<T: DeserializeOwned>(body: &[u8]) -> String {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let error = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Err(error) if error.inner().is_data() => error,
        _ => return "the JSON cannot be read".to_owned(),
    };
    let place = format!("`{}`", error.path()).replace("`.`", "a value");
    let text = error.inner().to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let (what, expected) = text.split_once(", expected ").unwrap_or((text, text));
    if let Some(name) = what.strip_prefix("missing field ") {
        return format!("{name} is missing");
    }
    if what.starts_with("unknown ") {
        return format!("{place} is not known here, only {expected}");
    }
    let wanted = match expected {
        "a string" => "must be a text",
        "a boolean" => "must be true or false",
        "i64" => "must be a whole number",
        _ if expected.contains("UUID") => "must be a UUID",
        _ => "is not as expected",
    };
    format!("{place} {wanted}")
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
    use uuid::Uuid;

    use super::*;

    #[test]
    fn only_a_real_nul_is_found() {
        assert!(holds_nul(br#"{"a":"\u0000"}"#));
        assert!(holds_nul(b"\"\0\""));
        assert!(!holds_nul(br#"{"a":"\\u0000"}"#));
        assert!(holds_nul(br#"{"a":"\\\u0000"}"#));
        assert!(!holds_nul(br#""\"#));
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only reading it is of interest")]
    struct Order {
        dish: String,
        guests: Option<i64>,
        table: Option<Uuid>,
        by: Option<Way>,
        side: Option<Side>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Way {
        OnFoot,
        ByBike,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only reading it is of interest")]
    struct Side {
        salad: bool,
    }

    /// What is wrong is told by the field, in words that name no type of ours and repeat nothing.
    #[test]
    fn a_body_that_is_not_as_expected_is_told_in_our_words() {
        for (body, expected) in [
            ("", "must be an object"),
            (r#"["soup", 2, null, null, null]"#, "must be an object"),
            ("5", "must be an object"),
            ("{", "cannot be read"),
            (r#"{"dish":"soup"} x"#, "cannot be read"),
            ("{}", "`dish` is missing"),
            (r#"{"dish":[]}"#, "`dish` must be a text"),
            (
                r#"{"dish":"soup","dish":"soup"}"#,
                "a value is not as expected",
            ),
            (
                r#"{"dish":"soup","wine":1}"#,
                "`wine` is not known here, only one of `dish`, `guests`, `table`, `by`, `side`",
            ),
            (
                r#"{"dish":"soup","guests":"hush"}"#,
                "`guests` must be a whole number",
            ),
            (
                r#"{"dish":"soup","guests":3.5}"#,
                "`guests` must be a whole number",
            ),
            (
                r#"{"dish":"soup","table":"hush"}"#,
                "`table` must be a UUID",
            ),
            (r#"{"dish":"soup","table":7}"#, "`table` must be a UUID"),
            (
                r#"{"dish":"soup","by":"hush"}"#,
                "`by` is not known here, only `on_foot` or `by_bike`",
            ),
            (r#"{"dish":"soup","side":5}"#, "`side` is not as expected"),
            (
                r#"{"dish":"soup","side":{"salad":"hush"}}"#,
                "`side.salad` must be true or false",
            ),
            (r#"{"dish":"soup","side":{}}"#, "`salad` is missing"),
        ] {
            let fault = parse_json::<Order>(body.as_bytes()).unwrap_err();
            let told = fault.public();
            assert!(told.ends_with(expected), "{body}: {told}");
            for hidden in ["Order", "Side", "Way", "struct", "enum", "hush", "i64"] {
                assert!(!told.contains(hidden), "{body}: {told}");
            }
        }
        assert!(parse_json::<Order>(b"\r\n {\"dish\":\"soup\"}\n").is_ok());
    }

    #[tokio::test]
    async fn only_json_is_taken_for_json() {
        let is_taken = async |kind: &str| {
            let request = Request::builder().header(header::CONTENT_TYPE, kind);
            let request = request.body(r#"{"dish":"soup"}"#.into()).unwrap();
            Json::<Order>::from_request(request, &()).await.is_ok()
        };
        for kind in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;charset=utf-8",
            " application/json ",
        ] {
            assert!(is_taken(kind).await, "{kind}");
        }
        for kind in [
            "application/jsonx",
            "application/json-patch+json",
            "application/problem+json",
            "text/json",
            "application/json, text/html",
            "json",
            "",
        ] {
            assert!(!is_taken(kind).await, "{kind}");
        }
    }
}
