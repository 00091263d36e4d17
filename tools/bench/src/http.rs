//! One HTTP/1.1 request on a connection of its own. For what is set up before a measurement, never inside one.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::event::shown;

/// The longest that an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends `body` to `address` and answers status and body; an empty body is `null`.
///
/// # Errors
/// No connection, no answer within 30 s, an answer that is not JSON.
pub fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &Value,
) -> Result<(u16, Value)> {
    let (status, answer) = exchange(address, method, path, token, body)?;
    if answer.is_empty() {
        return Ok((status, Value::Null));
    }
    let value = serde_json::from_slice(&answer)
        .with_context(|| format!("{method} {path}: {status} and no JSON: {}", shown(&answer)))?;
    Ok((status, value))
}

/// As [`call`], but an answer other than a success is an error that shows both sides.
pub fn must(address: SocketAddr, path: &str, token: Option<&str>, body: &Value) -> Result<Value> {
    let (status, answer) = call(address, "POST", path, token, body)?;
    if !(200..300).contains(&status) {
        bail!("POST {path} was refused\n  sent: {body}\n  received: {status} {answer}");
    }
    Ok(answer)
}

/// The status of `GET path`, if there is an answer at all.
pub fn status(address: SocketAddr, path: &str) -> Option<u16> {
    exchange(address, "GET", path, None, &Value::Null)
        .ok()
        .map(|(status, _)| status)
}

/// The sum of a metric over its labels, from `/metrics` at `address`; 0 when nothing was counted yet.
///
/// # Errors
/// No answer.
pub fn metric(address: SocketAddr, name: &str) -> Result<f64> {
    let (status, text) = exchange(address, "GET", "/metrics", None, &Value::Null)?;
    if status != 200 {
        bail!("GET /metrics of {address}: {status}");
    }
    Ok(sum(&String::from_utf8_lossy(&text), name))
}

fn sum(text: &str, name: &str) -> f64 {
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let is_this = series.split('{').next() == Some(name);
        is_this.then(|| value.parse::<f64>().ok()).flatten()
    });
    values.sum()
}

fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &Value,
) -> Result<(u16, Vec<u8>)> {
    let mut stream =
        TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let authorization = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/json\r\n"
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{authorization}{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .with_context(|| format!("{method} {path} was not answered within 30 s"))?;
    let parsed = parse(&answer);
    parsed.with_context(|| format!("{method} {path}: not an HTTP answer: {}", shown(&answer)))
}

fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = memchr::memmem::find(answer, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end])
        .ok()?
        .to_ascii_lowercase();
    let status = head.strip_prefix("http/1.1 ")?.get(..3)?.parse().ok()?;
    let body = &answer[end + 4..];
    if head.contains("\r\ntransfer-encoding: chunked") {
        return Some((status, unchunked(body)?));
    }
    Some((status, body.to_vec()))
}

fn unchunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = memchr::memmem::find(body, b"\r\n")?;
        let size =
            usize::from_str_radix(std::str::from_utf8(&body[..end]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        body = &body[end + 2..];
        whole.extend_from_slice(body.get(..size)?);
        body = body.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_whole_and_in_chunks() {
        let plain = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(parse(plain), Some((201, b"{}".to_vec())));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n3\r\n\":1\r\n1\r\n}\r\n0\r\n\r\n";
        assert_eq!(parse(chunked), Some((200, b"{\"a\":1}".to_vec())));
        assert_eq!(parse(b"garbage"), None);
    }

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let text = "# TYPE calls counter\ncalls{a=\"b c\"} 2\ncalls 3\ncalls_more 5\n";
        assert!((sum(text, "calls") - 5.0).abs() < f64::EPSILON);
        assert!(sum(text, "nothing").abs() < f64::EPSILON);
    }
}
