//! The one error that crosses a service's border.

use std::{fmt, time::Duration};

use http::StatusCode;

use crate::BoxError;

/// What went wrong, as a closed set. Each code has exactly one HTTP and one gRPC status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The input cannot be accepted as it is; sending it again will not help.
    Invalid,
    /// No valid token came with the request.
    Unauthenticated,
    /// The caller is known and may not do this.
    Forbidden,
    /// There is no such object for this caller.
    NotFound,
    /// The object is in a state that does not allow this, or it exists already.
    Conflict,
    /// The body or the frame is larger than the stated limit.
    TooLarge,
    /// A rate limit or quota is used up; see [`Fault::retry_after`].
    Exhausted,
    /// A part that is needed does not answer; the outcome may be unknown.
    Unavailable,
    /// The deadline passed; the outcome is unknown.
    Timeout,
    /// A defect of ours.
    Internal,
}

impl Code {
    /// The HTTP status of this code (RFC 9110).
    pub fn http(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Exhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The gRPC status of this code.
    pub fn grpc(self) -> tonic::Code {
        match self {
            Self::Invalid => tonic::Code::InvalidArgument,
            Self::TooLarge => tonic::Code::OutOfRange,
            Self::Unauthenticated => tonic::Code::Unauthenticated,
            Self::Forbidden => tonic::Code::PermissionDenied,
            Self::NotFound => tonic::Code::NotFound,
            Self::Conflict => tonic::Code::AlreadyExists,
            Self::Exhausted => tonic::Code::ResourceExhausted,
            Self::Unavailable => tonic::Code::Unavailable,
            Self::Timeout => tonic::Code::DeadlineExceeded,
            Self::Internal => tonic::Code::Internal,
        }
    }

    /// The stable word that stands for this code on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "bad_request",
            Self::Unauthenticated => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::Exhausted => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request may succeed later without a change.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Exhausted | Self::Unavailable | Self::Timeout | Self::Internal
        )
    }
}

/// An error with two faces: `public` is for the caller, `source` is for the log.
pub struct Fault {
    code: Code,
    reason: std::borrow::Cow<'static, str>,
    public: String,
    retry_after: Option<Duration>,
    source: Option<BoxError>,
}

impl Fault {
    /// A fault whose stable word is the code's own.
    pub fn new(code: Code, public: impl Into<String>) -> Self {
        Self {
            code,
            reason: code.as_str().into(),
            public: public.into(),
            retry_after: None,
            source: None,
        }
    }

    /// Something is not as the interface asks.
    pub fn invalid(public: impl Into<String>) -> Self {
        Self::new(Code::Invalid, public)
    }

    /// There is no such `what` for this caller.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("no such {what}"))
    }

    /// A part that is needed does not answer.
    pub fn unavailable(source: impl Into<BoxError>) -> Self {
        Self::new(
            Code::Unavailable,
            "a part of the server does not answer; try again",
        )
        .with_source(source)
    }

    /// A defect of ours; the caller learns nothing but that.
    pub fn internal(source: impl Into<BoxError>) -> Self {
        Self::new(Code::Internal, "something went wrong on our side").with_source(source)
    }

    /// Replaces the stable word by a narrower one, such as `username_taken`.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Says when the caller may try again.
    #[must_use]
    pub fn retry_in(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The closed code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The stable word on the wire: the code's own or a narrower one.
    pub fn word(&self) -> &str {
        &self.reason
    }

    /// The text for the caller.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// How long the caller should wait, when that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether nothing but the retry of the same request is asked for.
    pub fn is(&self, code: Code) -> bool {
        self.code == code
    }

    /// Counts the fault and writes its cause to the log, at the border where it is answered; once.
    pub fn report(&self, request_id: &str) {
        metrics::counter!("errors_total", "code" => self.code.as_str()).increment(1);
        if matches!(self.code, Code::Internal) {
            tracing::error!(request.id = request_id, code = self.word(), error = ?self, "request failed");
        } else if matches!(self.code, Code::Unavailable | Code::Timeout) {
            tracing::warn!(request.id = request_id, code = self.word(), error = ?self, "request failed");
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.public)?;
        let mut source = self
            .source
            .as_deref()
            .map(|error| error as &dyn std::error::Error);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|error| error as _)
    }
}

/// Where a status has the fault's word.
const WORD: &str = "fault-code";
/// Where it says how long the caller should wait, in milliseconds: what generated clients with a retry policy heed.
const RETRY: &str = "grpc-retry-pushback-ms";
/// The longest text of a status, in bytes. It travels in a header, where a byte may become three, and the other end
/// takes 16 KiB of them.
const LONGEST: usize = 4 * 1024;

impl From<Fault> for tonic::Status {
    fn from(fault: Fault) -> Self {
        let end = fault.public.floor_char_boundary(LONGEST);
        let mut status = Self::new(fault.code.grpc(), &fault.public[..end]);
        let metadata = status.metadata_mut();
        if let Ok(word) = fault.word().parse() {
            metadata.insert(WORD, word);
        }
        if let Some(after) = fault.retry_after {
            let millis = i32::try_from(after.as_millis()).unwrap_or(i32::MAX);
            metadata.insert(RETRY, millis.into());
        }
        status
    }
}

impl From<tonic::Status> for Fault {
    fn from(status: tonic::Status) -> Self {
        let code = match status.code() {
            tonic::Code::InvalidArgument => Code::Invalid,
            tonic::Code::OutOfRange => Code::TooLarge,
            tonic::Code::Unauthenticated => Code::Unauthenticated,
            tonic::Code::PermissionDenied => Code::Forbidden,
            tonic::Code::NotFound => Code::NotFound,
            tonic::Code::AlreadyExists | tonic::Code::FailedPrecondition | tonic::Code::Aborted => {
                Code::Conflict
            }
            tonic::Code::ResourceExhausted => Code::Exhausted,
            tonic::Code::Unavailable => Code::Unavailable,
            tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => Code::Timeout,
            _ => Code::Internal,
        };
        let text = |name| status.metadata().get(name)?.to_str().ok();
        let mut fault = Self::new(code, status.message());
        if let Some(word) = text(WORD) {
            fault = fault.reason(word.to_owned());
        }
        if let Some(millis) = text(RETRY).and_then(|text| text.parse().ok()) {
            fault = fault.retry_in(Duration::from_millis(millis));
        }
        fault
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    const CODES: [Code; 10] = [
        Code::Invalid,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::NotFound,
        Code::Conflict,
        Code::TooLarge,
        Code::Exhausted,
        Code::Unavailable,
        Code::Timeout,
        Code::Internal,
    ];

    #[test]
    fn a_fault_is_the_same_behind_the_wire() {
        for code in CODES {
            let wait = Duration::from_millis(1500);
            let sent = Fault::new(code, "так нельзя")
                .reason("narrower")
                .retry_in(wait);
            let received = Fault::from(Status::from(sent));
            assert_eq!((received.code(), received.word()), (code, "narrower"));
            assert_eq!(received.public(), "так нельзя");
            assert_eq!(received.retry_after(), Some(wait));
            let plain = Fault::from(Status::from(Fault::new(code, "")));
            assert_eq!((plain.word(), plain.retry_after()), (code.as_str(), None));
        }
    }

    #[test]
    fn a_long_text_is_cut_to_what_a_header_can_carry() {
        let text = format!("{}я", "a".repeat(LONGEST - 1));
        let received = Fault::from(Status::from(Fault::invalid(text.clone())));
        assert_eq!(received.public(), &text[..LONGEST - 1]);
    }

    /// What does not come from us is read as far as it can be.
    #[test]
    fn a_foreign_status_is_read_by_its_code() {
        let mut status = Status::failed_precondition("no");
        status.metadata_mut().insert(RETRY, "-1".parse().unwrap());
        let fault = Fault::from(status);
        assert_eq!((fault.code(), fault.word()), (Code::Conflict, "conflict"));
        assert_eq!(fault.retry_after(), None);
    }
}
