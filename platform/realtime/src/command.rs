//! What a client asks for, and the frames that answer it.

use kit::{Fault, problem::parse_json};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{json, value::RawValue};

use crate::{Frame, Socket};

/// One command: `{"id", "t", "d"}`.
#[derive(Debug)]
pub struct Command {
    /// Unique in the connection; without it there is no answer.
    pub id: Option<u64>,
    /// What is asked for.
    pub name: Box<str>,
    content: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Wire {
    id: Option<u64>,
    t: Option<Box<str>>,
    d: Option<Box<RawValue>>,
}

/// A line that is no command.
#[derive(Debug)]
pub(crate) struct Malformed {
    /// Its id, if that much could be read.
    pub(crate) id: Option<u64>,
    pub(crate) fault: Fault,
}

impl Command {
    /// Reads one line; `None` for a sign of life.
    pub(crate) fn parse(line: &str) -> Result<Option<Self>, Malformed> {
        let wire = parse_json::<Wire>(line.as_bytes()).map_err(|fault| {
            #[derive(Deserialize)]
            struct OnlyId {
                id: u64,
            }
            let id = serde_json::from_str::<OnlyId>(line)
                .ok()
                .map(|only| only.id);
            Malformed { id, fault }
        })?;
        match wire.t {
            Some(name) => Ok(Some(Self {
                id: wire.id,
                name,
                content: wire.d,
            })),
            None if is_empty_object(line) => Ok(None),
            None => Err(Malformed {
                id: wire.id,
                fault: Fault::invalid("the frame has no `t`"),
            }),
        }
    }

    /// Reads the content; a missing one is an empty object.
    ///
    /// # Errors
    /// `bad_request` that names what is wrong.
    pub fn content<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let content = self.content.as_ref().map_or("{}", |content| content.get());
        kit::problem::parse_json(content.as_bytes())
    }

    /// The refusal of a command that nobody knows.
    pub fn unknown(&self) -> Fault {
        Fault::invalid("the command is not known")
    }
}

fn is_empty_object(line: &str) -> bool {
    line.bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .eq(*b"{}")
}

impl Socket {
    /// Answers a command, if it has an id.
    pub fn reply<T: Serialize>(&self, id: Option<u64>, result: Result<T, Fault>) {
        let Some(id) = id else { return };
        match result {
            Ok(content) => self.send(&ok(id, &content)),
            Err(fault) => self.refuse(Some(id), &fault),
        }
    }

    /// Sends an error, without an id when the frame had none that could be read.
    pub(crate) fn refuse(&self, id: Option<u64>, fault: &Fault) {
        fault.report("socket");
        self.send(&err(id, fault));
    }

    /// Sends the error before a close: whatever it is, nothing can be sent again on this connection.
    pub(crate) fn refuse_last(&self, id: Option<u64>, fault: &Fault) {
        fault.report("socket");
        self.send(&error(id, fault, true));
    }
}

/// The answer to a command that was done.
pub fn ok<T: Serialize>(id: u64, content: &T) -> Frame {
    let content = serde_json::to_string(content).unwrap_or_else(|_| "null".to_owned());
    Frame::text(format!(r#"{{"id":{id},"ok":{content}}}"#).as_bytes())
}

/// The answer to a command that was not done.
pub fn err(id: Option<u64>, fault: &Fault) -> Frame {
    error(id, fault, !fault.code().is_retryable())
}

fn error(id: Option<u64>, fault: &Fault, is_fatal: bool) -> Frame {
    let mut body = json!({
        "code": fault.word(),
        "msg": fault.public(),
        "fatal": is_fatal,
    });
    if let Some(after) = fault.retry_after() {
        body["retry_ms"] = json!(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    }
    Frame::text(json!({ "id": id, "err": body }).to_string().as_bytes())
}

/// An event without a position: `{"t", "e": 1, "d"}`.
pub fn ephemeral<T: Serialize>(t: &str, content: &T) -> Frame {
    let content = serde_json::to_string(content).unwrap_or_else(|_| "null".to_owned());
    Frame::text(format!(r#"{{"t":"{t}","e":1,"d":{content}}}"#).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(frame: Frame) -> String {
        let bytes = frame.into_bytes();
        let at = if bytes[1] < 126 { 2 } else { 4 };
        String::from_utf8(bytes[at..].to_vec()).unwrap()
    }

    /// row:C14: what is no command is told so by its id where it has one.
    #[test]
    fn a_line_is_a_command_a_sign_of_life_or_malformed() {
        let command = Command::parse(r#"{"id":7,"t":"sub","d":{"s":"c:1"},"x":[1]}"#)
            .unwrap()
            .unwrap();
        assert_eq!((command.id, &*command.name), (Some(7), "sub"));
        assert!(Command::parse(" { } ").unwrap().is_none());
        for (line, id) in [
            ("", None),
            ("nonsense", None),
            ("[]", None),
            ("{}{}", None),
            (r#"{"x":1}"#, None),
            (r#"{"id":3}"#, Some(3)),
            (r#"{"id":3,"t":7}"#, Some(3)),
            (r#"{"id":-3,"t":"sub"}"#, None),
            (r#"{"id":3,"t":"sub","d":"\u0000"}"#, Some(3)),
        ] {
            assert_eq!(Command::parse(line).unwrap_err().id, id, "{line}");
        }
    }

    #[test]
    fn an_error_says_whether_the_same_may_be_sent_again() {
        let fault =
            Fault::new(kit::Code::Exhausted, "slow down").retry_in(Duration::from_millis(70));
        let expected = r#"{"err":{"code":"rate_limited","fatal":false,"msg":"slow down","retry_ms":70},"id":4}"#;
        assert_eq!(text(err(Some(4), &fault)), expected);
        let fault = Fault::not_found("chat");
        assert!(text(err(None, &fault)).contains(r#""fatal":true"#));
        assert_eq!(text(ok(4, &json!({ "o": 1 }))), r#"{"id":4,"ok":{"o":1}}"#);
        assert_eq!(
            text(ephemeral("ready", &json!({}))),
            r#"{"t":"ready","e":1,"d":{}}"#
        );
    }
}
