//! What every contract over gRPC has in common: the envelope of a call, retries, the breaker, lost answers.

use std::{future::Future, time::Duration};

use kit::{Backoff, Breaker, BreakerConfig, Call, Code, Fault, RetryBudget};
use tonic::{Request, Response, Status, metadata::MetadataMap};

const REQUEST_ID: &str = "x-request-id";
const TIMEOUT: &str = "grpc-timeout";
const WORD: &str = "fault-code";

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
pub(crate) fn call<T>(request: &Request<T>) -> Call {
    let metadata = request.metadata();
    let id = metadata
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .unwrap_or("-");
    let timeout = timeout(metadata).unwrap_or(Call::DEFAULT_TIMEOUT);
    Call::new(id, timeout.min(Call::DEFAULT_TIMEOUT))
}

/// `grpc-timeout` as the gRPC protocol writes it: at most eight digits and a unit.
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get(TIMEOUT)?.to_str().ok()?;
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

/// What the caller of a remote contract is told.
fn fault(status: Status) -> Fault {
    // Without our word nobody of us answered: the connection broke, or the other side is not up.
    let is_lost = matches!(
        status.code(),
        tonic::Code::Unknown | tonic::Code::Internal | tonic::Code::Unavailable
    );
    if is_lost && status.metadata().get(WORD).is_none() {
        Fault::unavailable(status)
    } else {
        status.into()
    }
}

/// The far end of a contract: retries reads while the budget lasts and stops asking one that is away.
pub(crate) struct Remote {
    breaker: Breaker,
    budget: RetryBudget,
}

impl Remote {
    /// Extra tries of one read.
    const RETRIES: u32 = 2;

    /// `name` is the service; it labels the breaker's metric.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            breaker: Breaker::new(name, BreakerConfig::default()),
            budget: RetryBudget::new(),
        }
    }

    /// Asks for something that changes nothing, and asks again when no answer came.
    pub(crate) async fn read<T, F>(&self, call: &Call, ask: impl Fn() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.budget.first_try();
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
        let mut left = Self::RETRIES;
        loop {
            let result = self.write(call, &ask).await;
            let is_lost = result
                .as_ref()
                .is_err_and(|fault| fault.is(Code::Unavailable));
            if !is_lost || left == 0 || self.breaker.is_open() || !self.budget.take() {
                return result;
            }
            left -= 1;
            let wait = backoff.next_wait();
            if wait >= call.remaining() {
                return result;
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks once, for what must not happen twice.
    pub(crate) async fn write<T, F>(&self, call: &Call, ask: impl FnOnce() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let answer = async { ask().await.map(Response::into_inner).map_err(fault) };
        self.breaker.run(call.run(answer)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_survives_the_wire() {
        let sent = Call::new("request-1", Duration::from_millis(1500));
        let received = call(&request(&sent, ()));
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
            let mut metadata = MetadataMap::new();
            if let Ok(value) = text.parse() {
                metadata.insert(TIMEOUT, value);
            }
            assert_eq!(timeout(&metadata).is_some(), is_read, "{text}");
        }
        let mut endless = Request::new(());
        endless.set_timeout(Duration::from_hours(1));
        assert!(call(&endless).remaining() <= Call::DEFAULT_TIMEOUT);
    }

    /// row:A10: what nobody answered is an outage, whatever the transport calls it.
    #[tokio::test(start_paused = true)]
    async fn reads_are_retried_and_writes_are_not() {
        let (remote, call) = (Remote::new("test"), Call::internal("test"));
        let tries = std::sync::atomic::AtomicU32::new(0);
        let ask = || async {
            tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Err::<Response<()>, _>(Status::unknown("transport error"))
        };
        assert!(
            remote
                .read(&call, ask)
                .await
                .unwrap_err()
                .is(Code::Unavailable)
        );
        assert_eq!(tries.load(std::sync::atomic::Ordering::SeqCst), 3);
        assert!(
            remote
                .write(&call, ask)
                .await
                .unwrap_err()
                .is(Code::Unavailable)
        );
        assert_eq!(tries.load(std::sync::atomic::Ordering::SeqCst), 4);
    }
}
