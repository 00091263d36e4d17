//! Registering and logging in.

use std::net::IpAddr;

use aws_lc_rs::digest;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use contracts::{
    SessionId,
    user::{NewUser, User},
};
use kit::Call;

use super::{Auth, Issued};
use crate::{
    domain::{
        Error,
        password::Password,
        refresh::{Token, random_bytes},
    },
    metrics,
    store::{NewSession, Session, Why},
};

/// Somebody new.
pub(crate) struct Registration {
    pub(crate) username: String,
    pub(crate) email: String,
    pub(crate) password: String,
    pub(crate) device: String,
}

/// Somebody who says who they are.
pub(crate) struct Login {
    /// A name or an address.
    pub(crate) who: String,
    pub(crate) password: String,
    pub(crate) device: String,
    /// What the browser kept of an earlier login; see [`Auth::proof`].
    pub(crate) proof: Option<String>,
}

impl Auth {
    pub(crate) async fn register(
        &self,
        call: &Call,
        client: IpAddr,
        new: Registration,
    ) -> Result<Issued, Error> {
        self.limit_client("register", client, self.config.register_limit)
            .await?;
        let Registration {
            username,
            email,
            password,
            device,
        } = new;
        let password = Password::chosen(&password, &[username.trim(), email.trim()])?;
        let password_hash = Some(self.hasher.hash(password).await?);
        let user = self
            .user
            .create(
                call,
                NewUser {
                    username,
                    email: Some(email),
                    password_hash,
                },
            )
            .await?;
        self.open_session(user, device).await
    }

    /// Unknown users and wrong passwords take the same way (threat:T5).
    pub(crate) async fn login(
        &self,
        call: &Call,
        client: IpAddr,
        login: Login,
    ) -> Result<Issued, Error> {
        let result = self.checked_login(call, client, login).await;
        match &result {
            Ok(issued) => {
                metrics::login("ok");
                tracing::info!(user.id = %issued.user.id, session.id = %issued.session.id, "logged in");
            }
            Err(Error::Credentials) => {
                metrics::login("wrong");
                tracing::info!(client.address = %client, "login refused: wrong name or password");
            }
            Err(Error::TooMany(_)) => metrics::login("limited"),
            Err(_) => {}
        }
        result
    }

    async fn checked_login(
        &self,
        call: &Call,
        client: IpAddr,
        login: Login,
    ) -> Result<Issued, Error> {
        self.limit_client("login", client, self.config.login_limit)
            .await?;
        let found = self.user.credentials(call, login.who.trim()).await?;
        let (account, kind) = match &found {
            Some(found) => {
                let is_known = self.is_proven(login.proof.as_deref(), found.user.id);
                let kind = if is_known { "known" } else { "account" };
                (found.user.id.to_string(), kind)
            }
            None => (fingerprint(&login.who), "account"),
        };
        self.limit_guesses(kind, &account).await?;
        let (user, hash) = found.map(|found| (found.user, found.password_hash)).unzip();
        let hash = hash.flatten();
        let is_right = self
            .hasher
            .verify(Password::typed(&login.password), hash.clone())
            .await?;
        match user {
            Some(user) if is_right => {
                let issued = self.open_session(user, login.device).await?;
                self.confirm(call, &issued, hash).await?;
                Ok(issued)
            }
            _ => Err(Error::Credentials),
        }
    }

    /// A password that was changed while it was checked opens nothing: either the change saw the new login and ended
    /// it, or this sees the change. Nobody has got the login's tokens before.
    async fn confirm(
        &self,
        call: &Call,
        issued: &Issued,
        hash: Option<String>,
    ) -> Result<(), Error> {
        let Issued { user, session, .. } = issued;
        let found = self.user.credentials_by_id(call, user.id).await?;
        if found.is_some_and(|found| found.password_hash == hash) {
            return Ok(());
        }
        let now = self.clock.now_ms();
        self.store
            .end(user.id, session.id, Why::PasswordChanged, now)
            .await?;
        Err(Error::Credentials)
    }

    async fn open_session(&self, user: User, device: String) -> Result<Issued, Error> {
        let now = self.clock.now_ms();
        let lifetimes = self.lifetimes();
        let session = Session {
            id: SessionId(self.ids.next()),
            user: user.id,
            device,
            created_at: now,
            last_used_at: now,
            ends_at: now + lifetimes.idle.min(lifetimes.absolute),
        };
        let token = Token::random()?;
        let new = NewSession {
            session: session.clone(),
            seed: random_bytes()?,
            token: token.clone(),
        };
        self.store.insert_session(new).await?;
        self.issue(user, session, token)
    }
}

/// A short key for a name that nobody has.
fn fingerprint(login: &str) -> String {
    let digest = digest::digest(&digest::SHA256, login.trim().to_lowercase().as_bytes());
    BASE64.encode(&digest.as_ref()[..16])
}
