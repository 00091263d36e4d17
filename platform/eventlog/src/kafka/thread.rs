//! A thread that owns what blocks, and does one thing after another for its async owner.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{mpsc, oneshot};

use super::away;
use crate::Error;

/// How much may wait for the thread: one question that was given up, and the next.
const QUEUE: usize = 2;

type Work<S> = Box<dyn FnOnce(&mut S) + Send>;

/// Counts those who wait for the thread, so that it does not wait itself meanwhile.
#[derive(Clone, Debug, Default)]
pub(super) struct Hurry(Arc<AtomicUsize>);

impl Hurry {
    /// Whether somebody waits.
    pub(super) fn is_on(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }

    /// Somebody waits, until the guard is dropped.
    fn guard(&self) -> Hurrying<'_> {
        self.0.fetch_add(1, Ordering::AcqRel);
        Hurrying(self)
    }
}

struct Hurrying<'a>(&'a Hurry);

impl Drop for Hurrying<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The owner's end. The thread ends, and drops what it owns, when this is dropped.
pub(super) struct Worker<S> {
    work: mpsc::Sender<Work<S>>,
    hurry: Hurry,
}

impl<S: Send + 'static> Worker<S> {
    /// Starts a thread that owns `state`, which looks at `hurry` whenever it waits.
    pub(super) fn start(mut state: S, hurry: Hurry) -> Result<Self, Error> {
        let (sender, mut receiver) = mpsc::channel::<Work<S>>(QUEUE);
        std::thread::Builder::new()
            .name("eventlog".to_owned())
            .spawn(move || {
                while let Some(work) = receiver.blocking_recv() {
                    work(&mut state);
                }
            })
            .map_err(away)?;
        Ok(Self {
            work: sender,
            hurry,
        })
    }

    /// Hands `work` to the thread; its result arrives in the receiver, whoever waits for it then.
    pub(super) async fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Error> {
        let (sender, receiver) = oneshot::channel();
        let work: Work<S> = Box::new(move |state| {
            // Nobody waits any more: the work is done all the same.
            let _ = sender.send(work(state));
        });
        self.work.send(work).await.map_err(|_| ended())?;
        Ok(receiver)
    }

    /// Does `work` as soon as the thread can, and waits for the result.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _hurrying = self.hurry.guard();
        self.begin(work).await?.await.map_err(|_| ended())?
    }
}

/// Work that outlives the caller that gave it up: its result waits for the next one.
pub(super) struct Lasting<T>(Option<oneshot::Receiver<T>>);

impl<T> Default for Lasting<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Lasting<T> {
    /// Waits for the result of what was given up, or else of `work`.
    pub(super) async fn run<S: Send + 'static>(
        &mut self,
        worker: &Worker<S>,
        work: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, Error> {
        if self.0.is_none() {
            self.0 = Some(worker.begin(work).await?);
        }
        self.result().await.unwrap_or_else(|| Err(ended()))
    }

    /// Waits for what was given up, if anything was, and lets the thread wait for nothing else.
    pub(super) async fn end<S>(&mut self, worker: &Worker<S>) -> Option<Result<T, Error>> {
        let _hurrying = worker.hurry.guard();
        self.result().await
    }

    async fn result(&mut self) -> Option<Result<T, Error>> {
        let result = self.0.as_mut()?.await.map_err(|_| ended());
        self.0 = None;
        Some(result)
    }
}

impl<S> Drop for Worker<S> {
    fn drop(&mut self) {
        // The thread finds its queue closed as soon as it stops waiting.
        self.hurry.0.fetch_add(1, Ordering::AcqRel);
    }
}

fn ended() -> Error {
    away("the thread of this reader has ended")
}
