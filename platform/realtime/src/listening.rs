//! Doors at which people only listen: what concerns a person goes to all of their connections, and no command is known.
//!
//! Where it comes from is the business of the service. Nothing is kept: who was away reads it elsewhere.

use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::routing::MethodRouter;
use http::HeaderMap;
use kit::{Call, Code, Fault, Node};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::{
    Close, Command, Config, Frame, Hello, Hub, Identity, Service, Session, Socket, Watchers,
};

/// The settings of a service with such a door.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenersConfig {
    /// Limits and times of the sockets.
    pub sockets: Config,
    /// A consumer that does not come back for so long loses its partitions.
    #[serde(with = "kit::config::duration")]
    pub session_timeout: Duration,
}

impl Default for ListenersConfig {
    fn default() -> Self {
        Self {
            sockets: Config::default(),
            session_timeout: Duration::from_secs(6),
        }
    }
}

/// Who comes in; the first three are as in [`Service`].
pub trait Gate: Send + Sync + 'static {
    /// The token in the head of a request, if there is one.
    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str>;

    /// Checks a token.
    fn admit(
        &self,
        call: &Call,
        token: &str,
    ) -> impl Future<Output = Result<Identity, Fault>> + Send;

    /// Whether the login was ended, as far as is known at once.
    fn is_ended(&self, login: Uuid) -> bool;

    /// Told when the first connection of a person has come, or the last one has gone.
    fn changed(&self, _user: Uuid) {}
}

/// The people who listen at a door.
pub struct Listeners<G> {
    hub: Arc<Hub>,
    gate: G,
    sockets: Watchers<Uuid>,
    is_fed: AtomicBool,
}

impl<G: Gate> Listeners<G> {
    /// Nobody yet; nobody comes in before [`Listeners::while_fed`].
    pub fn new(hub: Arc<Hub>, gate: G) -> Arc<Self> {
        Arc::new(Self {
            hub,
            gate,
            sockets: Watchers::default(),
            is_fed: AtomicBool::new(false),
        })
    }

    /// The route that upgrades.
    pub fn door<R: Clone + Send + Sync + 'static>(self: &Arc<Self>) -> MethodRouter<R> {
        crate::door(self.hub.clone(), Arc::new(Door(self.clone())))
    }

    /// Lets people in from now on, while `feed` tells them what happens. When it loses its place, everybody has to
    /// come back.
    ///
    /// # Errors
    /// That of `feed`.
    pub async fn while_fed<E>(&self, feed: impl Future<Output = Result<(), E>>) -> Result<(), E> {
        self.is_fed.store(true, Ordering::Release);
        let mut lost = Lost(Some(self));
        feed.await?;
        lost.0 = None;
        Ok(())
    }

    /// For readiness: `why` while nobody would come in.
    pub fn readiness(
        self: &Arc<Self>,
        why: &'static str,
    ) -> impl Fn() -> Ready<Result<(), String>> + Send + Sync + use<G> {
        let this = self.clone();
        move || ready(this.is_fed().then_some(()).ok_or_else(|| why.to_owned()))
    }

    /// Starts `task`: closes the connections of logins that end; see [`Hub::close_ended`].
    pub fn close_ended<T: Clone + Send + 'static>(
        self: &Arc<Self>,
        task: &'static str,
        news: broadcast::Receiver<T>,
        node: &Node,
    ) {
        let this = self.clone();
        let is_ended = move |login| this.gate.is_ended(login);
        self.hub.close_ended(task, news, is_ended, node);
    }

    /// Everybody who is here.
    pub fn people(&self) -> Vec<Uuid> {
        self.sockets.keys()
    }

    /// Whether `user` is here.
    pub fn is_here(&self, user: Uuid) -> bool {
        self.sockets.is_watched(&user)
    }

    /// Sends to every connection of `user` what passes this door. One without room for it is closed; when it comes
    /// back, it reads everything again.
    pub fn tell(&self, user: Uuid, frame: &[u8], passes: impl Fn(&[u8]) -> bool) {
        if !self.is_here(user) || !passes(frame) {
            return;
        }
        let frame = Frame::text(frame);
        self.sockets.each(&user, |socket| {
            if socket.send_event(&frame).is_err() {
                socket.close(Close::TOO_SLOW);
            }
        });
    }

    /// Sends what may be dropped to every connection of `user`.
    pub fn hint(&self, user: Uuid, frame: &[u8]) {
        let frame = Frame::text(frame);
        self.sockets
            .each(&user, |socket| socket.send_ephemeral(&frame, None));
    }

    fn is_fed(&self) -> bool {
        self.is_fed.load(Ordering::Acquire)
    }
}

/// Everybody has to come back when it is dropped, which a feed that fails or panics does.
struct Lost<'l, G>(Option<&'l Listeners<G>>);

impl<G> Drop for Lost<'_, G> {
    fn drop(&mut self) {
        if let Some(listeners) = self.0 {
            listeners.is_fed.store(false, Ordering::Release);
            listeners.hub.restart_all("restart");
        }
    }
}

/// The service behind the door.
struct Door<G>(Arc<Listeners<G>>);

/// One person's connection.
struct Listening<G: Gate> {
    listeners: Arc<Listeners<G>>,
    socket: Arc<Socket>,
    user: Uuid,
}

impl<G: Gate> Service for Door<G> {
    type Session = Listening<G>;

    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        self.0.gate.token(headers)
    }

    async fn admit(&self, call: &Call, token: &str) -> Result<Identity, Fault> {
        self.0.gate.admit(call, token).await
    }

    fn is_ended(&self, identity: &Identity) -> bool {
        self.0.gate.is_ended(identity.login)
    }

    async fn open(&self, socket: &Arc<Socket>, _: Hello) -> Result<Listening<G>, Fault> {
        let listeners = self.0.clone();
        let user = socket
            .user()
            .ok_or_else(|| Fault::internal("hello without a person"))?;
        if !listeners.is_fed() {
            return Err(Fault::new(
                Code::Unavailable,
                "this server is not ready; come back",
            ));
        }
        let streams = json!({ format!("u:{user}"): { "recovered": false } });
        socket.send(&listeners.hub.welcome(socket, &streams));
        if listeners.sockets.watch(user, socket) {
            listeners.gate.changed(user);
        }
        socket.send(&crate::ephemeral("ready", &json!({})));
        Ok(Listening {
            listeners,
            socket: socket.clone(),
            user,
        })
    }
}

impl<G: Gate> Session for Listening<G> {
    async fn receive(&mut self, commands: Vec<Command>) {
        for command in commands {
            self.socket.reply::<()>(command.id, Err(command.unknown()));
        }
    }

    async fn tend(&mut self) -> Option<Duration> {
        None
    }
}

impl<G: Gate> Drop for Listening<G> {
    fn drop(&mut self) {
        if self.listeners.sockets.unwatch(self.user, &self.socket) {
            self.listeners.gate.changed(self.user);
        }
    }
}
