//! The commands of a person's connection, beside `msg.send`.

use contracts::{
    ChatId, RunId, UserId,
    ai::AiClient,
    frames::{self, Lane},
    message::{MAX_PAGE, MAX_PEERS},
};
use kit::{Call, Code, Fault};
use realtime::{Activity, Command, ResumeAt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::socket::Talk;
use crate::app::event::{self, Why};

/// The part of a connection's queue that one answer to `pull` may fill; at least one event is in it.
const PULL_PART: usize = 8;

/// The name of a stream that can be subscribed.
struct Stream(ChatId);

impl<'de> Deserialize<'de> for Stream {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match Lane::parse(name.as_bytes()) {
            Some(Lane::Chat(chat)) => Ok(Self(chat)),
            _ => Err(serde::de::Error::custom("`s` is a stream such as c:<chat>")),
        }
    }
}

#[derive(Deserialize)]
struct Sub {
    s: Stream,
    since: Option<ResumeAt>,
}

#[derive(Deserialize)]
struct Unsub {
    s: Stream,
}

#[derive(Deserialize)]
struct Pull {
    s: Stream,
    e: String,
    after: i64,
    #[serde(default = "whole_page")]
    limit: usize,
}

fn whole_page() -> usize {
    MAX_PAGE
}

#[derive(Deserialize)]
struct Mark {
    chat: ChatId,
    #[serde(default)]
    delivered: i64,
    #[serde(default)]
    read: i64,
}

#[derive(Deserialize)]
struct Watch {
    users: Vec<UserId>,
}

#[derive(Deserialize)]
struct Doing {
    state: Activity,
}

#[derive(Deserialize)]
struct OfRun {
    run: RunId,
}

#[derive(Serialize)]
struct Pulled<'a> {
    events: Vec<&'a RawValue>,
    e: &'a str,
    o: i64,
    more: bool,
}

impl Talk {
    /// Does one command and answers it.
    pub(super) async fn execute(&mut self, command: Command) {
        let result = match &*command.name {
            "sub" => match self.subscribe(&command).await {
                Ok(()) => return,
                Err(fault) => Err(fault),
            },
            "unsub" => self.unsubscribe(&command),
            "pull" => match self.pull(&command).await {
                Ok(()) => return,
                Err(fault) => Err(fault),
            },
            "mark" => self.mark(&command).await,
            "presence.watch" => self.watch(&command),
            "activity" => self.set_activity(&command),
            "ai.follow" => self.follow_run(&command).await,
            "ai.cancel" => self.cancel_run(&command).await,
            _ => Err(command.unknown()),
        };
        self.link.socket.reply(command.id, result);
    }

    /// Answers, then replays, then lets the stream flow.
    async fn subscribe(&mut self, command: &Command) -> Result<(), Fault> {
        let Sub {
            s: Stream(chat),
            since,
        } = command.content()?;
        self.prune_streams();
        let most = self.link.socket.hub().config().subscriptions;
        if self.streams.len() >= most && !self.streams.contains(&chat) {
            return Err(Fault::new(
                Code::Exhausted,
                format!("at most {most} streams can be subscribed"),
            ));
        }
        let attached = self
            .gateway
            .replay
            .attach(&self.link, chat, since.as_ref())
            .await?;
        let recovered = attached.replayed.is_some();
        let answer = json!({
            "e": attached.e,
            "o": attached.o,
            "recovered": recovered,
            "n": attached.replayed.unwrap_or(0),
        });
        self.link.socket.reply(command.id, Ok(answer));
        if let Some(why) = attached.why {
            self.link
                .socket
                .send(&event::gap(chat, &attached.e, attached.o, why));
            return Ok(());
        }
        if !self.streams.contains(&chat) {
            self.streams.push(chat);
        }
        self.settle(chat, &attached).await;
        Ok(())
    }

    /// Forgets subscriptions that have ended by themselves.
    fn prune_streams(&mut self) {
        let (topics, link) = (&self.gateway.topics, &self.link);
        self.streams
            .retain(|chat| topics.position(*chat, link).is_some());
    }

    fn unsubscribe(&mut self, command: &Command) -> Result<Value, Fault> {
        let Unsub { s: Stream(chat) } = command.content()?;
        self.gateway.topics.unsubscribe(chat, &self.link);
        self.streams.retain(|other| *other != chat);
        Ok(json!({}))
    }

    async fn pull(&self, command: &Command) -> Result<(), Fault> {
        let Pull {
            s: Stream(chat),
            e,
            after,
            limit,
        } = command.content()?;
        let (replay, call) = (&self.gateway.replay, Call::internal("pull"));
        let limit = limit.clamp(1, MAX_PAGE);
        let events = replay
            .message
            .events(&call, self.link.user, chat, after, limit);
        let page = replay.read(&call, events).await?;
        let is_same_epoch = page.head.e == e && after <= page.head.o;
        let mut pulled = Pulled {
            events: Vec::new(),
            e: &page.head.e,
            o: page.head.o,
            more: page.more && is_same_epoch,
        };
        if is_same_epoch {
            let most = self.link.socket.hub().config().queue_bytes / PULL_PART;
            let mut bytes = 0;
            for (_, frame) in &page.frames {
                bytes += frame.len();
                if bytes > most && !pulled.events.is_empty() {
                    pulled.more = true;
                    break;
                }
                pulled
                    .events
                    .push(serde_json::from_slice(frame).map_err(Fault::internal)?);
            }
        }
        self.link.socket.room().await;
        self.link.socket.reply(command.id, Ok(&pulled));
        if !is_same_epoch {
            self.link
                .socket
                .send(&event::gap(chat, &page.head.e, page.head.o, Why::Epoch));
        }
        Ok(())
    }

    async fn mark(&self, command: &Command) -> Result<Value, Fault> {
        let Mark {
            chat,
            delivered,
            read,
        } = command.content()?;
        let (replay, call) = (&self.gateway.replay, Call::internal("mark"));
        let marks = replay
            .message
            .mark(&call, self.link.user, chat, delivered, read);
        Ok(json!(replay.read(&call, marks).await?))
    }

    /// Whom the client has on screen. What is known of them follows.
    fn watch(&self, command: &Command) -> Result<Value, Fault> {
        let Watch { users } = command.content()?;
        if users.len() > MAX_PEERS {
            return Err(Fault::invalid(format!(
                "at most {MAX_PEERS} people can be watched"
            )));
        }
        self.gateway.presence.watch(&self.link, users);
        Ok(json!({}))
    }

    fn set_activity(&self, command: &Command) -> Result<Value, Fault> {
        let Doing { state } = command.content()?;
        self.gateway.registry.set(self.link.socket.id(), state);
        Ok(json!({}))
    }

    async fn follow_run(&self, command: &Command) -> Result<Value, Fault> {
        let OfRun { run } = command.content()?;
        let call = Call::internal("ai.follow");
        let so_far = call
            .run(self.ai()?.follow(&call, self.link.user, run))
            .await?;
        if let Some(so_far) = so_far {
            self.link
                .hint(&realtime::ephemeral(frames::AI_SNAP, &so_far), None);
        }
        Ok(json!({}))
    }

    async fn cancel_run(&self, command: &Command) -> Result<Value, Fault> {
        let OfRun { run } = command.content()?;
        let call = Call::internal("ai.cancel");
        Ok(json!(
            call.run(self.ai()?.cancel(&call, self.link.user, run))
                .await?
        ))
    }

    fn ai(&self) -> Result<&AiClient, Fault> {
        let absent = || Fault::new(Code::Unavailable, "there is no AI on this server");
        self.gateway.ai.as_ref().ok_or_else(absent)
    }
}
