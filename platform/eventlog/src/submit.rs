//! Send a record and wait for what becomes of it.
//!
//! Whoever submits also tails the topic on which outcomes appear, and hands each one to
//! [`Submitter::answer`]. While nobody does, nobody is let wait: [`Submitter::pause`]. The waiting lives here; what a key
//! and an answer are is the caller's business.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use kit::{Code, Fault};
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

use crate::{EventLog, Record};

/// Those who wait for an answer, by key. Cheap to clone.
pub struct Submitter<K, A> {
    waiting: Arc<Mutex<Waiting<K, A>>>,
    timeout: Duration,
    bound: usize,
}

struct Waiting<K, A> {
    by_key: HashMap<K, Vec<(u64, oneshot::Sender<A>)>>,
    count: usize,
    last: u64,
    is_paused: bool,
}

impl<K, A> Clone for Submitter<K, A> {
    fn clone(&self) -> Self {
        Self {
            waiting: Arc::clone(&self.waiting),
            timeout: self.timeout,
            bound: self.bound,
        }
    }
}

impl<K, A> Default for Submitter<K, A>
where
    K: Clone + Eq + Hash,
    A: Clone,
{
    fn default() -> Self {
        Self::new(Self::TIMEOUT, Self::BOUND)
    }
}

impl<K: Clone + Eq + Hash, A: Clone> Submitter<K, A> {
    /// How long one waits when nobody says otherwise.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
    /// How many may wait when nobody says otherwise.
    pub const BOUND: usize = 100_000;

    /// At most `bound` waiters, each for `timeout` at most.
    pub fn new(timeout: Duration, bound: usize) -> Self {
        let waiting = Waiting {
            by_key: HashMap::new(),
            count: 0,
            last: 0,
            is_paused: false,
        };
        Self {
            waiting: Arc::new(Mutex::new(waiting)),
            timeout,
            bound,
        }
    }

    /// Begins to wait for the answer to `key`; the deadline counts from here. A key may be waited for
    /// more than once, and then all get the answer.
    ///
    /// # Errors
    /// [`Code::Exhausted`] when too many wait already, [`Code::Unavailable`] while nobody brings answers.
    pub fn begin(&self, key: K) -> Result<Pending<K, A>, Fault> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.is_paused {
            return Err(Fault::new(
                Code::Unavailable,
                "answers do not arrive at the moment; try again",
            ));
        }
        if waiting.count >= self.bound {
            return Err(Fault::new(
                Code::Exhausted,
                "too many requests wait for their outcome",
            ));
        }
        waiting.count += 1;
        waiting.last += 1;
        let id = waiting.last;
        waiting
            .by_key
            .entry(key.clone())
            .or_default()
            .push((id, sender));
        drop(waiting);
        Ok(Pending {
            receiver,
            deadline: Instant::now() + self.timeout,
            place: Place {
                waiting: Arc::clone(&self.waiting),
                key,
                id,
            },
        })
    }

    /// Gives `answer` to everybody who waits for `key`; nobody is fine.
    pub fn answer(&self, key: &K, answer: A) {
        let waiters = {
            let mut waiting = self.waiting.lock();
            let waiters = waiting.by_key.remove(key).unwrap_or_default();
            waiting.count -= waiters.len();
            waiters
        };
        for (_, waiter) in waiters {
            // One who went away meanwhile is no trouble.
            let _ = waiter.send(answer.clone());
        }
    }

    /// Tells everybody who waits that the outcome is unknown: their answers will not come.
    pub fn give_up(&self) {
        self.waiting.lock().give_up();
    }

    /// What brings the answers has lost its place, or has none yet: tells everybody who waits that the outcome is unknown,
    /// and lets nobody else wait until [`Submitter::resume`].
    pub fn pause(&self) {
        let mut waiting = self.waiting.lock();
        waiting.is_paused = true;
        waiting.give_up();
    }

    /// From here on every answer is brought, until what is given is dropped: then it pauses.
    pub fn resume(&self) -> Answering<K, A> {
        self.waiting.lock().is_paused = false;
        Answering(self.clone())
    }

    /// Whether nobody may wait.
    pub fn is_paused(&self) -> bool {
        self.waiting.lock().is_paused
    }

    /// How many wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.lock().count
    }

    /// Appends `record` to `topic` and waits for the answer to `key`.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when the log did not take the record or no answer came in time: the outcome
    /// is unknown then, and the same key may be sent again. Those of [`Submitter::begin`]: nothing was sent then.
    pub async fn submit(
        &self,
        log: &dyn EventLog,
        topic: &str,
        record: Record,
        key: K,
    ) -> Result<A, Fault> {
        let pending = self.begin(key)?;
        match tokio::time::timeout_at(pending.deadline, log.append(topic, vec![record])).await {
            Ok(Ok(())) => pending.wait().await,
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(unknown_outcome()),
        }
    }
}

/// Whoever has it brings the answers; see [`Submitter::resume`].
#[must_use]
pub struct Answering<K: Clone + Eq + Hash, A: Clone>(Submitter<K, A>);

impl<K: Clone + Eq + Hash, A: Clone> Drop for Answering<K, A> {
    fn drop(&mut self) {
        self.0.pause();
    }
}

impl<K, A> Waiting<K, A> {
    fn give_up(&mut self) {
        self.count = 0;
        self.by_key.clear();
    }
}

/// A place among the waiters; dropping it gives the place up.
pub struct Pending<K: Eq + Hash, A> {
    receiver: oneshot::Receiver<A>,
    deadline: Instant,
    place: Place<K, A>,
}

impl<K: Eq + Hash, A> Pending<K, A> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when the deadline has passed: the outcome is unknown.
    pub async fn wait(self) -> Result<A, Fault> {
        let Self {
            receiver,
            deadline,
            place: _place,
        } = self;
        match tokio::time::timeout_at(deadline, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(unknown_outcome()),
        }
    }
}

/// What somebody hears who does not learn what became of a record.
pub fn unknown_outcome() -> Fault {
    Fault::new(
        Code::Unavailable,
        "outcome unknown; retry with the same key",
    )
}

struct Place<K: Eq + Hash, A> {
    waiting: Arc<Mutex<Waiting<K, A>>>,
    key: K,
    id: u64,
}

impl<K: Eq + Hash, A> Drop for Place<K, A> {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        let Some(waiters) = waiting.by_key.get_mut(&self.key) else {
            return;
        };
        let before = waiters.len();
        waiters.retain(|(id, _)| *id != self.id);
        let removed = before - waiters.len();
        if waiters.is_empty() {
            waiting.by_key.remove(&self.key);
        }
        waiting.count -= removed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submitter(bound: usize) -> Submitter<&'static str, u32> {
        Submitter::new(Duration::from_secs(10), bound)
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_key_waited_for_twice_answers_both() {
        let submitter = submitter(10);
        let first = submitter.begin("a").unwrap();
        let second = submitter.begin("a").unwrap();
        let other = submitter.begin("b").unwrap();
        submitter.answer(&"a", 7);
        assert_eq!(first.wait().await.unwrap(), 7);
        assert_eq!(second.wait().await.unwrap(), 7);
        assert_eq!(submitter.waiting(), 1);
        drop(other);
        assert_eq!(submitter.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_deadline_the_outcome_is_unknown_and_the_waiter_gone() {
        let submitter = submitter(10);
        let begun = Instant::now();
        let fault = submitter.begin("a").unwrap().wait().await.unwrap_err();
        assert!(fault.is(Code::Unavailable));
        assert!(fault.public().contains("same key"));
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
        assert_eq!(submitter.waiting(), 0);
        submitter.answer(&"a", 1);
    }

    /// fault:F8: whoever waits hears at once that the answers were lost, and others may wait after them.
    #[tokio::test(start_paused = true)]
    async fn when_the_answers_are_lost_nobody_waits_for_the_deadline() {
        let submitter = submitter(1);
        let (pending, begun) = (submitter.begin("a").unwrap(), Instant::now());
        submitter.give_up();
        let next = submitter.begin("a").unwrap();
        let fault = pending.wait().await.unwrap_err();
        assert!(fault.is(Code::Unavailable) && fault.public().contains("same key"));
        assert_eq!((begun.elapsed(), submitter.waiting()), (Duration::ZERO, 1));
        submitter.answer(&"a", 1);
        assert_eq!(next.wait().await.unwrap(), 1);
    }

    /// fault:F8: an answer that nobody would bring is not waited for, and nothing is sent for it.
    #[tokio::test(start_paused = true)]
    async fn while_nobody_brings_answers_nobody_waits() {
        let submitter = submitter(10);
        let (before, begun) = (submitter.begin("a").unwrap(), Instant::now());
        drop(submitter.resume());
        assert!(before.wait().await.unwrap_err().is(Code::Unavailable));
        assert!(submitter.begin("a").err().unwrap().is(Code::Unavailable));
        assert_eq!((begun.elapsed(), submitter.waiting()), (Duration::ZERO, 0));
        let _answering = submitter.resume();
        let after = submitter.begin("a").unwrap();
        submitter.answer(&"a", 1);
        assert_eq!(after.wait().await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_waiters_is_bounded() {
        let submitter = submitter(2);
        let _first = submitter.begin("a").unwrap();
        let second = submitter.begin("a").unwrap();
        assert!(submitter.begin("b").err().unwrap().is(Code::Exhausted));
        drop(second);
        assert!(submitter.begin("b").is_ok());
    }
}
