//! The part of `docs/protocol.md` that is the same at every door: commands, `hello`, tokens, limits.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use http::HeaderMap;
use kit::{Call, Code, Fault};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Close, Command, Hub, Identity, Socket,
    bucket::Bucket,
    command::{Malformed, ephemeral},
    driver::Dialogue,
    hub::{AddressSeat, PersonSeat},
};

/// What stands behind a door.
pub trait Service: Send + Sync + 'static {
    /// What it keeps for each person's connection.
    type Session: Session;

    /// The token in the head of a request, if there is one.
    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str>;

    /// Checks a token: `unauthorized`, `token_expired`, `session_ended`, or `unavailable`.
    fn admit(
        &self,
        call: &Call,
        token: &str,
    ) -> impl Future<Output = Result<Identity, Fault>> + Send;

    /// Whether the login was ended, as far as is known at once.
    fn is_ended(&self, identity: &Identity) -> bool;

    /// A person has said hello: sends `welcome` ([`Hub::welcome`]), whatever is replayed, and `ready`.
    ///
    /// # Errors
    /// Closes the connection: with 4001 when the same may work later.
    fn open(
        &self,
        socket: &Arc<Socket>,
        hello: Hello,
    ) -> impl Future<Output = Result<Self::Session, Fault>> + Send;
}

/// A person's connection. Turns never overlap; between them the state costs no task and no lock.
/// Dropped when the connection has ended.
pub trait Session: Send + 'static {
    /// Handles commands in order; each is answered with [`Socket::reply`].
    fn receive(&mut self, commands: Vec<Command>) -> impl Future<Output = ()> + Send;

    /// Told of a command that the limit refused, in its place among the others. For those where order counts.
    fn refused(&mut self, _command: &Command) {}

    /// Called after each turn, after [`Socket::poke`], and when the time it last asked for has come.
    /// Says when it wants to be called again.
    fn tend(&mut self) -> impl Future<Output = Option<Duration>> + Send;
}

/// The first command.
#[derive(Debug, Deserialize)]
pub struct Hello {
    proto: u32,
    #[serde(default)]
    token: Option<String>,
    /// Streams to go on with, and from where.
    #[serde(default)]
    pub resume: HashMap<String, ResumeAt>,
    /// Whether the person is at it.
    #[serde(default)]
    pub activity: Activity,
}

/// What a client says of its person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// They use it.
    #[default]
    Active,
    /// It is open, and nobody has touched it for a while.
    Idle,
}

/// A position in a stream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ResumeAt {
    /// The epoch.
    pub e: String,
    /// The last event that the client has.
    pub o: i64,
}

/// The version of the protocol.
const VERSION: u32 = 1;
/// How long before its end a token is said to expire.
const EXPIRY_WARNING_MS: i64 = 60_000;
/// So many refused commands in a row, and the connection is not read for a while.
const PATIENCE: u32 = 200;
const PENALTY: Duration = Duration::from_secs(1);

pub(crate) struct Protocol<S: Service> {
    service: Arc<S>,
    socket: Arc<Socket>,
    bucket: Bucket,
    refused: u32,
    stage: Stage<S::Session>,
}

/// A command, and whether the limit lets it through.
enum Asked {
    Within(Command),
    TooMuch(Command, Duration),
}

fn too_much(wait: Duration) -> Fault {
    Fault::new(Code::Exhausted, "too many commands").retry_in(wait)
}

enum Stage<T> {
    Greeting(Box<Greeting>),
    Open(Box<Open<T>>),
    Over,
}

struct Greeting {
    identity: Option<Identity>,
    until: u64,
    _seat: AddressSeat,
}

struct Open<T> {
    identity: Identity,
    is_warned: bool,
    session: T,
    _seat: PersonSeat,
}

impl<S: Service> Protocol<S> {
    pub(crate) fn new(
        service: Arc<S>,
        socket: Arc<Socket>,
        identity: Option<Identity>,
        seat: AddressSeat,
    ) -> Self {
        let hub = socket.hub();
        let hello_ms = u64::try_from(hub.config().hello_timeout.as_millis()).unwrap_or(u64::MAX);
        let until = hub.now().saturating_add(hello_ms);
        let bucket = Bucket::full(hub.config(), hub.now());
        let stage = Stage::Greeting(Box::new(Greeting {
            identity,
            until,
            _seat: seat,
        }));
        Self {
            service,
            socket,
            bucket,
            refused: 0,
            stage,
        }
    }

    fn hub(&self) -> &Hub {
        self.socket.hub()
    }

    fn close(&mut self, close: Close) {
        self.socket.close(close);
        self.stage = Stage::Over;
    }

    /// Reads the lines of one message; what is malformed is answered here.
    fn parse(&mut self, text: &str, commands: &mut Vec<Asked>) {
        for line in text.split('\n').filter(|line| !line.trim().is_empty()) {
            let parsed = Command::parse(line);
            if let Err(wait) = self
                .bucket
                .take(self.socket.hub().config(), self.socket.hub().now())
            {
                self.refused += 1;
                self.hub().metrics().limited.increment(1);
                match parsed {
                    Ok(Some(command)) => commands.push(Asked::TooMuch(command, wait)),
                    Ok(None) => {}
                    Err(Malformed { id, .. }) => self.socket.refuse(id, &too_much(wait)),
                }
                continue;
            }
            self.refused = 0;
            match parsed {
                Ok(Some(command)) => commands.push(Asked::Within(command)),
                Ok(None) => {}
                Err(Malformed { id, fault }) => self.socket.refuse(id, &fault),
            }
        }
    }

    async fn receive(&mut self, commands: Vec<Asked>) {
        let mut waiting = Vec::new();
        for asked in commands {
            let command = match asked {
                Asked::Within(command) => command,
                Asked::TooMuch(command, wait) => {
                    self.hand_over(std::mem::take(&mut waiting)).await;
                    if let Stage::Open(open) = &mut self.stage {
                        open.session.refused(&command);
                    }
                    self.socket.reply::<()>(command.id, Err(too_much(wait)));
                    continue;
                }
            };
            match &*command.name {
                "hello" => {
                    self.hand_over(std::mem::take(&mut waiting)).await;
                    Box::pin(self.greet(&command)).await;
                }
                "auth" => {
                    self.hand_over(std::mem::take(&mut waiting)).await;
                    let result = Box::pin(self.renew(&command)).await;
                    self.socket.reply(command.id, result);
                }
                _ => waiting.push(command),
            }
        }
        self.hand_over(waiting).await;
    }

    async fn hand_over(&mut self, commands: Vec<Command>) {
        match &mut self.stage {
            Stage::Open(open) if !commands.is_empty() => open.session.receive(commands).await,
            Stage::Open(_) | Stage::Over => {}
            Stage::Greeting(_) => {
                for command in commands {
                    let fault = Fault::new(Code::Unauthenticated, "say hello first");
                    self.socket.reply::<()>(command.id, Err(fault));
                }
            }
        }
    }

    /// Handles `hello`: the token, the place of the person, then the service.
    async fn greet(&mut self, command: &Command) {
        let Stage::Greeting(greeting) = &mut self.stage else {
            return self
                .socket
                .reply::<()>(command.id, Err(Fault::invalid("hello is said once")));
        };
        let most = self.socket.hub().config().subscriptions + 1;
        let hello = match command.content::<Hello>() {
            Ok(hello) if hello.resume.len() <= most => hello,
            Ok(_) => {
                let fault = Fault::invalid(format!("at most {most} streams can be resumed"));
                return self.socket.refuse(command.id, &fault);
            }
            Err(fault) => return self.socket.refuse(command.id, &fault),
        };
        let known = greeting.identity.take();
        match welcome(&*self.service, &self.socket, hello, known).await {
            Ok(open) => {
                self.stage = Stage::Open(Box::new(open));
                self.socket.reply(command.id, Ok(json!({})));
            }
            Err((close, fault)) => {
                self.hub().metrics().refused(handshake_reason(close));
                self.socket.refuse_last(command.id, &fault);
                self.close(close);
            }
        }
    }

    /// Handles `auth`: a newer token of the same login.
    async fn renew(&mut self, command: &Command) -> Result<serde_json::Value, Fault> {
        #[derive(Deserialize)]
        struct Auth {
            token: String,
        }
        let Stage::Open(open) = &mut self.stage else {
            return Err(Fault::new(Code::Unauthenticated, "say hello first"));
        };
        let auth: Auth = command.content()?;
        let call = Call::internal("auth");
        let identity = call.run(self.service.admit(&call, &auth.token)).await?;
        if (identity.user, identity.login) != (open.identity.user, open.identity.login) {
            return Err(Fault::new(
                Code::Forbidden,
                "the token belongs to another login",
            ));
        }
        open.is_warned = false;
        let expires_ms = identity.expires_ms;
        open.identity = identity;
        Ok(json!({ "expires_ms": expires_ms }))
    }

    /// Looks after the times and says when to look again.
    async fn tend(&mut self) -> Option<Duration> {
        let now = self.hub().now();
        match &mut self.stage {
            Stage::Over => None,
            Stage::Greeting(greeting) if now >= greeting.until => {
                self.hub().metrics().refused("no_hello");
                self.close(Close::HEARTBEAT_LOST);
                None
            }
            Stage::Greeting(greeting) => Some(Duration::from_millis(greeting.until - now)),
            Stage::Open(open) => {
                let left_ms = self.socket.hub().remaining(&open.identity);
                if left_ms <= 0 || self.service.is_ended(&open.identity) {
                    let close = if left_ms <= 0 {
                        Close::TOKEN_EXPIRED
                    } else {
                        Close::LOGIN_ENDED
                    };
                    self.close(close);
                    return None;
                }
                if left_ms <= EXPIRY_WARNING_MS && !open.is_warned {
                    open.is_warned = true;
                    self.socket
                        .send(&ephemeral("auth.expiring", &json!({ "in_ms": left_ms })));
                }
                let wait_ms = if open.is_warned {
                    left_ms
                } else {
                    left_ms - EXPIRY_WARNING_MS
                };
                let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
                let wish = open.session.tend().await;
                Some(wish.map_or(wait, |wish| wish.min(wait)))
            }
        }
    }
}

impl<S: Service> Dialogue for Protocol<S> {
    async fn turn(&mut self, inbox: Vec<String>) {
        let mut commands = Vec::new();
        for text in &inbox {
            self.parse(text, &mut commands);
        }
        drop(inbox);
        if !commands.is_empty() {
            self.receive(commands).await;
        }
        if self.refused >= PATIENCE {
            self.refused = 0;
            tokio::time::sleep(PENALTY).await;
        }
        if let Some(wait) = self.tend().await {
            self.socket.turn_in(wait);
        }
    }
}

/// Decides a hello: the protocol, the token, the place of the person, then the service.
async fn welcome<S: Service>(
    service: &S,
    socket: &Arc<Socket>,
    hello: Hello,
    known: Option<Identity>,
) -> Result<Open<S::Session>, (Close, Fault)> {
    if hello.proto != VERSION {
        let fault = Fault::invalid(format!("this server speaks protocol {VERSION}"));
        return Err((Close::UNKNOWN_PROTOCOL, fault));
    }
    let identity = match (&hello.token, known) {
        (Some(token), _) => {
            let call = Call::internal("hello");
            let admitted = call.run(service.admit(&call, token)).await;
            admitted.map_err(|fault| (close_for(&fault), fault))?
        }
        (None, Some(identity)) => identity,
        (None, None) => {
            let fault = Fault::new(Code::Unauthenticated, "hello needs a token");
            return Err((Close::BAD_TOKEN, fault));
        }
    };
    let Some(seat) = socket.hub().seat_person(identity.user) else {
        let fault = Fault::new(Code::Exhausted, "too many connections of this person");
        return Err((Close::TOO_MANY, fault));
    };
    socket.identify(&identity);
    // An end that came between the check of the token and now would be missed otherwise.
    if service.is_ended(&identity) {
        return Err((
            Close::LOGIN_ENDED,
            Fault::new(Code::Unauthenticated, "the login was ended"),
        ));
    }
    let session = service
        .open(socket, hello)
        .await
        .map_err(|fault| (close_for(&fault), fault))?;
    Ok(Open {
        identity,
        is_warned: false,
        session,
        _seat: seat,
    })
}

/// The close code that tells the client what to do about a refused hello.
fn close_for(fault: &Fault) -> Close {
    match (fault.code(), fault.word()) {
        (_, "token_expired") => Close::TOKEN_EXPIRED,
        (_, "session_ended") => Close::LOGIN_ENDED,
        (Code::Unavailable | Code::Timeout | Code::Internal | Code::Exhausted, _) => Close::RESTART,
        _ => Close::BAD_TOKEN,
    }
}

fn handshake_reason(close: Close) -> &'static str {
    match close {
        Close::TOKEN_EXPIRED => "token_expired",
        Close::LOGIN_ENDED => "login_ended",
        Close::RESTART => "unavailable",
        Close::TOO_MANY => "person_limit",
        Close::UNKNOWN_PROTOCOL => "protocol",
        _ => "bad_token",
    }
}
