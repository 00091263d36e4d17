//! The use cases: people register, log in, stay logged in, and end it.

mod known;
mod login;
mod refresh;
mod sessions;

use std::{net::IpAddr, sync::Arc, time::Duration};

use cache::{Decision, Limits, Rule};
use contracts::{
    auth::token::{AUDIENCE, Claims, ISSUER},
    user::{User, UserClient},
};
use kit::{BoxError, Clock, Ids, Node, OnFailure, Spawner, http::limited};

use crate::{
    config::{Config, millis},
    domain::{Error, refresh::Token},
    hasher::Hasher,
    keys::{Sealer, Signer},
    store::{Lifetimes, Session, Store},
};

pub(crate) use login::{Login, Registration};

/// The service.
pub struct Auth {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) hasher: Hasher,
    pub(crate) signer: Signer,
    pub(crate) sealer: Sealer,
    pub(crate) spawner: Spawner,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) user: UserClient,
    pub(crate) limits: Limits,
}

/// What a client gets when it logs in or stays logged in.
pub(crate) struct Issued {
    pub(crate) user: User,
    pub(crate) session: Session,
    pub(crate) access_token: String,
    /// Milliseconds since 1970.
    pub(crate) access_ends_at: i64,
    pub(crate) refresh_token: Token,
}

impl Auth {
    fn issue(&self, user: User, session: Session, refresh_token: Token) -> Result<Issued, Error> {
        let now_s = self.clock.now_ms() / 1000;
        let ttl_s = millis(self.config.access_ttl) / 1000;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user.id,
            name: user.username.clone(),
            sid: session.id,
            iat: now_s,
            nbf: None,
            // No token outlives its login; one that is about to end still gets a second.
            exp: (now_s + ttl_s).min(session.ends_at / 1000).max(now_s + 1),
            jti: self.ids.next(),
        };
        let access_token = self.signer.sign(&claims)?;
        Ok(Issued {
            user,
            session,
            access_token,
            access_ends_at: claims.exp * 1000,
            refresh_token,
        })
    }

    fn lifetimes(&self) -> Lifetimes {
        Lifetimes {
            idle: millis(self.config.refresh_idle),
            absolute: millis(self.config.refresh_absolute),
        }
    }

    async fn limit_client(&self, what: &str, client: IpAddr, rule: Rule) -> Result<(), Error> {
        self.limit(&format!("auth:{what}:{}", limited(client)), rule)
            .await
    }

    async fn limit(&self, key: &str, rule: Rule) -> Result<(), Error> {
        match self.limits.take(key, rule).await {
            Decision::Allowed => Ok(()),
            Decision::Denied { retry_after } => Err(Error::TooMany(retry_after)),
        }
    }
}

/// Removes what has ended, a little at a time, for as long as the node runs.
pub(crate) fn remove_ended(auth: &Arc<Auth>, node: &Node) {
    const PAUSE: Duration = Duration::from_mins(10);
    let (auth, stop) = (auth.clone(), node.token());
    node.task("ended logins", OnFailure::Restart, move || {
        let (auth, stop) = (auth.clone(), stop.clone());
        async move {
            let work = Box::pin(async {
                let mut tick = tokio::time::interval(PAUSE);
                loop {
                    tick.tick().await;
                    while auth
                        .store
                        .remove_ended(auth.lifetimes().idle, auth.clock.now_ms())
                        .await?
                        > 0
                    {}
                }
            });
            stop.run_until_cancelled(work)
                .await
                .unwrap_or(Ok::<(), BoxError>(()))
        }
    });
}
