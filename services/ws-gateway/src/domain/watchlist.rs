//! Whose presence one connection watches, and what it was told.

use std::collections::{HashMap, HashSet};

use contracts::{UserId, frames::PresenceState};

use super::Seen;

/// The people whom a connection wants to know about.
#[derive(Debug, Default)]
pub(crate) struct Watchlist {
    people: HashMap<UserId, Standing>,
    /// Rises when an answer that is under way does not count any more.
    round: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nobody has said yet whether they may be watched, or it is in doubt; and what was told last.
    Unasked(Option<PresenceState>),
    /// They may not.
    Stranger,
    /// They may, and this is what was told last.
    Peer(Option<PresenceState>),
}

/// Those of a list of whom it has to be asked whether they may be watched.
#[derive(Debug)]
pub(crate) struct Question {
    /// Who.
    pub(crate) people: Vec<UserId>,
    round: u64,
}

impl Watchlist {
    /// Watches `people` and nobody else. Gives those who were watched and are not any more.
    pub(crate) fn replace(&mut self, people: Vec<UserId>) -> Vec<UserId> {
        let wanted: HashSet<_> = people.into_iter().collect();
        let gone = self.people.extract_if(|user, _| !wanted.contains(user));
        let gone = gone.filter(|(_, standing)| matches!(standing, Standing::Peer(_)));
        let gone = gone.map(|(user, _)| user).collect();
        for user in wanted {
            self.people.entry(user).or_insert(Standing::Unasked(None));
        }
        gone
    }

    /// Who shares a chat with whom has changed: everybody has to be asked about again, and until then nobody is watched.
    /// Gives those who were.
    pub(crate) fn doubt(&mut self) -> Vec<UserId> {
        self.round += 1;
        let watched = self.watched();
        for standing in self.people.values_mut() {
            *standing = Standing::Unasked(match *standing {
                Standing::Unasked(told) | Standing::Peer(told) => told,
                Standing::Stranger => None,
            });
        }
        watched
    }

    /// Those who are watched.
    pub(crate) fn watched(&self) -> Vec<UserId> {
        let people = self.people.iter();
        let watched = people.filter(|(_, standing)| matches!(standing, Standing::Peer(_)));
        watched.map(|(user, _)| *user).collect()
    }

    /// What has to be asked.
    pub(crate) fn question(&self) -> Question {
        let people = self.people.iter();
        let unasked = people.filter(|(_, standing)| matches!(standing, Standing::Unasked(_)));
        Question {
            people: unasked.map(|(user, _)| *user).collect(),
            round: self.round,
        }
    }

    /// Takes an answer in: of those who were asked about, `peers` may be watched. Gives those who are from now on.
    pub(crate) fn decide(&mut self, question: &Question, peers: &[UserId]) -> Vec<UserId> {
        if question.round != self.round {
            return Vec::new();
        }
        let mut watched = Vec::new();
        for user in &question.people {
            let Some(standing) = self.people.get_mut(user) else {
                continue;
            };
            let Standing::Unasked(told) = *standing else {
                continue;
            };
            *standing = Standing::Stranger;
            if peers.contains(user) {
                *standing = Standing::Peer(told);
                watched.push(*user);
            }
        }
        watched
    }

    /// Those about whom something else is known than was told.
    pub(crate) fn news(&self, known: impl Fn(&UserId) -> Option<Seen>) -> Vec<(UserId, Seen)> {
        let people = self.people.iter();
        let news = people.filter_map(|(user, standing)| {
            let Standing::Peer(told) = standing else {
                return None;
            };
            let seen = known(user)?;
            (*told != Some(seen.state)).then_some((*user, seen))
        });
        news.collect()
    }

    /// Notes what was told.
    pub(crate) fn told(&mut self, news: &[(UserId, Seen)]) {
        for (user, seen) in news {
            if let Some(Standing::Peer(told)) = self.people.get_mut(user) {
                *told = Some(seen.state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const OFFLINE: Seen = Seen {
        state: PresenceState::Offline,
        since: None,
    };

    fn user(n: u128) -> UserId {
        UserId(Uuid::from_u128(n))
    }

    fn list(people: &[u128], peers: &[u128]) -> Watchlist {
        let mut list = Watchlist::default();
        list.replace(people.iter().copied().map(user).collect());
        let peers: Vec<_> = peers.iter().copied().map(user).collect();
        list.decide(&list.question(), &peers);
        list
    }

    /// row:D10, threat:T41: of strangers nothing is told, whatever is known.
    #[test]
    fn nothing_is_told_of_strangers_and_nothing_twice() {
        let mut list = list(&[1, 2], &[1]);
        assert!(list.news(|_| None).is_empty());
        let news = list.news(|_| Some(OFFLINE));
        assert_eq!(news, [(user(1), OFFLINE)]);
        list.told(&news);
        assert!(list.news(|_| Some(OFFLINE)).is_empty());
        assert!(
            list.question().people.is_empty(),
            "nobody is asked about twice"
        );
        assert_eq!(
            list.news(|_| Some(Seen::UNKNOWN)),
            [(user(1), Seen::UNKNOWN)]
        );
    }

    #[test]
    fn a_list_replaces_the_former_one() {
        let mut list = list(&[1, 2, 3], &[1, 2]);
        list.told(&[(user(1), OFFLINE)]);
        assert_eq!(list.replace(vec![user(1), user(4), user(4)]), [user(2)]);
        assert_eq!(list.watched(), [user(1)]);
        assert_eq!(list.question().people, [user(4)]);
        assert!(
            list.news(|_| Some(OFFLINE)).is_empty(),
            "who stays was told"
        );
    }

    /// threat:T41: an answer from before a removal grants nothing.
    #[test]
    fn a_doubt_takes_back_what_was_granted_and_what_is_being_asked() {
        let mut list = list(&[1], &[1]);
        list.replace(vec![user(1), user(2)]);
        let question = list.question();
        assert_eq!(list.doubt(), [user(1)]);
        assert!(list.decide(&question, &[user(2)]).is_empty());
        assert!(list.watched().is_empty() && list.news(|_| Some(OFFLINE)).is_empty());
        assert_eq!(list.question().people.len(), 2);
    }

    /// row:D10: what was told before a doubt is not told again after it, unless they were strangers meanwhile.
    #[test]
    fn a_doubt_makes_nobody_hear_a_thing_twice() {
        let mut list = list(&[1, 2], &[1, 2]);
        list.told(&[(user(1), OFFLINE), (user(2), OFFLINE)]);
        let mut doubt = |peers: &[u128]| {
            list.doubt();
            let peers: Vec<_> = peers.iter().copied().map(user).collect();
            list.decide(&list.question(), &peers);
            list.news(|_| Some(OFFLINE))
        };
        assert!(doubt(&[1]).is_empty());
        assert_eq!(doubt(&[1, 2]), [(user(2), OFFLINE)]);
    }
}
