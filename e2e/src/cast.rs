//! Everybody who talks in a run that breaks something, and whether all of them have caught up.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use kit::CancellationToken;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    Person,
    checker::{Seen, Verdict},
    talker::{Script, Talker},
};

/// People of one installation, two in each chat, and what their devices have seen.
pub struct Cast {
    chats: Vec<Conversation>,
    doors: Vec<SocketAddr>,
    talking: JoinSet<()>,
    enough: CancellationToken,
}

struct Conversation {
    chat: String,
    people: [Person; 2],
    devices: Vec<Device>,
}

struct Device {
    listens: bool,
    speaks: bool,
    seen: Arc<Mutex<Seen>>,
}

/// What everybody had to say at some moment.
pub struct Mark(Vec<Vec<usize>>);

impl Cast {
    /// So many chats; people knock at the doors one after the other, not all of them first at the same.
    pub async fn gather(doors: &[SocketAddr], chats: usize) -> Self {
        let person = |n: usize| Person::register_at(doors[n % doors.len()], "talker");
        let people = join_all((0..2 * chats).map(person)).await;
        let chats = people.chunks(2).map(async |pair| Conversation {
            chat: pair[0].chat_with(&pair[1]).await,
            people: [pair[0].clone(), pair[1].clone()],
            devices: Vec::new(),
        });
        Self {
            chats: join_all(chats).await,
            doors: doors.to_vec(),
            talking: JoinSet::new(),
            enough: CancellationToken::new(),
        }
    }

    /// Everybody says `each` things as fast as they are taken; see [`Script::All`].
    pub fn talk(&mut self, each: usize, pauses: bool) {
        let script = Script::All {
            count: each,
            pauses,
        };
        for chat in 0..self.chats.len() {
            for who in 0..2 {
                self.device(chat, who, script.clone(), who, true);
            }
        }
    }

    /// Everybody says something every so often, until [`Cast::end`]. In every second chat one of the two speaks over HTTP;
    /// each chat has a device that only listens, at another door than its speaker.
    pub fn chatter(&mut self, every: Duration) {
        let script = Script::Paced {
            every,
            enough: self.enough.clone(),
        };
        for chat in 0..self.chats.len() {
            self.device(chat, 0, script.clone(), chat, true);
            self.device(chat, 1, script.clone(), chat + 1, chat % 2 == 0);
            self.device(chat, 1, Script::Silent, chat + 1, true);
        }
    }

    fn device(&mut self, chat: usize, who: usize, script: Script, door: usize, listens: bool) {
        let conversation = &mut self.chats[chat];
        let mut doors = self.doors.clone();
        doors.rotate_left(door % self.doors.len());
        let seen = Arc::default();
        conversation.devices.push(Device {
            listens,
            speaks: !matches!(script, Script::Silent),
            seen: Arc::clone(&seen),
        });
        let talker = Talker {
            person: conversation.people[who].clone(),
            chat: conversation.chat.clone(),
            doors,
            script,
            seen,
        };
        if listens {
            self.talking.spawn(talker.talk());
        } else {
            self.talking.spawn(talker.post());
        }
    }

    /// How many sends were confirmed so far.
    pub fn confirmed(&self) -> usize {
        let devices = self.chats.iter().flat_map(|chat| &chat.devices);
        devices
            .map(|device| device.seen.lock().confirmed.len())
            .sum()
    }

    /// What everybody had to say until now.
    pub fn mark(&self) -> Mark {
        let said = |device: &Device| device.seen.lock().said;
        let of = |chat: &Conversation| chat.devices.iter().map(said).collect();
        Mark(self.chats.iter().map(of).collect())
    }

    /// Whether everything up to `mark` is settled, and something later from everybody was confirmed and heard by everybody
    /// in the chat.
    pub fn has_caught_up(&self, mark: &Mark) -> bool {
        let mut chats = self.chats.iter().zip(&mark.0);
        chats.all(|(chat, said)| chat.has_caught_up(said))
    }

    /// Nobody says anything new.
    pub fn end(&self) {
        self.enough.cancel();
    }

    /// Whether everything that was to be said is confirmed and was heard by everybody in the chat.
    pub fn is_settled(&self) -> bool {
        self.chats.iter().all(Conversation::is_settled)
    }

    /// Waits until [`Cast::is_settled`]; `false` when that takes longer than `patience`.
    pub async fn settled(&self, patience: Duration) -> bool {
        let settling = async {
            while !self.is_settled() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(patience, settling).await.is_ok()
    }

    /// What became of everything.
    pub async fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for conversation in &self.chats {
            let history = conversation.history().await;
            let seen: Vec<_> = conversation
                .devices
                .iter()
                .map(|device| (device.listens, device.seen.lock()))
                .collect();
            let devices: Vec<_> = seen
                .iter()
                .map(|(listens, seen)| (*listens, &**seen))
                .collect();
            verdict.judge(&conversation.chat, &history, &devices);
        }
        verdict
    }
}

impl Conversation {
    fn has_caught_up(&self, said: &[usize]) -> bool {
        let speakers = self
            .devices
            .iter()
            .zip(said)
            .filter(|(device, _)| device.speaks);
        speakers.enumerate().all(|(at, (device, said))| {
            let name = format!("{}|{}", self.chat, self.people[at].id);
            let is_confirmed = device.seen.lock().confirmed.len() > *said;
            let has_heard = |listener: &Device| listener.seen.lock().heard.get(&name) > Some(said);
            is_confirmed && self.listeners().all(has_heard)
        })
    }

    fn listeners(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| device.listens)
    }

    fn is_settled(&self) -> bool {
        let seen = self.devices.iter().map(|device| device.seen.lock());
        let (said, confirmed) = seen.fold((0, 0), |(said, confirmed), seen| {
            (said + seen.said, confirmed + seen.confirmed.len())
        });
        said > 0
            && said == confirmed
            && self
                .listeners()
                .all(|listener| listener.seen.lock().live.len() >= said)
    }

    async fn history(&self) -> Vec<Value> {
        let (mut history, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/api/messages/{}?after={after}&limit=200", self.chat);
            let page = self.people[0].get(&path).await.ok();
            history.extend(page["messages"].as_array().unwrap().iter().cloned());
            after = history
                .last()
                .map_or(0, |message: &Value| message["seq"].as_i64().unwrap());
            if page["more"] == false {
                return history;
            }
        }
    }
}
