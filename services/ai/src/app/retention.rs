//! Forgets what is over: runs that ended long ago, and what was used up on past days.

use std::time::Duration;

use kit::{BoxError, CancellationToken};

use super::bindings::Bindings;
use crate::{config::millis, store::Error};

/// How often it is looked.
const LOOK: Duration = Duration::from_hours(1);
/// Runs that are removed in one transaction.
const ROUND: usize = 500;

impl Bindings {
    /// Forgets everything that has been over for `keep`, until the node stops.
    pub(crate) async fn forget(
        self,
        keep: Duration,
        token: CancellationToken,
    ) -> Result<(), BoxError> {
        loop {
            self.forget_once(keep).await?;
            let wait = token.run_until_cancelled(tokio::time::sleep(LOOK));
            if wait.await.is_none() {
                return Ok(());
            }
        }
    }

    pub(crate) async fn forget_once(&self, keep: Duration) -> Result<(), Error> {
        let before_ms = self.clock.now_ms() - millis(keep);
        while self.store.remove_ended(before_ms, ROUND).await? == ROUND as u64 {}
        self.store.remove_days(before_ms).await
    }
}
