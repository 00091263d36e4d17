//! A stand-in for the product, for the tests of the bench only: the few routes and commands that the generator uses, a thread
//! for each connection, nothing stored, nobody checked. Its own file name says which mistake it makes: `standin-missing`,
//! `standin-duplicate`, `standin-misordered`, `standin-refusing`.

use std::{
    collections::HashMap,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use bench::wire;
use serde_json::{Value, json};

/// Every so many messages the last subscriber gets the mistake.
const MISTAKE_EVERY: u64 = 10;

#[derive(Default)]
struct World {
    chats: Mutex<HashMap<String, Chat>>,
    mistake: String,
}

#[derive(Default)]
struct Chat {
    o: u64,
    subscribers: Vec<TcpStream>,
    held_back: Vec<u8>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    assert_eq!(
        arguments[1..3],
        ["run", "--config"],
        "called in another way: {arguments:?}"
    );
    let config = fs::read_to_string(&arguments[3]).expect("a configuration");
    println!("configured by:\n{config}");
    let address = |key: &str| {
        let line = config
            .lines()
            .find(|line| line.starts_with(key))
            .expect("the key of a listener");
        line.split('"')
            .nth(1)
            .expect("an address in quotes")
            .to_owned()
    };
    let name = arguments[0].rsplit('/').next().expect("a name");
    let mistake = name
        .split_once('-')
        .map(|(_, mistake)| mistake.to_owned())
        .unwrap_or_default();
    let world = Arc::new(World {
        mistake,
        ..World::default()
    });
    let public = TcpListener::bind(address("http.public")).expect("the public address");
    let private = TcpListener::bind(address("http.private")).expect("the private address");
    for listener in [private, public] {
        let world = world.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let world = world.clone();
                thread::spawn(move || world.serve(stream));
            }
        });
    }
    loop {
        thread::park();
    }
}

impl World {
    /// Ends with the connection; whatever goes wrong ends it too.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut inbox = Vec::new();
        let end = loop {
            if let Some(end) = memchr::memmem::find(&inbox, b"\r\n\r\n") {
                break end + 4;
            }
            receive(&mut stream, &mut inbox)?;
        };
        let head = String::from_utf8(inbox.drain(..end).collect()).ok()?;
        if head.starts_with("GET /ws/v1 ") {
            stream.write_all(wire::upgrade_response().as_bytes()).ok()?;
            return self.talk(stream, inbox);
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))?
            .parse()
            .ok()?;
        while inbox.len() < length {
            receive(&mut stream, &mut inbox)?;
        }
        let body: Value = serde_json::from_slice(&inbox).unwrap_or_default();
        let (status, answer) = Self::answer(&head, &body);
        let answer = answer.to_string();
        let text = format!(
            "HTTP/1.1 {status} -\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(text.as_bytes()).ok()
    }

    fn answer(head: &str, body: &Value) -> (u16, Value) {
        match head.split(' ').nth(1) {
            Some("/readyz") => (200, json!({})),
            Some("/api/register") => (
                201,
                json!({"user": {"id": body["username"]}, "access_token": format!("token of {}", body["username"])}),
            ),
            Some("/api/chats") => {
                let user = body["user"].as_str().unwrap_or_default();
                let number: u64 = user
                    .bytes()
                    .map(u64::from)
                    .fold(7, |sum, byte| (sum * 31 + byte) % (1 << 40));
                (
                    201,
                    json!({"id": format!("00000000-0000-7000-8000-{number:012x}")}),
                )
            }
            _ => (404, json!({"code": "not_found"})),
        }
    }

    fn talk(&self, mut stream: TcpStream, mut inbox: Vec<u8>) -> Option<()> {
        loop {
            let Some(frame) = wire::next_frame(&mut inbox, 0).ok()? else {
                receive(&mut stream, &mut inbox)?;
                continue;
            };
            let command: Value = serde_json::from_slice(&inbox[frame.start..frame.end]).ok()?;
            inbox.drain(..frame.end);
            self.command(&mut stream, &command)?;
        }
    }

    fn command(&self, stream: &mut TcpStream, command: &Value) -> Option<()> {
        let mut chats = self.chats.lock().unwrap_or_else(PoisonError::into_inner);
        let id = &command["id"];
        match command["t"].as_str()? {
            "hello" if self.mistake == "refusing" => {
                say(stream, r#"{"err":{"code":"bad_token","fatal":true}}"#)
            }
            "hello" => say(
                stream,
                "{\"t\":\"welcome\",\"e\":1,\"d\":{}}\n{\"t\":\"ready\",\"e\":1,\"d\":{}}\n{}",
            ),
            "sub" => {
                let chat = chats
                    .entry(
                        command["d"]["s"]
                            .as_str()?
                            .trim_start_matches("c:")
                            .to_owned(),
                    )
                    .or_default();
                chat.subscribers.push(stream.try_clone().ok()?);
                say(
                    stream,
                    &json!({"id": id, "ok": {"e": "1", "o": chat.o}}).to_string(),
                )
            }
            "msg.send" => {
                let name = command["d"]["chat"].as_str()?;
                say(stream, &json!({"id": id, "ok": {"dup": false}}).to_string())?;
                let chat = chats.get_mut(name)?;
                chat.o += 1;
                let line = format!(
                    r#"{{"t":"msg.new","s":"c:{name}","o":{},"d":{{"text":{}}}}}"#,
                    chat.o, command["d"]["text"]
                );
                chat.deliver(&line, &self.mistake);
                Some(())
            }
            _ => None,
        }
    }
}

impl Chat {
    /// To everybody who is still there; the last one gets the mistake.
    fn deliver(&mut self, line: &str, mistake: &str) {
        let mut frame = Vec::new();
        wire::put_server_frame(&mut frame, wire::TEXT, line.as_bytes());
        let mut others = std::mem::take(&mut self.subscribers);
        let last = others.pop();
        others.retain_mut(|subscriber| subscriber.write_all(&frame).is_ok());
        self.subscribers = others;
        let Some(mut last) = last else { return };
        let turn = self.o.is_multiple_of(MISTAKE_EVERY);
        let bytes = match mistake {
            "missing" if turn => Vec::new(),
            "duplicate" if turn => [frame.clone(), frame].concat(),
            "misordered" if turn => {
                self.held_back = frame;
                Vec::new()
            }
            _ => [frame, std::mem::take(&mut self.held_back)].concat(),
        };
        if last.write_all(&bytes).is_ok() {
            self.subscribers.push(last);
        }
    }
}

fn say(stream: &mut TcpStream, text: &str) -> Option<()> {
    let mut frame = Vec::new();
    wire::put_server_frame(&mut frame, wire::TEXT, text.as_bytes());
    stream.write_all(&frame).ok()
}

fn receive(stream: &mut TcpStream, inbox: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 8192];
    let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
    inbox.extend_from_slice(&buffer[..count]);
    Some(())
}
