//! Recognises what a server sends, by position where it is hot: a generator must cost less than what it measures.

use anyhow::{Result, bail};
use memchr::memmem;

/// One line of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A stored message of a stream, with its number in it.
    Message {
        /// The number in the stream.
        o: u64,
    },
    /// The answer to a command that succeeded.
    Done {
        /// The command's id.
        id: u64,
    },
    /// The server wants a sign of life.
    Beat,
    /// Anything else: ephemeral events.
    Other,
}

const MESSAGE: &[u8] = br#"{"t":"msg.new""#;
const ANSWER: &[u8] = br#"{"id":"#;
const REFUSAL: &[u8] = br#"{"err":"#;
const NUMBER: &[u8] = br#""o":"#;
/// Where the number of a message stands behind `{"t":"msg.new","s":"c:<36 characters>",`.
const NUMBER_AT: usize = 60;
const TEXT: &[u8] = br#""text":""#;
/// Digits at the start of every text that the generator sends.
pub const COUNT_DIGITS: usize = 10;

impl Line {
    /// What `line` is.
    ///
    /// # Errors
    /// A message without a number; a command that was refused; `lag`, `gap` and `bye`, by which the server says that it will
    /// not deliver everything. In a run each of them ends the scenario.
    pub fn of(line: &[u8]) -> Result<Self> {
        if line.starts_with(MESSAGE) {
            return match message_number(line) {
                Some(o) => Ok(Self::Message { o }),
                None => bail!("a message without `o`: {}", shown(line)),
            };
        }
        if let Some(rest) = line.strip_prefix(ANSWER) {
            return match digits(rest) {
                Some((id, rest)) if rest.starts_with(br#","ok""#) => Ok(Self::Done { id }),
                _ => bail!("an answer that is none: {}", shown(line)),
            };
        }
        if line.starts_with(REFUSAL) {
            bail!("a command was refused: {}", shown(line));
        }
        if line == b"{}" {
            return Ok(Self::Beat);
        }
        let trouble = [&br#"{"t":"lag""#[..], br#"{"t":"gap""#, br#"{"t":"bye""#];
        if trouble.iter().any(|start| line.starts_with(start)) {
            bail!("the server gave up on this connection: {}", shown(line));
        }
        Ok(Self::Other)
    }
}

fn message_number(line: &[u8]) -> Option<u64> {
    if line.get(NUMBER_AT..NUMBER_AT + NUMBER.len()) == Some(NUMBER) {
        return digits(&line[NUMBER_AT + NUMBER.len()..]).map(|(number, _)| number);
    }
    let at = memmem::find(line, NUMBER)?;
    digits(&line[at + NUMBER.len()..]).map(|(number, _)| number)
}

/// The count with which the generator began the text of the message in `line`.
pub fn count_in_text(line: &[u8]) -> Option<u64> {
    let at = memmem::find(line, TEXT)? + TEXT.len();
    digits(line.get(at..at + COUNT_DIGITS)?).map(|(count, _)| count)
}

/// The decimal number at the start of `bytes`, and what follows it.
pub fn digits(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(bytes.len());
    if end == 0 || end > 19 {
        return None;
    }
    let number = bytes[..end]
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some((number, &bytes[end..]))
}

/// Bytes for a person to read, the first 600 of them.
pub fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(600)]);
    if bytes.len() > 600 {
        format!("{text}… ({} bytes)", bytes.len())
    } else {
        text.into_owned()
    }
}

/// Commands as the generator sends them.
#[derive(Debug)]
pub struct Commands {
    keys: u64,
    millis: u64,
    filler: String,
    line: Vec<u8>,
}

/// Characters of every text that is sent.
pub const TEXT_LENGTH: usize = 200;
/// About what stands around the text when a message is a record or a frame.
pub const ENVELOPE: usize = 300;

impl Commands {
    /// Keys are made from `millis` (a time) and a counter, so no two runs share one.
    pub fn new(millis: u64) -> Self {
        Self {
            keys: 0,
            millis,
            filler: "x".repeat(TEXT_LENGTH - COUNT_DIGITS),
            line: Vec::new(),
        }
    }

    /// `msg.send` number `count` into `chat`, answered under `id`, with a key of its own.
    pub fn send(&mut self, id: u64, chat: &str, count: u64) -> &[u8] {
        use std::io::Write as _;
        let key = self.key();
        self.line.clear();
        let filler = &self.filler;
        write!(
            self.line,
            r#"{{"id":{id},"t":"msg.send","d":{{"chat":"{chat}","key":"{key}","text":"{count:010}{filler}"}}}}"#
        )
        .expect("a Vec takes every write");
        &self.line
    }

    /// A version 7 UUID: time, then a counter.
    fn key(&mut self) -> String {
        self.keys += 1;
        let (millis, count) = (self.millis, self.keys);
        format!(
            "{:08x}-{:04x}-7000-8000-{count:012x}",
            millis >> 16 & 0xffff_ffff,
            millis & 0xffff
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_recognised_by_position_and_by_search() {
        let hot = br#"{"t":"msg.new","s":"c:01234567-0123-7123-8123-0123456789ab","o":4711,"d":{"o":1,"text":"0000000012x"}}"#;
        assert_eq!(&hot[NUMBER_AT..NUMBER_AT + 4], NUMBER);
        assert_eq!(Line::of(hot).unwrap(), Line::Message { o: 4711 });
        assert_eq!(count_in_text(hot), Some(12));
        let cold = br#"{"t":"msg.new","o":12,"s":"c:x","d":{}}"#;
        assert_eq!(Line::of(cold).unwrap(), Line::Message { o: 12 });
        assert!(Line::of(br#"{"t":"msg.new","s":"c:x"}"#).is_err());
    }

    #[test]
    fn answers_and_beats_are_told_apart() {
        assert_eq!(
            Line::of(br#"{"id":7,"ok":{"o":3}}"#).unwrap(),
            Line::Done { id: 7 }
        );
        assert_eq!(Line::of(b"{}").unwrap(), Line::Beat);
        assert_eq!(
            Line::of(br#"{"t":"pos","e":1,"d":{}}"#).unwrap(),
            Line::Other
        );
    }

    #[test]
    fn a_refusal_and_a_lost_stream_end_the_scenario_and_are_shown() {
        for line in [
            r#"{"err":{"code":"rate_limited","fatal":false,"msg":"slow down","retry_ms":70},"id":4}"#,
            r#"{"id":7,"other":{}}"#,
            r#"{"t":"lag","d":{"s":"c:x","o":3}}"#,
        ] {
            assert!(
                Line::of(line.as_bytes())
                    .unwrap_err()
                    .to_string()
                    .contains(line)
            );
        }
    }

    #[test]
    fn every_send_has_its_own_key_of_version_seven_and_the_agreed_length() {
        let mut commands = Commands::new(1_700_000_000_000);
        let mut seen = std::collections::HashSet::new();
        for id in 0..100 {
            let sent: serde_json::Value =
                serde_json::from_slice(commands.send(id, "c", id)).unwrap();
            let key = sent["d"]["key"].as_str().unwrap().to_owned();
            assert_eq!((key.len(), &key[14..15], &key[19..20]), (36, "7", "8"));
            assert!(seen.insert(key));
            assert_eq!(sent["d"]["text"].as_str().unwrap().len(), TEXT_LENGTH);
        }
    }
}
