//! Send a record and wait for what becomes of it.
//!
//! Whoever submits also tails the topic on which outcomes appear, and hands each one to
//! [`Submitter::answer`]. It may do so on demand only, as every reader of a busy topic costs: [`Submitter::wanted`]. While nobody
//! tails, nobody is let wait. The waiting lives here; what a key and an answer are is the caller's business.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use kit::{Code, Fault};
use parking_lot::Mutex;
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use crate::{EventLog, Record};

/// Those who wait for an answer, by key. Cheap to clone.
pub struct Submitter<K, A> {
    waiting: Arc<Mutex<Waiting<K, A>>>,
    demand: Arc<watch::Sender<Demand>>,
    timeout: Duration,
    bound: usize,
}

/// Whether answers are brought. It leaves [`Demand::Answered`] only with the lock on those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    None,
    Wanted,
    Answered,
}

struct Waiting<K, A> {
    by_key: HashMap<K, Vec<(u64, oneshot::Sender<A>)>>,
    count: usize,
    last: u64,
    /// When somebody last began to wait, or answers began to be brought.
    used: Instant,
}

impl<K, A> Clone for Submitter<K, A> {
    fn clone(&self) -> Self {
        Self {
            waiting: Arc::clone(&self.waiting),
            demand: Arc::clone(&self.demand),
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

    /// Nobody brings answers until somebody waits for one: see [`Submitter::wanted`].
    pub fn on_demand() -> Self {
        let submitter = Self::default();
        submitter.demand.send_replace(Demand::None);
        submitter
    }

    /// At most `bound` waiters, each for `timeout` at most. Answers are always brought.
    pub fn new(timeout: Duration, bound: usize) -> Self {
        let waiting = Waiting {
            by_key: HashMap::new(),
            count: 0,
            last: 0,
            used: Instant::now(),
        };
        Self {
            waiting: Arc::new(Mutex::new(waiting)),
            demand: Arc::new(watch::Sender::new(Demand::Answered)),
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
        if *self.demand.borrow() != Demand::Answered {
            return Err(unanswered());
        }
        if waiting.count >= self.bound {
            return Err(Fault::new(
                Code::Exhausted,
                "too many requests wait for their outcome",
            ));
        }
        waiting.count += 1;
        waiting.last += 1;
        waiting.used = Instant::now();
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

    /// Returns when somebody wants to wait and nobody brings answers. Whoever calls this brings them, from when it says so until what
    /// is given is dropped.
    pub async fn wanted(&self) -> Answers<K, A> {
        let mut demand = self.demand.subscribe();
        // The sender lives as long as this.
        let _ = demand.wait_for(|demand| *demand == Demand::Wanted).await;
        Answers(self.clone())
    }

    /// Waits until answers are brought.
    async fn answered(&self) -> Result<(), Fault> {
        let mut demand = self.demand.subscribe();
        self.demand.send_if_modified(|demand| {
            let is_first = *demand == Demand::None;
            if is_first {
                *demand = Demand::Wanted;
            }
            is_first
        });
        let settled = demand.wait_for(|demand| *demand != Demand::Wanted).await;
        if settled.is_ok_and(|demand| *demand == Demand::Answered) {
            Ok(())
        } else {
            Err(unanswered())
        }
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
        let deadline = Instant::now() + self.timeout;
        let mut pending = loop {
            let answered = tokio::time::timeout_at(deadline, self.answered());
            answered.await.unwrap_or_else(|_| Err(unanswered()))?;
            match self.begin(key.clone()) {
                // They have just ended.
                Err(fault) if fault.is(Code::Unavailable) => {}
                begun => break begun?,
            }
        };
        pending.deadline = deadline;
        match tokio::time::timeout_at(deadline, log.append(topic, vec![record])).await {
            Ok(Ok(())) => pending.wait().await,
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(unknown_outcome()),
        }
    }
}

/// Whoever has it is about to bring the answers, or brings them; see [`Submitter::wanted`]. When it is dropped, everybody who waits
/// hears that the outcome is unknown.
#[must_use]
pub struct Answers<K: Clone + Eq + Hash, A: Clone>(Submitter<K, A>);

impl<K: Clone + Eq + Hash, A: Clone> Answers<K, A> {
    /// From here on every answer is brought.
    pub fn begin(&self) {
        let mut waiting = self.0.waiting.lock();
        waiting.used = Instant::now();
        self.0.demand.send_replace(Demand::Answered);
    }

    /// Returns when nobody has begun to wait for so long since [`Answers::begin`], which is longer than anybody waits.
    pub async fn unused_for(&self, long: Duration) {
        let until = || self.0.waiting.lock().used + long;
        while until() > Instant::now() {
            tokio::time::sleep_until(until()).await;
        }
    }
}

impl<K: Clone + Eq + Hash, A: Clone> Drop for Answers<K, A> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock();
        self.0.demand.send_replace(Demand::None);
        waiting.give_up();
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

fn unanswered() -> Fault {
    Fault::new(
        Code::Unavailable,
        "answers do not arrive at the moment; try again",
    )
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

    fn submitter_on_demand() -> Submitter<&'static str, u32> {
        Submitter::on_demand()
    }

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
        let submitter = submitter_on_demand();
        assert!(submitter.begin("a").err().unwrap().is(Code::Unavailable));
        let begun = Instant::now();
        let (answered, answers) = tokio::join!(submitter.answered(), async {
            let answers = submitter.wanted().await;
            answers.begin();
            answers
        });
        answered.unwrap();
        let pending = submitter.begin("a").unwrap();
        submitter.answer(&"a", 1);
        assert_eq!(pending.wait().await.unwrap(), 1);

        let pending = submitter.begin("a").unwrap();
        drop(answers);
        assert!(pending.wait().await.unwrap_err().is(Code::Unavailable));
        assert!(submitter.begin("a").err().unwrap().is(Code::Unavailable));
        assert_eq!((begun.elapsed(), submitter.waiting()), (Duration::ZERO, 0));
    }

    /// Whoever wants answers hears at once that they cannot be brought, and may want them again.
    #[tokio::test(start_paused = true)]
    async fn answers_that_cannot_be_brought_are_not_waited_for() {
        let (submitter, begun) = (submitter_on_demand(), Instant::now());
        for _ in 0..2 {
            let failing = async { drop(submitter.wanted().await) };
            let (answered, ()) = tokio::join!(submitter.answered(), failing);
            assert!(answered.unwrap_err().is(Code::Unavailable));
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_brought_as_long_as_somebody_wants_them() {
        let submitter = submitter_on_demand();
        // However long nobody wanted them.
        tokio::time::sleep(Duration::from_mins(2)).await;
        let begun = Instant::now();
        let bringing = async {
            let answers = submitter.wanted().await;
            answers.begin();
            answers
        };
        let (_, answers) = tokio::join!(submitter.answered(), bringing);
        let using = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(40)).await;
                drop(submitter.begin("a").unwrap());
            }
        };
        tokio::join!(using, answers.unused_for(Duration::from_mins(1)));
        assert_eq!(begun.elapsed(), Duration::from_mins(3));
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
