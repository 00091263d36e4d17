//! A person with a device: HTTP with their token, from a loopback address of their own.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::{Value, json};

use crate::{Socket, World};

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// When to try again, in seconds, if the server says so.
    pub retry_after: Option<u64>,
    pub body: Value,
}

impl Answer {
    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(
            (200..300).contains(&self.status),
            "{} {}",
            self.status,
            self.body
        );
        self.body
    }

    /// The stable word of a problem.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

#[derive(Clone)]
pub struct Person {
    pub id: String,
    pub name: String,
    pub token: String,
    pub session: String,
    pub refresh: String,
    pub password: String,
    pub http: reqwest::Client,
    pub server: SocketAddr,
}

/// Limits count by address, so each person has one: scenarios run with the limits of the defaults. Test programs that run at
/// the same time, or soon after each other, share a Redis, so each begins elsewhere.
static ADDRESSES: LazyLock<AtomicU32> =
    LazyLock::new(|| AtomicU32::new(0x7f01_0001 + std::process::id() % 0x7000 * 0x200));

/// A client from a loopback address that nobody else uses.
pub fn client() -> reqwest::Client {
    let address = Ipv4Addr::from(ADDRESSES.fetch_add(1, Ordering::Relaxed));
    reqwest::Client::builder()
        .local_address(IpAddr::V4(address))
        .timeout(crate::SOON)
        .build()
        .unwrap()
}

impl Person {
    /// Registers somebody new whose name begins with `name`.
    pub async fn register(world: &World, name: &str) -> Self {
        Self::register_at(world.public, name).await
    }

    pub async fn register_at(server: SocketAddr, name: &str) -> Self {
        let unique = crate::key();
        let name = format!("{name}-{}", &unique[24..]);
        let password = format!("correct horse {unique}");
        let http = client();
        let body = json!({ "username": name, "email": format!("{name}@example.org"), "password": password, "cookie": false });
        let answer = http
            .post(format!("http://{server}/api/register"))
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let session: Value = answer.json().await.unwrap();
        assert_eq!(status, 201, "{session}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            id: text(&session["user"]["id"]),
            token: text(&session["access_token"]),
            session: text(&session["session"]),
            refresh: text(&session["refresh_token"]),
            name,
            password,
            http,
            server,
        }
    }

    /// Another login of the same person.
    pub async fn another_device(&self) -> Self {
        let http = client();
        let body = json!({ "login": self.name, "password": self.password, "cookie": false });
        let answer = http
            .post(self.url("/api/login"))
            .json(&body)
            .send()
            .await
            .unwrap();
        let session: Value = answer.error_for_status().unwrap().json().await.unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            token: text(&session["access_token"]),
            session: text(&session["session"]),
            refresh: text(&session["refresh_token"]),
            http,
            ..self.clone()
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server)
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.bearer_auth(&self.token).send().await.unwrap();
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after");
        let retry_after = retry_after.map(|after| after.to_str().unwrap().parse().unwrap());
        let text = answer.text().await.unwrap();
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        Answer {
            status,
            retry_after,
            body,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(self.http.get(self.url(path))).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(self.http.post(self.url(path)).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask(self.http.put(self.url(path)).json(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.ask(self.http.patch(self.url(path)).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(self.http.delete(self.url(path))).await
    }

    /// The private chat with somebody.
    pub async fn chat_with(&self, other: &Self) -> String {
        let chat = self
            .post("/api/chats", json!({ "kind": "private", "user": other.id }))
            .await
            .ok();
        chat["id"].as_str().unwrap().to_owned()
    }

    /// Sends over HTTP.
    pub async fn say(&self, chat: &str, text: &str) -> Value {
        self.post(
            &format!("/api/messages/{chat}"),
            json!({ "key": crate::key(), "text": text }),
        )
        .await
        .ok()
    }

    /// The newest messages of a chat.
    pub async fn history(&self, chat: &str) -> Vec<Value> {
        let page = self
            .get(&format!("/api/messages/{chat}?limit=200"))
            .await
            .ok();
        page["messages"].as_array().unwrap().clone()
    }

    /// The texts of a chat.
    pub async fn texts(&self, chat: &str) -> Vec<String> {
        self.history(chat)
            .await
            .iter()
            .map(|message| message["text"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Binds a chat to the AI and waits until the binding works.
    pub async fn bind(&self, chat: &str, mode: &str) -> Value {
        let path = format!("/api/chats/{chat}/binding");
        self.put(&path, json!({ "mode": mode })).await.ok();
        crate::eventually("a ready binding", async || {
            let binding = self.get(&path).await;
            binding.body["state"] == "ready" && binding.body["mode"] == mode
        })
        .await;
        self.get(&path).await.ok()
    }

    /// A socket that has said hello.
    pub async fn connect(&self) -> Socket {
        Socket::connect(self).await
    }
}
