//! The deadline and the request id of a call, on the wire.

use std::time::Duration;

use http::HeaderMap;
use kit::Call;
use tonic::Request;

const REQUEST_ID: &str = "x-request-id";
const TIMEOUT: &str = "grpc-timeout";

/// A message with the deadline and the request id of `call`.
pub(crate) fn request<T>(call: &Call, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(call.remaining());
    if let Ok(id) = call.request_id().parse() {
        request.metadata_mut().insert(REQUEST_ID, id);
    }
    request
}

/// The call that a request belongs to, with no more time than a call has by default.
pub(crate) fn call(headers: &HeaderMap) -> Call {
    let id = headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .unwrap_or("-");
    let timeout = timeout(headers).unwrap_or(Call::DEFAULT_TIMEOUT);
    Call::new(id, timeout.min(Call::DEFAULT_TIMEOUT))
}

/// `grpc-timeout` as the gRPC protocol writes it: at most eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_envelope_survives_the_wire() {
        let sent = Call::new("request-1", Duration::from_millis(1500));
        let received = call(request(&sent, ()).metadata().as_ref());
        assert_eq!(received.request_id(), "request-1");
        let lost = sent.remaining().abs_diff(received.remaining());
        assert!(lost < Duration::from_millis(100), "{lost:?}");
    }

    #[test]
    fn a_timeout_that_is_none_is_ignored_and_a_long_one_is_cut() {
        for (text, is_read) in [
            ("5S", true),
            ("S", false),
            ("", false),
            ("999999999S", false),
            ("-1S", false),
            ("1é", false),
        ] {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(TIMEOUT, value);
            }
            assert_eq!(timeout(&headers).is_some(), is_read, "{text}");
        }
        let mut endless = Request::new(());
        endless.set_timeout(Duration::from_hours(1));
        assert!(call(endless.metadata().as_ref()).remaining() <= Call::DEFAULT_TIMEOUT);
    }
}
