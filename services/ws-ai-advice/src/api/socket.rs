//! The door `/ws/ai-advice`: a person says who they are, and then only listens.

use std::{sync::Arc, time::Duration};

use axum::http::HeaderMap;
use contracts::{
    SessionId, UserId,
    auth::{Verifier, bearer_token},
    frames::user_key,
};
use kit::{Call, Code, Fault};
use realtime::{Command, Hello, Identity, Service, Session, Socket};
use serde_json::json;

use crate::app::people::People;

/// The service behind the door.
pub(crate) struct Door {
    pub(crate) people: Arc<People>,
    pub(crate) verifier: Arc<Verifier>,
}

/// One person's connection.
pub(crate) struct Listening {
    people: Arc<People>,
    socket: Arc<Socket>,
    user: UserId,
}

impl Service for Door {
    type Session = Listening;

    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        bearer_token(headers)
    }

    async fn admit(&self, call: &Call, token: &str) -> Result<Identity, Fault> {
        let caller = self.verifier.verify(call, token).await?;
        Ok(Identity {
            user: caller.user.0,
            login: caller.session.0,
            expires_ms: caller.expires_ms,
        })
    }

    fn is_ended(&self, identity: &Identity) -> bool {
        self.verifier.is_revoked(SessionId(identity.login))
    }

    async fn open(&self, socket: &Arc<Socket>, _: Hello) -> Result<Listening, Fault> {
        let user = socket
            .user()
            .map(UserId)
            .ok_or_else(|| Fault::internal("hello without a person"))?;
        if !self.people.is_following() {
            return Err(Fault::new(
                Code::Unavailable,
                "this server is not ready; come back",
            ));
        }
        let own = String::from_utf8_lossy(&user_key(user)).into_owned();
        socket.send(
            &socket
                .hub()
                .welcome(socket, &json!({ own: { "recovered": false } })),
        );
        self.people.join(user, socket);
        socket.send(&realtime::ephemeral("ready", &json!({})));
        Ok(Listening {
            people: self.people.clone(),
            socket: socket.clone(),
            user,
        })
    }
}

impl Session for Listening {
    async fn receive(&mut self, commands: Vec<Command>) {
        for command in commands {
            self.socket.reply::<()>(command.id, Err(command.unknown()));
        }
    }

    async fn tend(&mut self) -> Option<Duration> {
        None
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.people.leave(self.user, &self.socket);
    }
}
