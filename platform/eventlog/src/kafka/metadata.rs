//! Which topics exist, with which identity: one question, asked over a connection of its own.
//!
//! The client library knows the identity of a topic and gives it only to C. So this asks the way that every
//! Kafka client does, with a Metadata request of version 12 (Kafka 3.1 and later).

use std::{io, sync::Arc, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Mutex,
    time::timeout,
};
use uuid::Uuid;

use super::settings::{Broker, CLIENT};
use crate::Error;

/// The longest that one broker may take, connecting included.
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest answer: a thousand topics with a thousand partitions have 40 MB.
const MAX_ANSWER: usize = 64 << 20;
const METADATA: i16 = 3;
const VERSION: i16 = 12;
/// Kafka's numbers for a topic that it does not have.
const UNKNOWN_TOPIC: i16 = 3;

/// What a broker says of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is there.
    Known {
        /// Kafka's own identity of it.
        id: Uuid,
        /// Number of partitions.
        partitions: u32,
        /// How often their leaders took office, all together; absent while one has no leader.
        terms: Option<i64>,
    },
    /// It is not there.
    Missing,
    /// It is about to be there, or the broker has another trouble with it: Kafka's error number.
    Unsettled(i16),
}

/// Asks one broker after the other until one answers.
pub(super) struct Asker {
    brokers: Vec<Broker>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    stream: Option<TcpStream>,
    /// Which broker is asked.
    turn: usize,
    questions: i32,
}

impl Asker {
    pub(super) fn new(brokers: Vec<Broker>) -> Self {
        Self {
            brokers,
            open: Mutex::default(),
        }
    }

    /// What they tell of these topics.
    pub(super) async fn ask(&self, names: &[Arc<str>]) -> Result<Answer, Error> {
        let mut open = self.open.lock().await;
        let mut trouble = None;
        // A connection that was idle may be dead: the broker behind it is tried once more.
        for _ in 0..=self.brokers.len() {
            let broker = &self.brokers[open.turn % self.brokers.len()];
            let was_open = open.stream.is_some();
            match timeout(PATIENCE, open.exchange(broker, names)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => trouble = Some(format!("{broker}: {error}")),
                Err(_) => trouble = Some(format!("{broker} does not answer")),
            }
            if !was_open {
                open.turn = open.turn.wrapping_add(1);
            }
        }
        Err(Error::Unavailable(trouble.unwrap_or_default()))
    }
}

impl Open {
    async fn exchange(&mut self, broker: &Broker, names: &[Arc<str>]) -> io::Result<Answer> {
        self.questions = self.questions.wrapping_add(1);
        let question = question(self.questions, names);
        // Absent while a question is open: an exchange that was given up must not be gone on with.
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect((broker.host.as_str(), broker.port)).await?,
        };
        stream.set_nodelay(true)?;
        stream.write_all(&question).await?;
        let size = usize::try_from(stream.read_i32().await?).map_err(|_| garbled())?;
        if size > MAX_ANSWER {
            return Err(garbled());
        }
        let mut answer = vec![0; size];
        stream.read_exact(&mut answer).await?;
        let answer = read(&mut answer.into(), self.questions, names).ok_or_else(garbled)?;
        self.stream = Some(stream);
        if answer.brokers == 0 {
            return Err(io::Error::other("it has not joined its cluster yet"));
        }
        Ok(answer)
    }
}

fn garbled() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it is no Kafka broker of version 3.1 or later",
    )
}

/// The request, with its size in front.
fn question(number: i32, names: &[Arc<str>]) -> Bytes {
    let mut body = BytesMut::new();
    body.put_i16(METADATA);
    body.put_i16(VERSION);
    body.put_i32(number);
    body.put_i16(i16::try_from(CLIENT.len()).unwrap_or_default());
    body.put_slice(CLIENT.as_bytes());
    body.put_u8(0); // no tags
    put_count(&mut body, names.len());
    for name in names {
        body.put_u128(0); // asked for by name and not by id
        put_count(&mut body, name.len());
        body.put_slice(name.as_bytes());
        body.put_u8(0);
    }
    body.put_u8(0); // nothing is made by the way
    body.put_u8(0); // no list of what we may do
    body.put_u8(0);
    let mut framed = BytesMut::with_capacity(4 + body.len());
    framed.put_i32(i32::try_from(body.len()).unwrap_or(i32::MAX));
    framed.put(body);
    framed.freeze()
}

/// Kafka counts from one, for null is zero.
fn put_count(out: &mut BytesMut, count: usize) {
    let mut left = count + 1;
    while left > 0x7f {
        out.put_u8(u8::try_from(left & 0x7f).unwrap_or_default() | 0x80);
        left >>= 7;
    }
    out.put_u8(u8::try_from(left).unwrap_or_default());
}

/// What a broker tells.
pub(super) struct Answer {
    /// How many brokers there are; none while a lone one starts, or is not heard of by its cluster.
    pub(super) brokers: usize,
    /// The standing of each topic, in the order of the question.
    pub(super) standings: Vec<Standing>,
}

/// Reads the answer; `None` when it is not one.
fn read(answer: &mut Bytes, number: i32, names: &[Arc<str>]) -> Option<Answer> {
    if answer.try_get_i32().ok()? != number {
        return None;
    }
    skip_tags(answer)?;
    skip(answer, 4)?; // throttling
    let brokers = count(answer)?;
    for _ in 0..brokers {
        skip(answer, 4)?;
        text(answer)?;
        skip(answer, 4)?;
        text(answer)?;
        skip_tags(answer)?;
    }
    text(answer)?; // the cluster
    skip(answer, 4)?; // its controller
    let mut standings = vec![Standing::Missing; names.len()];
    for _ in 0..count(answer)? {
        let error = answer.try_get_i16().ok()?;
        let name = text(answer)?;
        let id = Uuid::from_u128(answer.try_get_u128().ok()?);
        skip(answer, 1)?;
        let partitions = count(answer)?;
        let mut terms = Some(0);
        for _ in 0..partitions {
            skip(answer, 2 + 4)?;
            let leader = answer.try_get_i32().ok()?;
            let term = i64::from(answer.try_get_i32().ok()?);
            terms = terms.filter(|_| leader >= 0).map(|terms| terms + term);
            for _ in 0..3 {
                let copies = count(answer)?;
                skip(answer, copies.checked_mul(4)?)?;
            }
            skip_tags(answer)?;
        }
        skip(answer, 4)?;
        skip_tags(answer)?;
        let standing = match error {
            0 if id.is_nil() => return None,
            0 => Standing::Known {
                id,
                partitions: u32::try_from(partitions).ok()?,
                terms,
            },
            UNKNOWN_TOPIC => Standing::Missing,
            other => Standing::Unsettled(other),
        };
        let place = names.iter().position(|asked| asked.as_bytes() == name)?;
        standings[place] = standing;
    }
    skip_tags(answer)?;
    answer.is_empty().then_some(Answer { brokers, standings })
}

fn skip(answer: &mut Bytes, bytes: usize) -> Option<()> {
    (answer.len() >= bytes).then(|| answer.advance(bytes))
}

fn number(answer: &mut Bytes) -> Option<usize> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let byte = answer.try_get_u8().ok()?;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn count(answer: &mut Bytes) -> Option<usize> {
    Some(number(answer)?.saturating_sub(1))
}

fn text(answer: &mut Bytes) -> Option<Bytes> {
    let length = count(answer)?;
    (answer.len() >= length).then(|| answer.split_to(length))
}

fn skip_tags(answer: &mut Bytes) -> Option<()> {
    for _ in 0..number(answer)? {
        number(answer)?;
        let length = number(answer)?;
        skip(answer, length)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with one broker, one topic that is there and one that is not.
    fn answer(leader: i32) -> Vec<u8> {
        let mut out = BytesMut::new();
        out.put_i32(7);
        out.put_u8(0);
        out.put_i32(0);
        put_count(&mut out, 1);
        out.put_i32(1);
        put_count(&mut out, 4);
        out.put_slice(b"host");
        out.put_i32(9092);
        out.put_u8(0);
        out.put_u8(0);
        out.put_u8(0);
        out.put_i32(1);
        put_count(&mut out, 2);
        for (error, name, id, partitions) in [(0, "there", 5, 200), (3, "gone", 0, 0)] {
            out.put_i16(error);
            put_count(&mut out, name.len());
            out.put_slice(name.as_bytes());
            out.put_u128(id);
            out.put_u8(0);
            put_count(&mut out, partitions);
            for _ in 0..partitions {
                out.put_slice(&[0; 6]);
                out.put_i32(leader);
                out.put_i32(2);
                for _ in 0..3 {
                    put_count(&mut out, 1);
                    out.put_i32(1);
                }
                out.put_u8(0);
            }
            out.put_i32(0);
            out.put_u8(0);
        }
        out.put_u8(0);
        out.to_vec()
    }

    fn names() -> [Arc<str>; 3] {
        ["gone".into(), "there".into(), "never".into()]
    }

    #[test]
    fn an_answer_tells_what_is_there_and_what_is_not() {
        for (leader, terms) in [(1, Some(400)), (-1, None)] {
            let answer = answer(leader).into();
            let Answer { brokers, standings } = read(&mut { answer }, 7, &names()).unwrap();
            let known = Standing::Known {
                id: Uuid::from_u128(5),
                partitions: 200,
                terms,
            };
            assert_eq!(standings, [Standing::Missing, known, Standing::Missing]);
            assert_eq!(brokers, 1);
        }
    }

    #[test]
    fn an_answer_that_is_cut_or_foreign_is_refused_and_breaks_nothing() {
        let answer = answer(0);
        for end in 0..answer.len() {
            let cut = answer[..end].to_vec();
            assert!(read(&mut cut.into(), 7, &names()).is_none(), "cut at {end}");
        }
        assert!(read(&mut answer.clone().into(), 8, &names()).is_none());
        for at in 0..answer.len() {
            let mut wrong = answer.clone();
            wrong[at] ^= 0xff;
            let _ = read(&mut wrong.into(), 7, &names());
        }
        let foreign = b"HTTP/1.1 400 Bad Request".as_slice();
        assert!(read(&mut foreign.into(), 7, &names()).is_none());
    }
}
