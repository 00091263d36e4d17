//! From a TCP connection to a subscribed socket: upgrade, `hello`, `welcome`, `ready`, `sub`. Blocking, because it is not
//! measured. Whatever goes wrong is told with everything that was sent and received until then.

use std::{
    collections::VecDeque,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt::set_tcp_nodelay};
use serde_json::{Value, json};

use crate::{event::shown, wire};

/// Who connects, and what is listened to.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// The access token.
    pub token: &'a str,
    /// The chat to subscribe to.
    pub chat: &'a str,
}

/// A socket that has been subscribed.
#[derive(Debug)]
pub struct Opened {
    /// The connection, still blocking.
    pub stream: TcpStream,
    /// `o` of the last event of the chat before the subscription.
    pub head: u64,
    /// What the server had sent beyond the answer to `sub`.
    pub rest: Vec<u8>,
}

/// The longest that a server may take for one step.
const STEP: Duration = Duration::from_secs(10);

/// Connects to `address` from `source`, says hello and subscribes.
///
/// # Errors
/// Anything but the protocol's answers, with the whole conversation in the text.
pub fn open(address: SocketAddr, source: Ipv4Addr, login: Login) -> Result<Opened> {
    let stream = dial(address, source)
        .with_context(|| format!("cannot connect to {address} from {source}"))?;
    let mut talk = Talk {
        stream,
        inbox: Vec::new(),
        lines: VecDeque::new(),
        said: Vec::new(),
        secret: login.token,
    };
    let head = talk.subscribe(address, login.chat).map_err(|error| {
        anyhow!(
            "the handshake with {address} failed: {error:#}\nthe conversation was:\n  {}",
            talk.said.join("\n  ")
        )
    })?;
    Ok(Opened {
        stream: talk.stream,
        head,
        rest: talk.inbox,
    })
}

fn dial(address: SocketAddr, source: Ipv4Addr) -> Result<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(source, 0))?;
    connect(&socket, &address)?;
    set_tcp_nodelay(&socket, true)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(STEP))?;
    stream.set_write_timeout(Some(STEP))?;
    Ok(stream)
}

struct Talk<'a> {
    stream: TcpStream,
    inbox: Vec<u8>,
    lines: VecDeque<Vec<u8>>,
    said: Vec<String>,
    secret: &'a str,
}

impl Talk<'_> {
    fn subscribe(&mut self, address: SocketAddr, chat: &str) -> Result<u64> {
        self.upgrade(address)?;
        self.send(&json!({"t": "hello", "d": {"proto": 1, "token": self.secret}}))?;
        self.wait_for("welcome", |line| line["t"] == "welcome")?;
        self.wait_for("ready", |line| line["t"] == "ready")?;
        self.send(&json!({"id": 1, "t": "sub", "d": {"s": format!("c:{chat}")}}))?;
        let answer = self.wait_for("the answer to sub", |line| line["id"] == 1)?;
        answer["ok"]["o"]
            .as_u64()
            .context("the answer to sub has no `o`")
    }

    fn upgrade(&mut self, address: SocketAddr) -> Result<()> {
        let request = wire::upgrade_request("/ws/v1", &address.to_string());
        self.note("sent", request.as_bytes());
        self.stream.write_all(request.as_bytes())?;
        let end = loop {
            if let Some(at) = memchr::memmem::find(&self.inbox, b"\r\n\r\n") {
                break at + 4;
            }
            self.receive()?;
        };
        let head: Vec<u8> = self.inbox.drain(..end).collect();
        self.note("received", &head);
        let head = String::from_utf8_lossy(&head).into_owned();
        if !head.starts_with("HTTP/1.1 101 ") {
            let rest = std::mem::take(&mut self.inbox);
            self.note("received", &rest);
            bail!("the upgrade was not answered with 101");
        }
        if !head.contains(wire::ACCEPT) {
            bail!(
                "the upgrade was answered without Sec-WebSocket-Accept: {}",
                wire::ACCEPT
            );
        }
        Ok(())
    }

    fn send(&mut self, command: &Value) -> Result<()> {
        let line = command.to_string();
        self.note("sent", line.as_bytes());
        let mut frame = Vec::new();
        wire::put_client_frame(&mut frame, wire::TEXT, line.as_bytes());
        Ok(self.stream.write_all(&frame)?)
    }

    /// The next line for which `wanted` holds; others are passed over, an error is not.
    fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        loop {
            let line = self
                .line()
                .with_context(|| format!("while waiting for {what}"))?;
            let value: Value = serde_json::from_slice(&line)
                .with_context(|| format!("no JSON: {}", shown(&line)))?;
            if !value["err"].is_null() {
                bail!("an error came instead of {what}");
            }
            if wanted(&value) {
                return Ok(value);
            }
        }
    }

    fn line(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                self.note("received", &line);
                return Ok(line);
            }
            let Some(frame) = wire::next_frame(&mut self.inbox, 0)? else {
                self.receive()?;
                continue;
            };
            let payload = self.inbox[frame.start..frame.end].to_vec();
            self.inbox.drain(..frame.end);
            match frame.opcode {
                wire::TEXT => self
                    .lines
                    .extend(payload.split(|byte| *byte == b'\n').map(<[u8]>::to_vec)),
                wire::PING => {
                    let mut pong = Vec::new();
                    wire::put_client_frame(&mut pong, wire::PONG, &payload);
                    self.stream.write_all(&pong)?;
                }
                wire::CLOSE => bail!("the server closed the socket: {}", close_reason(&payload)),
                other => bail!("a frame with opcode {other}"),
            }
        }
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        let count = self
            .stream
            .read(&mut buffer)
            .context("nothing came within 10 s")?;
        if count == 0 {
            let rest = std::mem::take(&mut self.inbox);
            self.note("received", &rest);
            bail!("the server ended the connection");
        }
        self.inbox.extend_from_slice(&buffer[..count]);
        Ok(())
    }

    fn note(&mut self, how: &str, bytes: &[u8]) {
        if !bytes.is_empty() {
            let text = shown(bytes).replace(self.secret, "<token>");
            self.said
                .push(format!("{how}: {}", text.trim_end().replace("\r\n", " | ")));
        }
    }
}

/// Code and reason of a close frame, for a person to read.
pub fn close_reason(payload: &[u8]) -> String {
    match payload {
        [a, b, reason @ ..] => format!("code {} {}", u16::from_be_bytes([*a, *b]), shown(reason)),
        _ => "without a code".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// A server that answers the upgrade with `first`, then every frame with the next of `answers`.
    fn serve(first: String, answers: Vec<&'static str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).unwrap();
            stream.write_all(first.as_bytes()).unwrap();
            for answer in answers {
                let _ = stream.read(&mut buffer).unwrap();
                let mut frame = Vec::new();
                wire::put_server_frame(&mut frame, wire::TEXT, answer.as_bytes());
                stream.write_all(&frame).unwrap();
            }
        });
        address
    }

    fn try_open(address: SocketAddr) -> Result<Opened> {
        open(
            address,
            Ipv4Addr::LOCALHOST,
            Login {
                token: "very-secret",
                chat: "7",
            },
        )
    }

    #[test]
    fn a_good_handshake_answers_the_head_of_the_chat() {
        let hello = "{\"t\":\"welcome\",\"e\":1,\"d\":{}}\n{\"t\":\"ready\",\"e\":1,\"d\":{}}";
        let address = serve(
            wire::upgrade_response(),
            vec![hello, r#"{"id":1,"ok":{"e":"1","o":42}}"#],
        );
        assert_eq!(try_open(address).unwrap().head, 42);
    }

    #[test]
    fn a_failed_handshake_shows_the_conversation_without_the_token() {
        let error = r#"{"id":1,"err":{"code":"not_found"}}"#;
        let hello = "{\"t\":\"welcome\"}\n{\"t\":\"ready\"}";
        let address = serve(wire::upgrade_response(), vec![hello, error]);
        let told = try_open(address).unwrap_err().to_string();
        for part in [
            "sent: GET /ws/v1",
            "received: HTTP/1.1 101",
            "<token>",
            r#""s":"c:7""#,
            error,
        ] {
            assert!(told.contains(part), "{part} is not in {told}");
        }
        assert!(!told.contains("very-secret"));
    }

    #[test]
    fn an_upgrade_that_is_refused_is_told() {
        let told = try_open(serve("HTTP/1.1 403 Forbidden\r\n\r\nno".to_owned(), vec![]))
            .unwrap_err()
            .to_string();
        assert!(told.contains("403 Forbidden"), "{told}");
    }
}
