//! Two people, for one of whom the AI answers: the longest way through all services.

use std::{
    net::SocketAddr, sync::atomic::AtomicUsize, sync::atomic::Ordering::Relaxed, time::Duration,
};

use serde_json::{Value, json};

use crate::Person;

/// How long one door may take before the next one is tried.
const PATIENCE: Duration = Duration::from_secs(3);

/// A chat in which one person asks and the AI answers in the name of the other.
pub struct Assistant {
    asker: Person,
    chat: String,
    doors: Vec<SocketAddr>,
    asked: AtomicUsize,
}

impl Assistant {
    pub async fn engage(doors: &[SocketAddr]) -> Self {
        let (owner, asker) = tokio::join!(
            Person::register_at(doors[0], "owner"),
            Person::register_at(doors[0], "asker")
        );
        let chat = owner.chat_with(&asker).await;
        owner.bind(&chat, "autoreply").await;
        let settings = json!({ "release": "immediate", "advice_on_message": false });
        let path = format!("/api/ai/settings/{chat}");
        owner.put(&path, settings).await.ok();
        Self {
            asker,
            chat,
            doors: doors.to_vec(),
            asked: AtomicUsize::new(0),
        }
    }

    /// Asks at one door after the other until the question is stored; gives its number.
    pub async fn ask(&self) -> i64 {
        let n = self.asked.fetch_add(1, Relaxed);
        let question = json!({ "key": crate::key(), "text": format!("question {n}") });
        let path = format!("/api/messages/{}", self.chat);
        let post = |url| self.asker.http.post(url).json(&question);
        self.answer(&path, post, |stored| stored["seq"].as_i64())
            .await
    }

    /// Asks, and waits for the answer of the AI.
    pub async fn answers(&self) {
        let asked = self.ask().await;
        let path = format!("/api/messages/{}?after={asked}&limit=200", self.chat);
        let get = |url| self.asker.http.get(url);
        let replied = |page: &Value| (replies(page) > 0).then_some(());
        self.answer(&path, get, replied).await;
    }

    /// Whether the AI has answered more often than it was asked.
    pub async fn has_repeated_itself(&self) -> bool {
        let path = format!("/api/messages/{}?after=0&limit=200", self.chat);
        let get = |url| self.asker.http.get(url);
        let replies = self.answer(&path, get, |page| {
            page["messages"].is_array().then(|| replies(page))
        });
        replies.await > self.asked.load(Relaxed)
    }

    /// Knocks at one door after the other until somebody gives what is wanted.
    async fn answer<T>(
        &self,
        path: &str,
        request: impl Fn(String) -> reqwest::RequestBuilder,
        wanted: impl Fn(&Value) -> Option<T>,
    ) -> T {
        let mut doors = self.doors.iter().cycle();
        loop {
            let url = format!("http://{}{path}", doors.next().unwrap());
            let request = request(url)
                .bearer_auth(&self.asker.token)
                .timeout(PATIENCE);
            let body = async { request.send().await.ok()?.json().await.ok() };
            if let Some(found) = body.await.and_then(|body: Value| wanted(&body)) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn replies(page: &Value) -> usize {
    let messages = page["messages"].as_array().into_iter().flatten();
    messages
        .filter(|message| message["auto"] == "replied")
        .count()
}
