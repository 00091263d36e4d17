//! A person who speaks and listens through crashes: with an outbox and a position, as the SDK has them.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use kit::CancellationToken;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    Person, Socket,
    checker::{Confirmed, Seen},
};

/// How many sends of one person may be unanswered.
const WINDOW: usize = 8;
/// How many things one who speaks now and then keeps in mind.
const MEMORY: usize = 32;
/// Whoever hears nothing for so long comes back; sends are answered sooner.
const SILENCE: Duration = Duration::from_secs(12);
/// How long a door may take to let somebody in.
const KNOCK: Duration = Duration::from_secs(3);
/// Before the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// What somebody says.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// So many things, as fast as they are taken; with `pauses` the second half only after the connection was broken once.
    All { count: usize, pauses: bool },
    /// One thing after the other until told to stop.
    Paced {
        every: Duration,
        enough: CancellationToken,
    },
    /// Nothing.
    Silent,
}

/// One device of a person in one chat.
pub(crate) struct Talker {
    pub(crate) person: Person,
    pub(crate) chat: String,
    /// Where it knocks, one after the other.
    pub(crate) doors: Vec<SocketAddr>,
    pub(crate) script: Script,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

/// What is said and not yet confirmed.
struct Intent {
    key: String,
    text: String,
    since: Instant,
}

/// The things to say that are not confirmed, in their order.
struct Outbox {
    intents: VecDeque<Intent>,
    next: Instant,
}

/// Where in the stream a talker is.
struct Place {
    epoch: Value,
    o: i64,
    /// The newest event of this connection.
    heard: i64,
}

impl Talker {
    /// Takes up what is to be said by now.
    fn think(&self, outbox: &mut Outbox) {
        let mut seen = self.seen.lock();
        loop {
            let is_due = match &self.script {
                Script::All { count, .. } => seen.said < *count,
                Script::Paced { enough, .. } => {
                    !enough.is_cancelled()
                        && outbox.intents.len() < MEMORY
                        && outbox.next <= Instant::now()
                }
                Script::Silent => false,
            };
            if !is_due {
                return;
            }
            outbox.intents.push_back(Intent {
                key: crate::key(),
                text: format!("{}|{}|{}", self.chat, self.person.id, seen.said),
                since: Instant::now(),
            });
            seen.said += 1;
            if let Script::Paced { every, .. } = self.script {
                outbox.next = Instant::now() + every;
            }
        }
    }

    fn outbox() -> Outbox {
        Outbox {
            intents: VecDeque::new(),
            next: Instant::now(),
        }
    }

    /// Speaks over HTTP, one thing after the other, each until it is confirmed; hears nothing.
    pub(crate) async fn post(self) {
        let mut outbox = Self::outbox();
        let (mut door, mut doors) = (self.doors[0], self.doors.iter().cycle().skip(1));
        loop {
            self.think(&mut outbox);
            let Some(intent) = outbox.intents.front() else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let url = format!("http://{door}/api/messages/{}", self.chat);
            let request = self.person.http.post(url).bearer_auth(&self.person.token);
            let request = request.json(&json!({ "key": intent.key, "text": intent.text }));
            let answer = async {
                let answer = request.send().await.ok()?;
                Some((answer.status().as_u16(), answer.json().await.ok()?))
            };
            let wrong = match answer.await {
                Some((200 | 201, stored)) => {
                    self.confirm(&outbox.intents.pop_front().unwrap(), &stored);
                    continue;
                }
                None | Some((503 | 504, _)) => None,
                Some((status, other)) => Some(format!("refused for good: {status} {other}")),
            };
            {
                let mut seen = self.seen.lock();
                seen.interruptions += 1;
                seen.wrong.extend(wrong);
            }
            tokio::time::sleep(PAUSE).await;
            door = *doors.next().unwrap();
        }
    }

    /// Speaks and listens through as many connections as it takes, until it is aborted.
    pub(crate) async fn talk(self) {
        let mut outbox = Self::outbox();
        let mut place = Place {
            epoch: Value::Null,
            o: 0,
            heard: 0,
        };
        for door in self.doors.iter().cycle() {
            if let Ok(Some(mut socket)) = timeout(KNOCK, self.connect(*door, &mut place)).await {
                self.converse(&mut socket, &mut outbox, &mut place).await;
            }
            self.seen.lock().interruptions += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn connect(&self, door: SocketAddr, place: &mut Place) -> Option<Socket> {
        if place.epoch.is_null() {
            let url = format!("http://{door}/api/chats/{}", self.chat);
            let chat = self.person.http.get(url).bearer_auth(&self.person.token);
            let chat: Value = chat.send().await.ok()?.json().await.ok()?;
            place.epoch = chat["pos"]["e"].clone();
        }
        let mut socket = Socket::open(door, "127.0.0.1", &[]).await.ok()?;
        let resume = json!({ format!("c:{}", self.chat): { "e": place.epoch, "o": place.o } });
        socket
            .write(&json!({ "t": "hello", "d": { "proto": 1, "token": self.person.token, "resume": resume } }))
            .await;
        place.heard = 0;
        Some(socket)
    }

    /// Works one connection until it is of no use any more.
    async fn converse(&self, socket: &mut Socket, outbox: &mut Outbox, place: &mut Place) {
        let mut asked: VecDeque<u64> = VecDeque::new();
        let mut is_ready = false;
        let mut last = Instant::now();
        loop {
            self.think(outbox);
            let kept_back = match self.script {
                Script::All { count, pauses } if pauses && self.seen.lock().interruptions == 0 => {
                    count / 2
                }
                _ => 0,
            };
            while is_ready && asked.len() < WINDOW && asked.len() + kept_back < outbox.intents.len()
            {
                let Intent { key, text, .. } = &outbox.intents[asked.len()];
                let content = json!({ "chat": self.chat, "key": key, "text": text });
                asked.push_back(socket.command("msg.send", content).await);
            }
            let patience = if is_ready { SILENCE } else { KNOCK };
            let Some(frame) = socket.within(self.until_next(outbox, patience)).await else {
                if socket.closed.is_some() || last.elapsed() > patience {
                    return;
                }
                continue;
            };
            last = Instant::now();
            if let Some(id) = frame["id"].as_u64() {
                let Some(at) = asked.iter().position(|asked| *asked == id) else {
                    continue;
                };
                // Whatever was not confirmed is repeated on another connection, in its order.
                if at != 0 || !self.take_answer(&frame, outbox) {
                    return;
                }
                asked.pop_front();
            } else if frame["t"] == "ready" {
                is_ready = true;
            } else if !self.take(&frame, place) {
                return;
            }
        }
    }

    /// How long to listen before there is something to say.
    fn until_next(&self, outbox: &Outbox, patience: Duration) -> Duration {
        match &self.script {
            Script::Paced { .. } if outbox.intents.len() < MEMORY => {
                let until = outbox.next.saturating_duration_since(Instant::now());
                until.clamp(Duration::from_millis(1), patience)
            }
            _ => patience,
        }
    }

    fn confirm(&self, intent: &Intent, stored: &Value) {
        let mut seen = self.seen.lock();
        let place = (stored["seq"].as_i64(), stored["o"].as_i64());
        let (Some(seq), Some(o)) = place else {
            return seen
                .wrong
                .push(format!("confirmed without a place: {stored}"));
        };
        let confirmed = Confirmed {
            seq,
            o,
            since: intent.since,
            at: Instant::now(),
        };
        if seen
            .confirmed
            .insert(intent.key.clone(), confirmed)
            .is_some()
        {
            seen.wrong
                .push(format!("{} is confirmed twice", intent.key));
        }
    }

    /// Notes a confirmation; `false` when the outcome is open.
    fn take_answer(&self, frame: &Value, outbox: &mut Outbox) -> bool {
        if frame["ok"].is_object() {
            self.confirm(&outbox.intents.pop_front().unwrap(), &frame["ok"]);
            return true;
        }
        if frame["err"]["fatal"] != false {
            let wrong = format!("refused for good: {frame}");
            self.seen.lock().wrong.push(wrong);
        }
        false
    }

    /// Applies what came by itself; `false` at a hole, which the next connection fills.
    fn take(&self, frame: &Value, place: &mut Place) -> bool {
        let mut seen = self.seen.lock();
        if let Some(stream) = frame["s"].as_str()
            && let Some(chat) = stream.strip_prefix("c:")
            && chat != self.chat
        {
            seen.leaked += 1;
            seen.wrong.push(format!("of another chat: {frame}"));
        }
        if frame["t"] == "gap" || frame["t"] == "lag" {
            // The kept history is far longer than any of these runs: a gap would be a loss.
            seen.wrong.push(format!("the stream is cut: {frame}"));
            return false;
        }
        let Some(o) = frame["o"].as_i64() else {
            return true;
        };
        if o > place.o + 1 {
            return false;
        }
        if o <= place.heard {
            seen.misordered += 1;
            seen.wrong.push(format!("after {}: {frame}", place.heard));
        }
        if let Some(text) = frame["d"]["text"].as_str() {
            let before = seen.live.insert(o, text.to_owned());
            if before.is_some_and(|before| before != text) {
                seen.wrong.push(format!("event {o} has changed: {frame}"));
            }
            if let Some((whose, n)) = text.rsplit_once('|') {
                let heard = seen.heard.entry(whose.to_owned()).or_default();
                *heard = n.parse::<usize>().map_or(*heard, |n| (n + 1).max(*heard));
            }
        }
        place.o = place.o.max(o);
        place.heard = o;
        true
    }
}
