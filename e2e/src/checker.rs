//! The black-box checker: people who send through crashes, and a judge who reads only what they saw.
//!
//! A [`Talker`] keeps an outbox and a position as the SDK does. The judge compares what was confirmed and
//! what was seen live with the final history; it knows nothing of tables.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{Person, Socket};

/// How many sends of one person may be unanswered.
const WINDOW: usize = 8;

/// What one person did and saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Key to `(seq, o)`, as the server confirmed it.
    pub confirmed: HashMap<String, (i64, i64)>,
    /// Position to text, as events came.
    pub live: BTreeMap<i64, String>,
    /// Confirmations of one key that did not agree, events that changed, refusals: all of them wrong.
    pub wrong: Vec<String>,
    /// Connections that could not be made, or broke before everything was said and heard.
    pub interruptions: usize,
}

/// A person who says `count` things in one chat and hears everything.
pub struct Talker {
    pub person: Person,
    pub chat: String,
    pub count: usize,
    pub seen: Arc<Mutex<Seen>>,
    /// Says nothing more in the middle before the connection was broken once.
    pub pauses: bool,
}

/// Where in the stream a talker is.
struct Place {
    epoch: Value,
    o: i64,
}

impl Talker {
    /// The text of one send: unique, and it names its chat, so that a leak shows by itself.
    fn text(&self, n: usize) -> String {
        format!("{}|{}|{n}", self.chat, self.person.id)
    }

    /// Sends everything, through as many connections as it takes, then listens until `heard` messages have come.
    pub async fn talk(self, heard: usize) {
        let mut outbox: VecDeque<(String, String)> = (0..self.count)
            .map(|n| (crate::key(), self.text(n)))
            .collect();
        let mut place = Place {
            epoch: Value::Null,
            o: 0,
        };
        loop {
            let Some(mut socket) = self.connect(&mut place).await else {
                self.seen.lock().interruptions += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            if self
                .converse(&mut socket, &mut outbox, &mut place, heard)
                .await
            {
                return;
            }
            self.seen.lock().interruptions += 1;
        }
    }

    async fn connect(&self, place: &mut Place) -> Option<Socket> {
        if place.epoch.is_null() {
            let chat = self
                .person
                .http
                .get(self.person.url(&format!("/api/chats/{}", self.chat)));
            let chat = chat.bearer_auth(&self.person.token).send().await.ok()?;
            let chat: Value = chat.json().await.ok()?;
            place.epoch = chat["pos"]["e"].clone();
        }
        let mut socket = Socket::open(self.person.server, "127.0.0.1", &[])
            .await
            .ok()?;
        let resume = json!({ format!("c:{}", self.chat): { "e": place.epoch, "o": place.o } });
        socket.write(&json!({ "t": "hello", "d": { "proto": 1, "token": self.person.token, "resume": resume } })).await;
        Some(socket)
    }

    /// Works one connection; `true` when everything was said and heard.
    async fn converse(
        &self,
        socket: &mut Socket,
        outbox: &mut VecDeque<(String, String)>,
        place: &mut Place,
        heard: usize,
    ) -> bool {
        let mut asked: VecDeque<(u64, String)> = VecDeque::new();
        let mut is_ready = false;
        loop {
            if outbox.is_empty() && self.seen.lock().live.len() >= heard {
                return true;
            }
            let is_paused = self.pauses && self.seen.lock().interruptions == 0;
            let kept_back = if is_paused { self.count / 2 } else { 0 };
            while is_ready && asked.len() < WINDOW && asked.len() + kept_back < outbox.len() {
                let (key, text) = &outbox[asked.len()];
                let content = json!({ "chat": self.chat, "key": key, "text": text });
                asked.push_back((socket.command("msg.send", content).await, key.clone()));
            }
            let Some(frame) = socket.within(Duration::from_secs(12)).await else {
                return false;
            };
            if let Some(id) = frame["id"].as_u64() {
                let Some(at) = asked.iter().position(|(asked, _)| *asked == id) else {
                    continue;
                };
                if at != 0 || !self.take_answer(&frame, &asked[0].1) {
                    // Come back and repeat what is open, in its order.
                    return false;
                }
                asked.pop_front();
                outbox.pop_front();
            } else if frame["t"] == "ready" {
                is_ready = true;
            } else if frame["t"] == "gap" || frame["t"] == "lag" {
                // The kept history is far longer than any of these runs: a gap would be a loss.
                self.seen
                    .lock()
                    .wrong
                    .push(format!("the resume failed: {frame}"));
                return false;
            } else if let Some(o) = frame["o"].as_i64()
                && !self.take_event(&frame, o, place)
            {
                return false;
            }
        }
    }

    /// Notes a confirmation; `false` when the outcome is open.
    fn take_answer(&self, frame: &Value, key: &str) -> bool {
        let mut seen = self.seen.lock();
        if let (Some(seq), Some(o)) = (frame["ok"]["seq"].as_i64(), frame["ok"]["o"].as_i64()) {
            let before = seen.confirmed.insert(key.to_owned(), (seq, o));
            if before.is_some_and(|before| before != (seq, o)) {
                seen.wrong
                    .push(format!("two confirmations of {key} differ"));
            }
            return true;
        }
        if frame["err"]["fatal"] != false {
            seen.wrong.push(format!("refused for good: {frame}"));
        }
        false
    }

    /// Applies an event; `false` at a hole, which the next connection fills.
    fn take_event(&self, frame: &Value, o: i64, place: &mut Place) -> bool {
        if o > place.o + 1 {
            return false;
        }
        let mut seen = self.seen.lock();
        if let Some(text) = frame["d"]["text"].as_str() {
            let before = seen.live.insert(o, text.to_owned());
            if before.is_some_and(|before| before != text) {
                seen.wrong
                    .push(format!("event {o} of {} changed", self.chat));
            }
        }
        place.o = place.o.max(o);
        true
    }
}

/// What the judge counts; all of it should be zero but the first two.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub confirmed: usize,
    pub interruptions: usize,
    pub lost: usize,
    pub duplicated: usize,
    pub misordered: usize,
    pub leaked: usize,
    pub wrong: Vec<String>,
}

impl Verdict {
    /// Judges one chat by the final history and by what its people saw.
    pub fn judge(&mut self, chat: &str, history: &[Value], people: &[&Seen]) {
        let mut by_key: HashMap<&str, Vec<(i64, i64)>> = HashMap::new();
        let mut last_of_author: HashMap<&str, i64> = HashMap::new();
        let mut texts = BTreeMap::new();
        let mut place = (0, 0);
        for message in history {
            let (seq, o) = (
                message["seq"].as_i64().unwrap(),
                message["o"].as_i64().unwrap(),
            );
            let text = message["text"].as_str().unwrap();
            by_key
                .entry(message["key"].as_str().unwrap())
                .or_default()
                .push((seq, o));
            let (in_chat, rest) = text.split_once('|').unwrap();
            let ordinal: i64 = rest.rsplit_once('|').unwrap().1.parse().unwrap();
            let last = last_of_author
                .entry(message["author"].as_str().unwrap())
                .or_insert(-1);
            if seq != place.0 + 1 || o <= place.1 || ordinal != *last + 1 {
                self.misordered += 1;
                self.wrong.push(format!(
                    "{ordinal} of {} at {:?} after {last}, {place:?}",
                    message["author"],
                    (seq, o)
                ));
            }
            self.leaked += usize::from(in_chat != chat);
            *last = ordinal;
            place = (seq, o);
            texts.insert(o, text.to_owned());
        }
        self.duplicated += by_key.values().filter(|places| places.len() > 1).count();
        for seen in people {
            self.confirmed += seen.confirmed.len();
            self.interruptions += seen.interruptions;
            self.lost += seen
                .confirmed
                .iter()
                .filter(|(key, place)| by_key.get(key.as_str()) != Some(&vec![**place]))
                .count();
            self.leaked += seen
                .live
                .values()
                .filter(|text| !text.starts_with(chat))
                .count();
            self.lost += texts
                .iter()
                .filter(|(o, text)| seen.live.get(o) != Some(text))
                .count();
            self.wrong.extend(seen.wrong.iter().cloned());
        }
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        let Self {
            lost,
            duplicated,
            misordered,
            leaked,
            wrong,
            ..
        } = self;
        (*lost, *duplicated, *misordered, *leaked) == (0, 0, 0, 0) && wrong.is_empty()
    }
}
