//! Messages that wait in the log to be stored, as a gateway writes them: more of them at once than sockets would bring.

use anyhow::Result;
use serde_json::json;
use uuid::Uuid;

use crate::{
    event::{COUNT_DIGITS, TEXT_LENGTH},
    floor::kafka,
    ledger::Tally,
    machine,
    servers::Place,
    world::Pair,
};

/// What waits in the log; the second member of each chat says it.
pub(super) struct Waiting<'a> {
    place: &'a Place,
    appender: kafka::Appender,
    pairs: &'a [Pair],
    millis: u64,
    sent: u64,
}

impl<'a> Waiting<'a> {
    /// For the log at `place`; each chat's texts are numbered from 0.
    pub(super) fn open(place: &'a Place, pairs: &'a [Pair]) -> Result<Self> {
        Ok(Self {
            place,
            appender: kafka::appender(&place.brokers)?,
            pairs,
            millis: machine::unix_millis(),
            sent: 0,
        })
    }

    /// Appends `count` sends, as a gateway writes them.
    pub(super) fn add(&mut self, count: u64) -> Result<()> {
        let (topic, chats) = (self.place.persist(), self.pairs.len());
        let filler = "x".repeat(TEXT_LENGTH - COUNT_DIGITS);
        for number in self.sent..self.sent + count {
            let pair = &self.pairs[usize::try_from(number)? % chats];
            let key = u128::from(self.millis) << 80 | 7 << 76 | 2 << 62 | u128::from(number);
            let send = json!({
                "t": "send",
                "chat": pair.chat,
                "author": pair.members[1].id,
                "key": Uuid::from_u128(key).to_string(),
                "text": format!("{:010}{filler}", number / chats as u64),
            });
            kafka::append(
                &self.appender,
                &topic,
                &pair.chat,
                send.to_string().as_bytes(),
            )?;
        }
        self.sent += count;
        kafka::flush(&self.appender)
    }

    /// What is in the tables at the end: everything once, in each chat in the order in which it was sent.
    pub(super) fn tally(&self) -> Result<Tally> {
        let authors = self
            .pairs
            .iter()
            .map(|pair| Uuid::parse_str(&pair.members[1].id));
        let authors = authors.collect::<Result<Vec<_>, _>>()?;
        let row = self.place.connect()?.query_one(
            "SELECT COUNT(*), COUNT(*) FILTER (WHERE number <> place) FROM (
                 SELECT CAST(SUBSTR(CAST(payload AS JSON)->>'text', 1, 10) AS BIGINT) AS number,
                        ROW_NUMBER() OVER (PARTITION BY chat_id ORDER BY o) - 1 AS place
                 FROM message.event WHERE author = ANY($1) AND seq IS NOT NULL) stored",
            &[&authors],
        )?;
        let (stored, misplaced): (i64, i64) = (row.get(0), row.get(1));
        let stored = u64::try_from(stored)?;
        Ok(Tally {
            delivered: stored.min(self.sent),
            missing: self.sent.saturating_sub(stored),
            duplicate: stored.saturating_sub(self.sent),
            misordered: u64::try_from(misplaced)?,
        })
    }
}
