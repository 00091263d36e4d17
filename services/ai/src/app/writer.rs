//! One call to a provider with everything around it: time limits, bounds, retries, breaker, metrics.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use kit::{Backoff, Breaker, Code, Fault};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    config::Timeouts,
    domain::prompt::Prompt,
    metrics as names,
    ports::{Failure, MAX_TEXT, Piece, Pieces, Provider},
};

/// How often a call that brought no words is made again.
const RETRIES: u32 = 2;

/// The most tokens that one call is believed to have cost.
const MAX_TOKENS: i64 = 10_000_000;

/// What a text costs, whatever becomes of it: as the provider says, else by a guess from the length. It can be read at
/// any time, also when nobody waits for the text any more.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<Cost>);

#[derive(Debug, Default)]
struct Cost {
    earlier: i64,
    bytes: usize,
    said: Option<i64>,
}

impl Cost {
    fn tokens(&self) -> i64 {
        let guess = i64::try_from(self.bytes.div_ceil(4)).unwrap_or(MAX_TOKENS);
        self.earlier + self.said.unwrap_or(guess).clamp(0, MAX_TOKENS)
    }
}

impl Meter {
    /// What everything cost so far, in tokens of input and output together.
    pub(crate) fn tokens(&self) -> i64 {
        self.0.lock().tokens()
    }

    fn begin(&self, bytes: usize) {
        let mut cost = self.0.lock();
        let earlier = cost.tokens();
        *cost = Cost {
            earlier,
            bytes,
            said: None,
        };
    }
}

/// Calls the provider.
#[derive(Clone)]
pub(crate) struct Writer {
    provider: Arc<dyn Provider>,
    breaker: Breaker,
    timeouts: Timeouts,
}

impl Writer {
    pub(crate) fn new(provider: Arc<dyn Provider>, breaker: Breaker, timeouts: Timeouts) -> Self {
        Self {
            provider,
            breaker,
            timeouts,
        }
    }

    pub(crate) fn model(&self) -> &str {
        self.provider.model()
    }

    /// The longest that a call can take.
    pub(crate) fn longest(&self) -> Duration {
        self.timeouts.total
    }

    /// Lets the provider write, and gives the text without the space around it. `heard` is given the words as they
    /// come; after the first of them nothing is tried again. `meter` runs all the while.
    pub(crate) async fn write(
        &self,
        prompt: &Prompt,
        meter: &Meter,
        heard: impl FnMut(&str) + Send,
    ) -> Result<String, Failure> {
        let started = Instant::now();
        let mut failure = None;
        let call = async {
            self.within_time(prompt, meter, heard)
                .await
                .map_err(|cause| {
                    failure = Some(cause);
                    fault(cause)
                })
        };
        let open = OpenCall::begin();
        let result = self.breaker.run(call).await;
        drop(open);
        metrics::histogram!(names::PROVIDER).record(started.elapsed().as_secs_f64());
        if let Ok(text) = result {
            return Ok(text);
        }
        // Without a failure of its own it was the breaker that refused.
        let failure = failure.unwrap_or(Failure::Unavailable);
        metrics::counter!(names::FAILURES, "class" => failure.as_str()).increment(1);
        Err(failure)
    }

    async fn within_time(
        &self,
        prompt: &Prompt,
        meter: &Meter,
        mut heard: impl FnMut(&str) + Send,
    ) -> Result<String, Failure> {
        let deadline = Instant::now() + self.timeouts.total;
        let tries = async {
            let mut backoff = Backoff::new(self.timeouts.retry, self.timeouts.retry * 8);
            let mut retries = 0;
            loop {
                let mut words = false;
                let mut listen = |text: &str| {
                    words = true;
                    heard(text);
                };
                match self.once(prompt, meter, &mut listen).await {
                    Err(failure) if failure.is_passing() && !words && retries < RETRIES => {
                        retries += 1;
                        tokio::time::sleep(backoff.next_wait()).await;
                    }
                    result => return result,
                }
            }
        };
        timeout_at(deadline, tries)
            .await
            .unwrap_or(Err(Failure::Timeout))
    }

    async fn once(
        &self,
        prompt: &Prompt,
        meter: &Meter,
        heard: &mut (dyn FnMut(&str) + Send),
    ) -> Result<String, Failure> {
        let started = Instant::now();
        meter.begin(prompt.instructions().len() + prompt.data().len());
        let first = async {
            let called = self.provider.write(prompt).await;
            let mut pieces = called.inspect_err(|failure| {
                if failure.is_free() {
                    meter.0.lock().bytes = 0;
                }
            })?;
            let first = pieces.next().await;
            Ok::<_, Failure>((pieces, first))
        };
        let (pieces, first) = timeout(self.timeouts.first_token, first)
            .await
            .unwrap_or(Err(Failure::Timeout))?;
        metrics::histogram!(names::FIRST_TOKEN).record(started.elapsed().as_secs_f64());
        let text = self.listen(pieces, first, meter, heard).await?;
        let text = text.trim().replace('\0', "");
        if text.is_empty() {
            return Err(Failure::Empty);
        }
        Ok(text)
    }

    async fn listen(
        &self,
        mut pieces: Pieces,
        first: Option<Result<Piece, Failure>>,
        meter: &Meter,
        heard: &mut (dyn FnMut(&str) + Send),
    ) -> Result<String, Failure> {
        let mut text = String::new();
        let mut next = first;
        while let Some(piece) = next {
            match piece? {
                Piece::Text(more) => {
                    meter.0.lock().bytes += more.len();
                    if text.len() + more.len() > MAX_TEXT {
                        return Err(Failure::TooLong);
                    }
                    heard(&more);
                    text.push_str(&more);
                }
                Piece::Tokens(cost) => meter.0.lock().said = Some(cost),
            }
            next = timeout(self.timeouts.between_tokens, pieces.next())
                .await
                .map_err(|_| Failure::Timeout)?;
        }
        Ok(text)
    }
}

/// Counts a call while it is open, also when nobody waits for its end.
struct OpenCall;

impl OpenCall {
    fn begin() -> Self {
        metrics::gauge!(names::CALLS).increment(1.0);
        Self
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        metrics::gauge!(names::CALLS).decrement(1.0);
    }
}

/// What the breaker is told: only an outage counts against the provider.
fn fault(failure: Failure) -> Fault {
    let code = match failure {
        Failure::Unavailable | Failure::CutOff | Failure::Malformed => Code::Unavailable,
        Failure::Timeout => Code::Timeout,
        Failure::RateLimited => Code::Exhausted,
        Failure::Refused => Code::Forbidden,
        Failure::TooLong | Failure::Empty => Code::Invalid,
    };
    Fault::new(code, failure.as_str())
}
