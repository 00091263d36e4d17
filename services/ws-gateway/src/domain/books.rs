//! The connections of this process that the registry has to know: which of them are to be registered or taken out, and when.
//!
//! A connection is registered when it comes and when it changes, which those who watch its person are told, and again each
//! time that a third of its lease has passed, which nobody is told. One that goes is taken out after a grace, so that who
//! comes back at once was never away.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use contracts::{SessionId, UserId};
use realtime::Activity;

use super::Registered;

/// What has to be done at the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// The process itself is to be registered; `is_again` when it was before and nothing is known to have been lost.
    Process { is_again: bool },
    /// A connection is to be registered; `is_news` when those who watch the person are to be told.
    Register { id: u64, is_news: bool },
    /// A connection is to be taken out, and that to be told.
    Remove { id: u64, user: UserId },
}

/// All connections, and the queues of what is to be done. None of them is longer than there are connections, or were within
/// the grace.
pub(crate) struct Books {
    refresh: Duration,
    grace: Duration,
    connections: HashMap<u64, Connection>,
    /// To be registered and told now.
    news: VecDeque<u64>,
    /// To be registered again; all wait equally long.
    turns: VecDeque<(Instant, u64)>,
    /// To be taken out; all wait equally long.
    gone: VecDeque<(Instant, u64, Connection)>,
    /// When the process is to be registered again; `None` while it is not.
    process: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Connection {
    user: UserId,
    registered: Registered,
    is_news: bool,
    has_turn: bool,
}

impl Books {
    pub(crate) fn new(refresh: Duration, grace: Duration) -> Self {
        Self {
            refresh,
            grace,
            connections: HashMap::new(),
            news: VecDeque::new(),
            turns: VecDeque::new(),
            gone: VecDeque::new(),
            process: None,
        }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// A connection has come.
    pub(crate) fn join(
        &mut self,
        id: u64,
        user: UserId,
        login: SessionId,
        state: Activity,
        since: i64,
    ) {
        let registered = Registered {
            login,
            state,
            since,
        };
        let connection = Connection {
            user,
            registered,
            is_news: true,
            has_turn: false,
        };
        self.connections.insert(id, connection);
        self.news.push_back(id);
    }

    /// What its client says of the person; `true` when that is new.
    pub(crate) fn set(&mut self, id: u64, state: Activity, since: i64) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        if connection.registered.state == state {
            return false;
        }
        connection.registered.state = state;
        connection.registered.since = since;
        if !std::mem::replace(&mut connection.is_news, true) {
            self.news.push_back(id);
        }
        true
    }

    /// A connection has gone; nothing happens when it never came.
    pub(crate) fn leave(&mut self, id: u64, now: Instant) {
        if let Some(connection) = self.connections.remove(&id) {
            self.gone.push_back((now + self.grace, id, connection));
        }
    }

    /// Nothing of what was registered may be there any more: everybody is to be registered and told. Those who have gone
    /// are not waited for; what is left of them ends with its lease.
    pub(crate) fn lose(&mut self) {
        self.process = None;
        self.turns.clear();
        self.gone.clear();
        self.news.clear();
        for (id, connection) in &mut self.connections {
            connection.is_news = true;
            connection.has_turn = false;
            self.news.push_back(*id);
        }
    }

    /// At most `most` jobs whose time has come.
    pub(crate) fn take(&mut self, now: Instant, most: usize) -> Vec<Job> {
        let mut jobs = Vec::new();
        if self.process.is_none_or(|at| at <= now) {
            let is_again = self.process.replace(now + self.refresh).is_some();
            jobs.push(Job::Process { is_again });
        }
        while jobs.len() < most {
            if let Some((_, id, Connection { user, .. })) =
                self.gone.pop_front_if(|(at, ..)| *at <= now)
            {
                jobs.push(Job::Remove { id, user });
            } else if let Some(id) = self.news.pop_front() {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.is_news = false;
                    jobs.push(Job::Register { id, is_news: true });
                }
            } else if let Some((_, id)) = self.turns.pop_front_if(|(at, _)| *at <= now) {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.has_turn = false;
                    jobs.push(Job::Register { id, is_news: false });
                }
            } else {
                break;
            }
        }
        jobs
    }

    /// When there will be a job; `now` or earlier when there is one.
    pub(crate) fn next(&self, now: Instant) -> Instant {
        if !self.news.is_empty() {
            return now;
        }
        let times = [
            self.process,
            self.gone.front().map(|(at, ..)| *at),
            self.turns.front().map(|(at, _)| *at),
        ];
        let is_registered = self.process.is_some();
        let first = times.into_iter().flatten().min();
        first.filter(|_| is_registered).unwrap_or(now)
    }

    /// What to register of a connection, if it is still there.
    pub(crate) fn connection(&self, id: u64) -> Option<(UserId, Registered)> {
        let connection = self.connections.get(&id)?;
        Some((connection.user, connection.registered))
    }

    /// A connection was registered at `now`.
    pub(crate) fn registered(&mut self, id: u64, now: Instant) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !std::mem::replace(&mut connection.has_turn, true)
        {
            self.turns.push_back((now + self.refresh, id));
        }
    }

    /// Everybody who is here, or went within the grace.
    pub(crate) fn everybody(&self) -> Vec<(u64, UserId, Registered)> {
        let here = self.connections.iter().map(|(id, one)| (*id, one));
        let gone = self.gone.iter().map(|(_, id, one)| (*id, one));
        let all = here.chain(gone);
        all.map(|(id, one)| (id, one.user, one.registered))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn user(n: u128) -> UserId {
        UserId(Uuid::from_u128(n))
    }

    fn books() -> (Books, Instant) {
        (Books::new(20 * SECOND, 5 * SECOND), Instant::now())
    }

    impl Books {
        fn come(&mut self, id: u64) {
            let login = SessionId(Uuid::nil());
            self.join(id, user(id.into()), login, Activity::Active, 1);
        }

        /// Does everything that is due; gives what it was.
        fn done(&mut self, now: Instant) -> Vec<Job> {
            let jobs = self.take(now, 100);
            for job in &jobs {
                if let Job::Register { id, .. } = job {
                    self.registered(*id, now);
                }
            }
            jobs
        }
    }

    const fn news(id: u64) -> Job {
        Job::Register { id, is_news: true }
    }

    const fn again(id: u64) -> Job {
        Job::Register { id, is_news: false }
    }

    /// row:D07: a connection is registered at once, again before its lease is over for as long as it is there, and taken
    /// out when it has gone.
    #[test]
    fn a_connection_is_registered_again_and_again_until_it_goes() {
        let (mut books, begin) = books();
        books.come(1);
        assert_eq!(
            books.done(begin),
            [Job::Process { is_again: false }, news(1)]
        );
        // More than half an hour.
        for n in 1..=100 {
            let turn = begin + n * 20 * SECOND;
            assert_eq!(books.next(begin), turn);
            assert_eq!(books.done(turn.checked_sub(SECOND).unwrap()), []);
            assert_eq!(
                books.done(turn),
                [Job::Process { is_again: true }, again(1)]
            );
        }
        let end = begin + 2001 * SECOND;
        books.leave(1, end);
        assert_eq!(books.done(end + 4 * SECOND), [], "it may come back");
        let user = user(1);
        assert_eq!(books.done(end + 5 * SECOND), [Job::Remove { id: 1, user }]);
        assert_eq!(
            books.done(end + 60 * SECOND),
            [Job::Process { is_again: true }]
        );
        assert_eq!(books.turns.len() + books.news.len() + books.gone.len(), 0);
    }

    #[test]
    fn only_a_change_is_told_and_none_makes_more_turns() {
        let (mut books, begin) = books();
        books.come(1);
        books.done(begin);
        assert!(!books.set(1, Activity::Active, 2) && !books.set(7, Activity::Idle, 2));
        for _ in 0..10 {
            assert!(books.set(1, Activity::Idle, 3) && books.set(1, Activity::Active, 4));
            assert_eq!(books.next(begin), begin);
            assert_eq!(books.done(begin), [news(1)], "changes are merged");
        }
        assert_eq!(books.turns.len(), 1);
        let (_, registered) = books.connection(1).unwrap();
        assert_eq!((registered.state, registered.since), (Activity::Active, 4));
    }

    /// row:D12, fault:F28: after a loss everybody is registered and told anew, once.
    #[test]
    fn after_a_loss_everybody_is_registered_anew() {
        let (mut books, begin) = books();
        for id in 1..=3 {
            books.come(id);
        }
        books.done(begin);
        books.leave(3, begin);
        books.lose();
        let mut jobs = books.done(begin + SECOND);
        jobs.sort_by_key(|job| matches!(job, Job::Register { id: 2, .. }));
        assert_eq!(jobs, [Job::Process { is_again: false }, news(1), news(2)]);
        assert_eq!(books.done(begin + 20 * SECOND), []);
        assert_eq!(books.done(begin + 21 * SECOND).len(), 3);
    }

    #[test]
    fn work_is_handed_out_in_pieces() {
        let (mut books, begin) = books();
        for id in 0..25 {
            books.come(id);
        }
        let sizes: Vec<_> = (0..4).map(|_| books.take(begin, 10).len()).collect();
        assert_eq!(sizes, [10, 10, 6, 0]);
    }
}
