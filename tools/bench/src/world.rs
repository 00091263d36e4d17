//! The people and chats of a scenario, made over the public HTTP interface like everybody else's.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::http;

/// A registered person.
#[derive(Clone, Debug)]
pub struct Person {
    /// The user's id.
    pub id: String,
    /// The access token.
    pub token: String,
}

/// A private chat and its two members.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The chat's id.
    pub chat: String,
    /// Its members; the first one opened it.
    pub members: [Person; 2],
}

/// How long a chat may be on its way.
const PATIENCE: Duration = Duration::from_secs(30);

/// Registers `count` pairs of people and opens a private chat for each.
///
/// # Errors
/// An answer other than the protocol's, shown with what was sent.
pub fn pairs(address: SocketAddr, count: usize) -> Result<Vec<Pair>> {
    (0..count).map(|number| pair(address, number)).collect()
}

fn pair(address: SocketAddr, number: usize) -> Result<Pair> {
    let members = [
        register(address, &format!("bench{number}a"))?,
        register(address, &format!("bench{number}b"))?,
    ];
    let body = json!({"kind": "private", "user": members[1].id});
    let asked = Instant::now();
    let view = loop {
        let (status, view) = http::call(
            address,
            "POST",
            "/api/chats",
            Some(&members[0].token),
            &body,
        )?;
        match status {
            200..300 => break view,
            // Servers that have just started may not know all of each other yet; the answer says to ask again.
            503 if asked.elapsed() < PATIENCE => {}
            _ => bail!("POST /api/chats was refused\n  sent: {body}\n  received: {status} {view}"),
        }
    };
    Ok(Pair {
        chat: text(&view, "/id")?,
        members,
    })
}

fn register(address: SocketAddr, name: &str) -> Result<Person> {
    let body = json!({
        "username": name,
        "email": format!("{name}@example.org"),
        "password": format!("a long enough pass phrase of {name}"),
        "device": "bench",
        "cookie": false,
    });
    let session = http::must(address, "/api/register", None, &body)?;
    Ok(Person {
        id: text(&session, "/user/id")?,
        token: text(&session, "/access_token")?,
    })
}

fn text(answer: &Value, pointer: &str) -> Result<String> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    Ok(found
        .with_context(|| format!("no {pointer} in the answer {answer}"))?
        .to_owned())
}

/// Where connection `number` of a scenario comes from: 500 connections share a loopback address.
pub fn source(number: usize) -> Ipv4Addr {
    let last = u8::try_from(number / 500 % 250).unwrap_or(0);
    Ipv4Addr::new(127, 0, 0, last + 2)
}
