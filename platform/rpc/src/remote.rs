//! The far end of a contract as its callers hold it.

use std::{future::Future, time::Duration};

use kit::{Backoff, Breaker, BreakerConfig, Call, Code, Fault};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::{
    budget::RetryBudget,
    envelope,
    fault::{fault, is_unsent},
    metrics,
};

/// The longest waits before the second, third, ... try; each wait is between its half and its whole. Together they
/// last 575 ms at least, so a service that is away for 300 ms and slow to begin is not missed, and 1150 ms at most.
const WAITS: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(400),
];

/// Asks a service elsewhere: tries again while that is right, and stops asking one that is away.
///
/// A request that reached nobody is sent again whatever it is; one that got no answer only if it is a read, and
/// while the budget lasts. Nothing outlives the deadline of its call. The breaker counts calls, not tries.
pub struct Remote<C> {
    service: &'static str,
    client: C,
    breaker: Breaker,
    budget: RetryBudget,
}

/// What may happen twice, and what may not.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Read,
    Write,
}

impl<C: Clone> Remote<C> {
    /// Ten calls in a row without an answer are an outage, and each second one of them is let through to see if it
    /// lasts. A service that restarts is back in less than the default of ten seconds.
    const BREAKER: BreakerConfig = BreakerConfig {
        failures: 10,
        open: Duration::from_secs(1),
    };

    /// `service` is the name of whom `client` asks; it labels the metrics.
    pub fn new(service: &'static str, client: C) -> Self {
        Self {
            service,
            client,
            breaker: Breaker::new(service, Self::BREAKER),
            budget: RetryBudget::new(),
        }
    }

    /// Asks for something that changes nothing; see [`read!`](crate::read).
    pub async fn read<M: Clone, T, F>(
        &self,
        call: &Call,
        method: &'static str,
        message: M,
        ask: impl Fn(C, Request<M>) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.ask(Kind::Read, call, method, message, ask).await
    }

    /// Asks for what must not happen twice; see [`write!`](crate::write).
    pub async fn write<M: Clone, T, F>(
        &self,
        call: &Call,
        method: &'static str,
        message: M,
        ask: impl Fn(C, Request<M>) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.ask(Kind::Write, call, method, message, ask).await
    }

    async fn ask<M: Clone, T, F>(
        &self,
        kind: Kind,
        call: &Call,
        method: &'static str,
        message: M,
        ask: impl Fn(C, Request<M>) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let started = Instant::now();
        self.budget.first_try();
        let tries = self
            .breaker
            .run(self.tries(kind, call, method, message, ask));
        let result = tries.await;
        metrics::called(self.service, method, started, &result);
        result
    }

    async fn tries<M: Clone, T, F>(
        &self,
        kind: Kind,
        call: &Call,
        method: &'static str,
        message: M,
        ask: impl Fn(C, Request<M>) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut waits = WAITS.into_iter();
        loop {
            let request = envelope::request(call, message.clone());
            let asked = async { Ok(ask(self.client.clone(), request).await) };
            let status = match call.run(asked).await? {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            let is_unsent = is_unsent(&status);
            let fault = fault(status);
            let Some(wait) = waits.next().map(jitter) else {
                return Err(fault);
            };
            if wait >= call.remaining() || self.breaker.is_open() {
                return Err(fault);
            }
            let is_lost_read = kind == Kind::Read && fault.is(Code::Unavailable);
            // The budget guards a service that suffers; one that was not reached has no part in it.
            let may_retry = is_unsent || (is_lost_read && self.budget.take());
            if !may_retry {
                return Err(fault);
            }
            metrics::retried(self.service, method);
            tokio::time::sleep(wait).await;
        }
    }
}

/// Between half of `longest` and all of it.
fn jitter(longest: Duration) -> Duration {
    let half = longest / 2;
    half + Backoff::new(half, half).next_wait()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;

    /// row:A10: what nobody answered is an outage, whatever the transport calls it.
    #[tokio::test(start_paused = true)]
    async fn lost_reads_are_retried_and_lost_writes_are_not() {
        let (remote, call) = (Remote::new("test", ()), Call::internal("test"));
        let tries = AtomicU32::new(0);
        let ask = |(), _: Request<()>| async {
            tries.fetch_add(1, SeqCst);
            Err::<Response<()>, _>(Status::unknown("transport error"))
        };
        let fault = remote.read(&call, "ask", (), ask).await.unwrap_err();
        assert_eq!((fault.code(), tries.load(SeqCst)), (Code::Unavailable, 6));
        let fault = remote.write(&call, "ask", (), ask).await.unwrap_err();
        assert_eq!((fault.code(), tries.load(SeqCst)), (Code::Unavailable, 7));
    }

    #[tokio::test(start_paused = true)]
    async fn what_reached_nobody_is_sent_again_even_if_it_is_a_write() {
        let (remote, call) = (Remote::new("test", ()), Call::internal("test"));
        let tries = AtomicU32::new(0);
        let ask = |(), _: Request<()>| async {
            tries.fetch_add(1, SeqCst);
            let refused = tonic::ConnectError("connection refused".into());
            Err::<Response<()>, _>(Status::from_error(Box::new(refused)))
        };
        let fault = remote.write(&call, "ask", (), ask).await.unwrap_err();
        assert_eq!((fault.code(), tries.load(SeqCst)), (Code::Unavailable, 6));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_tried_after_the_deadline_of_its_call() {
        let remote = Remote::new("test", ());
        let call = Call::new("test", Duration::from_millis(40));
        let tries = AtomicU32::new(0);
        let ask = |(), _: Request<()>| async {
            tries.fetch_add(1, SeqCst);
            Err::<Response<()>, _>(Status::unavailable(""))
        };
        let began = Instant::now();
        remote.read(&call, "ask", (), ask).await.unwrap_err();
        assert!(tries.load(SeqCst) <= 2);
        assert!(began.elapsed() <= Duration::from_millis(40));
    }

    #[tokio::test(start_paused = true)]
    async fn lost_reads_stop_being_tried_again_when_the_budget_is_used_up() {
        let remote = Remote::new("test", ());
        let tries = AtomicU32::new(0);
        let ask = |(), _: Request<()>| async {
            tries.fetch_add(1, SeqCst);
            Err::<Response<()>, _>(Status::unavailable(""))
        };
        for _ in 0..9 {
            let call = Call::internal("test");
            remote.read(&call, "ask", (), ask).await.unwrap_err();
        }
        assert!((9 + 10..=9 + 11).contains(&tries.load(SeqCst)));
    }
}
