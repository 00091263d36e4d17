//! Reading what servers send: as strict as needed to find the text, and no stricter.

use serde_json::Value;

use crate::{
    metrics as names,
    ports::{Failure, Piece},
};

/// One server-sent event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A part of the answer.
    Chunk {
        /// What is in it.
        pieces: Vec<Piece>,
        /// What the server says of the end: the text is complete, or will never be.
        finished: Option<Result<(), Failure>>,
    },
    /// Nothing follows.
    End,
}

/// Reads the data of one event.
pub(super) fn event(data: &str) -> Result<Event, Failure> {
    let data = data.trim();
    if data == "[DONE]" {
        return Ok(Event::End);
    }
    if data.is_empty() {
        return Ok(Event::Chunk {
            pieces: Vec::new(),
            finished: None,
        });
    }
    chunk(&object(data.as_bytes())?, "delta")
}

/// Reads an answer that came in one piece.
pub(super) fn whole(body: &[u8]) -> Result<Event, Failure> {
    let answer = object(body)?;
    if !answer["choices"].is_array() && answer["error"].is_null() {
        return Err(Failure::Malformed);
    }
    chunk(&answer, "message")
}

fn object(json: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(json)
        .ok()
        .filter(Value::is_object)
        .ok_or(Failure::Malformed)
}

fn chunk(answer: &Value, part: &str) -> Result<Event, Failure> {
    if !answer["error"].is_null() {
        return Err(Failure::Unavailable);
    }
    let choice = &answer["choices"][0];
    let message = [part, "message", "delta"]
        .into_iter()
        .map(|name| &choice[name])
        .find(|message| message.is_object());
    let message = message.unwrap_or(&Value::Null);
    if message["tool_calls"]
        .as_array()
        .is_some_and(|calls| !calls.is_empty())
    {
        // We offer no tools; whatever this is, nobody acts on it.
        metrics::counter!(names::TOOL_CALLS).increment(1);
    }
    let mut pieces = Vec::new();
    let text = text(&message["content"]);
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    if let Some(tokens) = tokens(&answer["usage"]) {
        pieces.push(Piece::Tokens(tokens));
    }
    // Some servers send an empty reason while they are still at it.
    let finished = match choice["finish_reason"].as_str() {
        None | Some("") => None,
        Some("length") => Some(Err(Failure::TooLong)),
        Some("content_filter") => Some(Err(Failure::Empty)),
        Some(_) => Some(Ok(())),
    };
    Ok(Event::Chunk { pieces, finished })
}

/// A string, or a list of parts with a text each.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str().or_else(|| part.as_str()))
            .collect(),
        _ => String::new(),
    }
}

fn tokens(usage: &Value) -> Option<i64> {
    let number = |name: &str| match &usage[name] {
        Value::String(text) => text.trim().parse().ok(),
        // Some servers count in floating point.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the cast saturates, and so it should"
        )]
        value => value
            .as_i64()
            .or_else(|| value.as_f64().map(|number| number as i64)),
    };
    let sum = || Some(number("prompt_tokens")?.saturating_add(number("completion_tokens")?));
    number("total_tokens")
        .or_else(sum)
        .filter(|tokens| *tokens >= 0)
}
