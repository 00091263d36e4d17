//! The envelope of one call: how long it may take and whose request it belongs to.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{Code, Fault};

/// Travels with every call between services, local or remote.
#[derive(Clone, Debug)]
pub struct Call {
    deadline: Instant,
    request_id: Arc<str>,
}

impl Call {
    /// The time a call may take when nobody says otherwise.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

    /// A call that belongs to the request `request_id` and must end within `timeout`.
    pub fn new(request_id: impl Into<Arc<str>>, timeout: Duration) -> Self {
        Self {
            deadline: Instant::now() + timeout,
            request_id: request_id.into(),
        }
    }

    /// A call that a background task makes on its own account, with the default timeout.
    pub fn internal(task: &'static str) -> Self {
        Self::new(task, Self::DEFAULT_TIMEOUT)
    }

    /// The same request with no more than `timeout` from now.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
        let deadline = self.deadline.min(Instant::now() + timeout);
        Self {
            deadline,
            request_id: self.request_id.clone(),
        }
    }

    /// The moment after which nobody waits for the answer.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What is left of the time, zero when it is over.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The id that is in the answer's header and in every log line of this request.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Runs `work` until the deadline; after that the answer is [`Code::Timeout`].
    pub async fn run<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        match tokio::time::timeout_at(self.deadline, work).await {
            Ok(result) => result,
            Err(_) => Err(Fault::new(
                Code::Timeout,
                "the deadline of the request has passed",
            )),
        }
    }
}
