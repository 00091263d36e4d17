//! The black-box checker: a judge who reads only what people said, were told and saw.
//!
//! It compares what was confirmed and what was seen live with the final history; it knows nothing of tables.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use serde_json::Value;

/// What one device did and saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// How many things were to be said so far.
    pub said: usize,
    /// By key, as the server confirmed it.
    pub confirmed: HashMap<String, Confirmed>,
    /// Position to text, as events came.
    pub live: BTreeMap<i64, String>,
    /// `chat|author` to how many of their things were heard.
    pub heard: HashMap<String, usize>,
    /// Events of other chats.
    pub leaked: usize,
    /// Events that came after a later one on the same connection.
    pub misordered: usize,
    /// What was wrong, in words: refusals, events that changed, streams that were cut, and the two above.
    pub wrong: Vec<String>,
    /// Connections that could not be made or broke, and sends with an open outcome.
    pub interruptions: usize,
}

/// Where a send is, and when.
#[derive(Clone, Copy, Debug)]
pub struct Confirmed {
    pub seq: i64,
    pub o: i64,
    /// When it was to be said.
    pub since: Instant,
    /// When it was confirmed.
    pub at: Instant,
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
    /// Judges one chat by the final history and by what its devices saw; `true` stands before those that listened.
    pub fn judge(&mut self, chat: &str, history: &[Value], devices: &[(bool, &Seen)]) {
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
        for (listened, seen) in devices {
            self.confirmed += seen.confirmed.len();
            self.interruptions += seen.interruptions;
            let is_kept = |key: &String, at: &Confirmed| {
                by_key.get(key.as_str()) == Some(&vec![(at.seq, at.o)])
            };
            let kept = seen.confirmed.iter().filter(|(key, at)| is_kept(key, at));
            self.lost += seen.confirmed.len() - kept.count();
            let mut foreign = seen.live.values().filter(|text| !text.starts_with(chat));
            self.leaked += seen.leaked + foreign.by_ref().count();
            self.misordered += seen.misordered;
            let heard = |(o, text): &(&i64, &String)| seen.live.get(o) == Some(text);
            if *listened {
                self.lost += texts.len() - texts.iter().filter(heard).count();
            }
            self.wrong.extend(seen.wrong.iter().cloned());
        }
        let confirmed = devices.iter().flat_map(|(_, seen)| seen.confirmed.values());
        self.check_times(chat, confirmed.copied().collect());
    }

    /// What was to be said after something was confirmed stands behind it.
    fn check_times(&mut self, chat: &str, mut sends: Vec<Confirmed>) {
        let mut by_end = sends.clone();
        by_end.sort_unstable_by_key(|send| send.at);
        sends.sort_unstable_by_key(|send| send.since);
        let (mut ended, mut newest) = (by_end.into_iter().peekable(), 0);
        for send in sends {
            while let Some(before) = ended.next_if(|before| before.at < send.since) {
                newest = newest.max(before.seq);
            }
            if send.seq <= newest {
                self.misordered += 1;
                let seq = send.seq;
                self.wrong
                    .push(format!("{seq} of {chat} was said after {newest}"));
            }
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
