//! The door `/ws/v1`: who comes in, what they go on with, what they ask for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use axum::http::HeaderMap;
use contracts::{
    ChatId, SessionId, UserId,
    auth::bearer_token,
    frames::{Lane, user_key},
};
use kit::{Call, Code, Fault};
use realtime::{Command, Hello, Identity, ResumeAt, Service, Session, Socket};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::app::{
    Gateway,
    event::{self, Why, stream},
    replay::Attached,
    sending::Sending,
    topic::Link,
};

/// The newest chats of a person that are watched for hints.
const OWN_CHATS: usize = 500;
/// How often a client hears how far its streams are.
const POSITIONS_EVERY: Duration = Duration::from_secs(30);
/// When a stream that could not be fetched is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Streams of one connection that are attached at once.
const ATTACH_AT_ONCE: usize = 8;

/// The service behind the door.
pub(crate) struct Door(pub(crate) Arc<Gateway>);

/// One person's connection.
pub(crate) struct Talk {
    pub(super) gateway: Arc<Gateway>,
    pub(super) link: Arc<Link>,
    /// What was subscribed; some may have ended since.
    pub(super) streams: Vec<ChatId>,
    pub(super) sending: Sending,
    positions_at: Instant,
}

impl Service for Door {
    type Session = Talk;

    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        bearer_token(headers)
    }

    async fn admit(&self, call: &Call, token: &str) -> Result<Identity, Fault> {
        let caller = self.0.verifier.verify(call, token).await?;
        Ok(Identity {
            user: caller.user.0,
            login: caller.session.0,
            expires_ms: caller.expires_ms,
        })
    }

    fn is_ended(&self, identity: &Identity) -> bool {
        self.0.verifier.is_revoked(SessionId(identity.login))
    }

    async fn open(&self, socket: &Arc<Socket>, hello: Hello) -> Result<Talk, Fault> {
        let user = socket
            .user()
            .map(UserId)
            .ok_or_else(|| Fault::internal("hello without a person"))?;
        if !self.0.is_following() {
            return Err(Fault::new(
                Code::Unavailable,
                "this server is not ready; come back",
            ));
        }
        let login = socket
            .login()
            .map(SessionId)
            .ok_or_else(|| Fault::internal("hello without a login"))?;
        let mut talk = Talk::new(self.0.clone(), socket.clone(), user);
        talk.watch_own_chats().await?;
        let resumed = talk.resume(hello.resume).await?;
        let mut streams: BTreeMap<String, Value> = resumed
            .iter()
            .map(|(chat, attached)| (stream(*chat), status(attached)))
            .collect();
        let own = String::from_utf8_lossy(&user_key(user)).into_owned();
        streams.insert(own, json!({ "recovered": false }));
        socket.send(&socket.hub().welcome(socket, &streams));
        talk.link.is_welcome.store(true, Relaxed);
        for (chat, attached) in resumed {
            if attached.why.is_none() {
                talk.settle(chat, &attached).await;
            }
        }
        socket.send(&realtime::ephemeral("ready", &json!({})));
        let registry = &self.0.registry;
        registry.join(socket.id(), user, login, hello.activity);
        Ok(talk)
    }
}

/// What `welcome` says of one stream.
fn status(attached: &Attached) -> Value {
    let mut status =
        json!({ "recovered": attached.why.is_none(), "e": attached.e, "o": attached.o });
    match attached.why {
        Some(why) => status["why"] = json!(why),
        None => status["n"] = json!(attached.replayed.unwrap_or(0)),
    }
    status
}

impl Talk {
    fn new(gateway: Arc<Gateway>, socket: Arc<Socket>, user: UserId) -> Self {
        let link = Link::new(socket, user);
        gateway.people.join(&link);
        let positions_at = Instant::now() + POSITIONS_EVERY;
        Self {
            gateway,
            link,
            streams: Vec::new(),
            sending: Sending::default(),
            positions_at,
        }
    }

    /// Changes that come while the list is read are taken in as well: the person is joined already.
    async fn watch_own_chats(&self) -> Result<(), Fault> {
        let (replay, call) = (&self.gateway.replay, Call::internal("own chats"));
        let chats = replay.message.chats(&call, self.link.user, OWN_CHATS);
        let chats = replay.read(&call, chats).await?;
        self.gateway.topics.own_all(&self.link, &chats);
        Ok(())
    }

    /// Subscribes to what the client had; what cannot be gone on with says why.
    async fn resume(
        &mut self,
        wanted: HashMap<String, ResumeAt>,
    ) -> Result<Vec<(ChatId, Attached)>, Fault> {
        let wanted: Vec<_> = wanted
            .into_iter()
            .filter_map(|(name, at)| match Lane::parse(name.as_bytes()) {
                Some(Lane::Chat(chat)) => Some((chat, at)),
                _ => None,
            })
            .take(self.link.socket.hub().config().subscriptions)
            .collect();
        let mut resumed = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(ATTACH_AT_ONCE) {
            let attaching = some
                .iter()
                .map(|(chat, at)| self.gateway.replay.attach(&self.link, *chat, Some(at)));
            let attached = futures_util::future::join_all(attaching).await;
            for ((chat, _), attached) in some.iter().zip(attached) {
                let attached = match attached {
                    Ok(attached) => attached,
                    Err(fault) if fault.is(Code::NotFound) => Attached {
                        e: String::new(),
                        o: 0,
                        replayed: None,
                        why: Some(Why::Access),
                    },
                    Err(fault) => return Err(fault),
                };
                if attached.why.is_none() {
                    self.streams.push(*chat);
                }
                resumed.push((*chat, attached));
            }
        }
        Ok(resumed)
    }

    /// Makes a new subscription flow.
    pub(super) async fn settle(&mut self, chat: ChatId, attached: &Attached) {
        let has_nothing_to_fetch = attached.replayed.is_none_or(|events| events == 0);
        if has_nothing_to_fetch && self.gateway.topics.release(chat, &self.link) {
            return;
        }
        self.fetch(chat).await;
    }

    async fn fetch(&self, chat: ChatId) {
        if let Err(fault) = self.gateway.replay.catch_up(&self.link, chat).await {
            fault.report("replay");
            self.link.holes.lock().push(chat);
        }
    }

    /// Fills holes; says whether some are left.
    async fn heal(&self) -> bool {
        let mut holes = std::mem::take(&mut *self.link.holes.lock());
        holes.sort_unstable();
        holes.dedup();
        for chat in holes {
            self.fetch(chat).await;
        }
        !self.link.holes.lock().is_empty()
    }

    /// How far every subscribed stream is.
    fn tell_positions(&mut self) {
        let (topics, link) = (&self.gateway.topics, &self.link);
        let mut positions = BTreeMap::new();
        self.streams.retain(|chat| {
            let position = topics.position(*chat, link);
            positions.extend(position.map(|o| (stream(*chat), o)));
            position.is_some()
        });
        if !positions.is_empty() {
            self.link.hint(
                &realtime::ephemeral("pos", &positions),
                Some(event::key("pos", &())),
            );
        }
    }
}

impl Session for Talk {
    async fn receive(&mut self, commands: Vec<Command>) {
        for command in commands {
            if &*command.name == "msg.send" {
                let gateway = self.gateway.clone();
                self.sending.take(&gateway, &self.link, &command).await;
                continue;
            }
            self.sending.flush(&self.gateway).await;
            Box::pin(self.execute(command)).await;
        }
        self.sending.flush(&self.gateway).await;
    }

    fn refused(&mut self, command: &Command) {
        if &*command.name == "msg.send" {
            self.sending.refused(&self.link, command);
        }
    }

    async fn tend(&mut self) -> Option<Duration> {
        let has_holes = !self.link.holes.lock().is_empty() && Box::pin(self.heal()).await;
        let expiry = self.sending.expire(&self.gateway);
        let now = Instant::now();
        if now >= self.positions_at {
            self.positions_at = now + POSITIONS_EVERY;
            self.tell_positions();
        }
        let mut wake = (!self.streams.is_empty()).then_some(self.positions_at);
        wake = wake
            .into_iter()
            .chain(expiry)
            .chain(has_holes.then(|| now + RETRY))
            .min();
        wake.map(|at| at.saturating_duration_since(now))
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.sending.abandon(&self.gateway);
        self.gateway.people.leave(&self.link);
        self.gateway.presence.leave(&self.link);
        self.gateway.registry.leave(self.link.socket.id());
        self.gateway.topics.leave(&self.link);
    }
}
