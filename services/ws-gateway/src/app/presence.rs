//! Who is told how present whom is.
//!
//! A connection names the people whom it has on screen. `message` says which of them share a chat with its person; of the
//! others nothing is ever told. The truth is the registry: that a group has changed is said in a channel, which this
//! process follows for those who are watched here, and then the group is read. What was published and not heard is found
//! out by reading the groups of all who are watched from time to time. While the cache is away, people are `unknown`.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use cache::{Audience, Cache, Error, Following};
use contracts::{
    UserId,
    frames::{self, PRESENCE},
    message::MessageClient,
};
use futures_util::{StreamExt as _, stream};
use kit::{Call, Clock, Fault};
use parking_lot::Mutex;
use realtime::{Watcher as _, Watchers};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    registry::{channel, group},
    topic::Link,
};
use crate::{
    domain::{Registered, Seen},
    metrics,
};

/// Connections hear of changes at most so often; what happens in between is merged.
const PAUSE: Duration = Duration::from_secs(1);
/// Groups that are read at once.
const READS: usize = 64;
/// Questions to `message` at once.
const QUESTIONS: usize = 16;
/// When a question that was not answered is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// The watchers of this process.
pub(crate) struct Presence {
    cache: Arc<dyn Cache>,
    message: MessageClient,
    clock: Arc<dyn Clock>,
    reread: Duration,
    watchers: Watchers<UserId, Link>,
    following: Following,
    agenda: Mutex<Agenda>,
    has_work: Notify,
    /// Connections with people of whom `message` was not asked.
    unasked: Mutex<HashMap<u64, Arc<Link>>>,
    /// Connections whose question `message` has before it.
    asking: Mutex<HashMap<u64, Arc<Link>>>,
    has_unasked: Notify,
}

/// What the next round has to do.
#[derive(Default)]
struct Agenda {
    /// People whose group is to be read.
    due: HashSet<UserId>,
    /// Connections that may have to be told something.
    untold: HashMap<u64, Arc<Link>>,
}

/// What is known of those who are watched here, and when it was read.
type Known = HashMap<UserId, (Seen, Instant)>;

impl Presence {
    pub(crate) fn new(
        cache: Arc<dyn Cache>,
        message: MessageClient,
        clock: Arc<dyn Clock>,
        reread: Duration,
    ) -> Self {
        Self {
            cache,
            message,
            clock,
            reread,
            watchers: Watchers::default(),
            following: Following::default(),
            agenda: Mutex::default(),
            has_work: Notify::new(),
            unasked: Mutex::default(),
            asking: Mutex::default(),
            has_unasked: Notify::new(),
        }
    }

    /// A connection watches `people` and nobody else.
    pub(crate) fn watch(&self, link: &Arc<Link>, people: Vec<UserId>) {
        let mut list = link.watchlist.lock();
        let list = list.get_or_insert_default();
        self.release(link, list.replace(people));
        if !list.question().people.is_empty() {
            self.ask_about(link);
        }
    }

    /// The chats of the person behind a connection have changed.
    pub(crate) fn doubt(&self, link: &Arc<Link>) {
        if let Some(list) = link.watchlist.lock().as_mut() {
            self.release(link, list.doubt());
            self.ask_about(link);
        }
    }

    /// A person has left a chat in which somebody here is. An answer that is under way may not know of it.
    pub(crate) fn left(&self, user: UserId) {
        let mut links: Vec<_> = self.asking.lock().values().cloned().collect();
        self.watchers.each(&user, |link| links.push(link.clone()));
        for link in links {
            self.doubt(&link);
        }
    }

    /// A connection has ended.
    pub(crate) fn leave(&self, link: &Link) {
        if let Some(list) = link.watchlist.lock().take() {
            self.release(link, list.watched());
        }
    }

    fn release(&self, link: &Link, people: Vec<UserId>) {
        for user in people {
            if self.watchers.unwatch(user, link) {
                self.following.change(channel(user));
            }
        }
    }

    fn ask_about(&self, link: &Arc<Link>) {
        self.unasked.lock().insert(link.id(), link.clone());
        self.has_unasked.notify_one();
    }

    /// Tells watchers what happens, for good.
    pub(crate) async fn follow(&self) {
        let channels = self.following.follow(self.cache.as_ref(), self);
        tokio::join!(channels, self.ask(), self.tell_news());
    }

    /// Asks `message` about those of whom it was not asked yet. Nobody waits for its answers.
    async fn ask(&self) {
        loop {
            self.has_unasked.notified().await;
            let links = std::mem::take(&mut *self.unasked.lock());
            let asking = stream::iter(links.into_values()).map(|link| self.ask_for(link));
            let answered: Vec<_> = asking.buffer_unordered(QUESTIONS).collect().await;
            // What befell one befell all.
            if let Some(fault) = answered.into_iter().find_map(Result::err) {
                fault.report("presence");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn ask_for(&self, link: Arc<Link>) -> Result<(), Fault> {
        self.asking.lock().insert(link.id(), link.clone());
        let learned = self.learn(&link).await;
        self.asking.lock().remove(&link.id());
        learned
    }

    /// Learns whom a connection may watch; without an answer it is asked again.
    async fn learn(&self, link: &Arc<Link>) -> Result<(), Fault> {
        let question = link.watchlist.lock().as_ref().map(|list| list.question());
        let Some(question) = question.filter(|question| !question.people.is_empty()) else {
            return Ok(());
        };
        let call = Call::internal("presence");
        let peers = self
            .message
            .peers(&call, link.user, question.people.clone());
        let peers = call.run(peers).await;
        let peers = peers.inspect_err(|_| self.ask_about(link))?;
        // A connection that has ended meanwhile has no list any more.
        if let Some(list) = link.watchlist.lock().as_mut() {
            let watched = list.decide(&question, &peers);
            let mut agenda = self.agenda.lock();
            for user in watched {
                if self.watchers.watch(user, link) {
                    self.following.change(channel(user));
                    agenda.due.insert(user);
                }
            }
            agenda.untold.insert(link.id(), link.clone());
        }
        self.has_work.notify_one();
        Ok(())
    }

    async fn tell_news(&self) {
        let mut known = Known::new();
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.round(&mut known).await {
                ticks.tick().await;
                continue;
            }
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.has_work.notified() => ticks.reset(),
            }
        }
    }

    /// Reads what is due and tells what is new; `false` when there was nothing to do.
    async fn round(&self, known: &mut Known) -> bool {
        let due = self.due(known);
        if !due.is_empty() && self.read(&due, known).await.is_err() {
            metrics::cache_failed("read");
            for user in self.watchers.keys() {
                self.note(user, Seen::UNKNOWN, known);
            }
            self.agenda.lock().due.extend(&due);
        }
        let has_told = self.tell(known);
        has_told || !due.is_empty()
    }

    /// Those whose group has changed, was never read, or was read long ago.
    fn due(&self, known: &mut Known) -> HashSet<UserId> {
        let watched = self.watchers.keys();
        metrics::watched(watched.len());
        known.retain(|user, _| self.watchers.is_watched(user));
        let mut due = std::mem::take(&mut self.agenda.lock().due);
        due.retain(|user| self.watchers.is_watched(user));
        let now = Instant::now();
        let is_old = |user: &UserId| {
            known
                .get(user)
                .is_none_or(|(_, at)| *at + self.reread <= now)
        };
        due.extend(watched.into_iter().filter(is_old));
        due
    }

    async fn read(&self, due: &HashSet<UserId>, known: &mut Known) -> Result<(), Error> {
        let people: Vec<_> = due.iter().copied().collect();
        let reading = stream::iter(people).map(|user| self.connections(user));
        let mut reading = std::pin::pin!(reading.buffer_unordered(READS));
        while let Some(read) = reading.next().await {
            let (user, connections) = read?;
            let before = known.get(&user).map(|(seen, _)| *seen);
            let seen = Seen::of(&connections, before, self.clock.now_ms());
            self.note(user, seen, known);
        }
        Ok(())
    }

    /// A person and their connections.
    async fn connections(&self, user: UserId) -> Result<(UserId, Vec<Registered>), Error> {
        let members = self.cache.members(&group(user)).await?;
        // What a later version of the program has written may not be readable.
        let connections = members
            .iter()
            .filter_map(|(_, value)| serde_json::from_slice(value).ok());
        Ok((user, connections.collect()))
    }

    /// Takes in what is known of a person now.
    fn note(&self, user: UserId, seen: Seen, known: &mut Known) {
        let before = known.insert(user, (seen, Instant::now()));
        if before.is_some_and(|(before, _)| before.state == seen.state) {
            return;
        }
        let mut links = Vec::new();
        self.watchers.each(&user, |link| links.push(link.clone()));
        let links = links.into_iter().map(|link| (link.id(), link));
        self.agenda.lock().untold.extend(links);
    }

    /// Tells connections what they have not been told. One whose client takes nothing at the moment is told later, and
    /// then only what holds by then.
    fn tell(&self, known: &Known) -> bool {
        let untold = std::mem::take(&mut self.agenda.lock().untold);
        let is_busy = !untold.is_empty();
        for (id, link) in untold {
            let mut list = link.watchlist.lock();
            let Some(list) = list.as_mut() else { continue };
            let news = list.news(|user| known.get(user).map(|(seen, _)| *seen));
            if news.is_empty() {
                continue;
            }
            let frame = realtime::ephemeral(PRESENCE, &content(&news));
            let is_open = link.is_welcome.load(Relaxed) && link.socket.is_quiet();
            if is_open && link.socket.send_event(&frame).is_ok() {
                list.told(&news);
            } else {
                self.agenda.lock().untold.insert(id, link.clone());
            }
        }
        is_busy
    }
}

fn content(news: &[(UserId, Seen)]) -> Vec<frames::Presence> {
    let content = news.iter().map(|(user, seen)| frames::Presence {
        user: *user,
        state: seen.state,
        since: seen.since.map(kit::rfc3339),
    });
    content.collect()
}

impl Audience for Presence {
    fn channels(&self) -> Vec<String> {
        self.watchers.keys().into_iter().map(channel).collect()
    }

    fn wants(&self, channel: &str) -> bool {
        person(channel).is_some_and(|user| self.watchers.is_watched(&user))
    }

    fn hear(&self, channel: &str, _: Bytes) {
        if let Some(user) = person(channel) {
            self.agenda.lock().due.insert(user);
            self.has_work.notify_one();
        }
    }

    fn begins(&self) {
        self.agenda.lock().due.extend(self.watchers.keys());
        self.has_work.notify_one();
    }
}

/// Whose channel it is.
fn person(channel: &str) -> Option<UserId> {
    channel.rsplit_once(':')?.1.parse().ok()
}
