//! The tables `session`, `refresh` and `signing_key`, the same statements on both engines.

use contracts::{
    SessionId, UserId,
    auth::{MAX_REVOCATIONS, PublicKey, Revocation},
};
use sql::{Args, Db, Row, Tx, args};

use crate::domain::refresh::{Decision, Presented, Token, decide};

pub(crate) struct Store {
    db: Db,
}

/// A login.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) user: UserId,
    pub(crate) device: String,
    pub(crate) created_at: i64,
    pub(crate) last_used_at: i64,
    pub(crate) ends_at: i64,
}

/// A login that is not there yet, and its first refresh token.
pub(crate) struct NewSession {
    pub(crate) session: Session,
    pub(crate) seed: [u8; 32],
    pub(crate) token: Token,
}

/// How long logins last, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    pub(crate) idle: i64,
    pub(crate) absolute: i64,
}

/// What became of a refresh token that was presented.
pub(crate) enum Rotation {
    /// The login goes on with `next`.
    Next {
        session: Session,
        next: Token,
        is_repeat: bool,
    },
    /// The login was ended, because the token was in two hands.
    Revoked(SessionId),
    /// There is no such token, or its login is over.
    Refused,
}

/// Why a login was ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Why {
    Logout,
    Ended,
    Reuse,
    PasswordChanged,
    AccountGone,
}

impl Why {
    fn word(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Ended => "ended",
            Self::Reuse => "reuse",
            Self::PasswordChanged => "password_changed",
            Self::AccountGone => "account_gone",
        }
    }
}

/// A signing key as it is stored.
pub(crate) struct StoredKey {
    pub(crate) kid: String,
    pub(crate) public_key: Vec<u8>,
    pub(crate) sealed_key: Vec<u8>,
}

/// The most logins that are listed.
const MAX_LISTED: i64 = 100;
/// A revocation matters as long as a token may live; then its row may go.
const KEPT_AFTER_END_MS: i64 = 25 * 60 * 60 * 1000;

impl Store {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    pub(crate) async fn insert_session(&self, new: NewSession) -> Result<(), sql::Error> {
        let NewSession {
            session,
            seed,
            token,
        } = new;
        let mut tx = self.db.write_tx().await?;
        tx.execute(
            "INSERT INTO session (id, user_id, device, seed, created_at, last_used_at, ends_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            args![
                session.id.0,
                session.user.0,
                session.device,
                seed.as_slice(),
                session.created_at,
                session.last_used_at,
                session.ends_at
            ],
        )
        .await?;
        insert_token(&mut tx, &token, session.id, session.created_at).await?;
        tx.commit().await
    }

    /// Whose login a refresh token belongs to, good or not.
    pub(crate) async fn owner(
        &self,
        token: &Token,
    ) -> Result<Option<(SessionId, UserId)>, sql::Error> {
        let sql = "SELECT s.id, s.user_id FROM refresh r JOIN session s ON s.id = r.session WHERE r.hash = $1";
        let Some(row) = self.db.fetch_optional(sql, args![token.hash()]).await? else {
            return Ok(None);
        };
        Ok(Some((
            SessionId(row.get("id")?),
            UserId(row.get("user_id")?),
        )))
    }

    /// Uses a refresh token: decides and writes in one transaction, one at a time for each login.
    pub(crate) async fn rotate(
        &self,
        token: &Token,
        lifetimes: Lifetimes,
        now: i64,
    ) -> Result<Rotation, sql::Error> {
        let hash = token.hash();
        let mut tx = self.db.write_tx().await?;
        // The update changes nothing: it locks the login on both engines.
        let lock = "UPDATE session SET last_used_at = last_used_at
                    WHERE id = (SELECT session FROM refresh WHERE hash = $1)";
        if tx.execute(lock, args![hash.clone()]).await? == 0 {
            return Ok(Rotation::Refused);
        }
        let sql = "SELECT s.id, s.user_id, s.device, s.seed, s.created_at, s.last_used_at, s.ends_at, s.revoked_at, r.used_at
                   FROM refresh r JOIN session s ON s.id = r.session WHERE r.hash = $1";
        let Some(row) = tx.fetch_optional(sql, args![hash.clone()]).await? else {
            return Ok(Rotation::Refused);
        };
        let mut session = read_session(&row)?;
        let seed: Vec<u8> = row.get("seed")?;
        let next = token.successor(&seed);
        let used = tx
            .fetch_optional(
                "SELECT used_at FROM refresh WHERE hash = $1 AND used_at IS NOT NULL",
                args![next.hash()],
            )
            .await?;
        let presented = Presented {
            ends_at: session.ends_at,
            is_revoked: row.get::<Option<i64>>("revoked_at")?.is_some(),
            used_at: row.get("used_at")?,
            is_successor_used: used.is_some(),
        };
        let is_repeat = match decide(presented, now) {
            Decision::Refuse => return Ok(Rotation::Refused),
            Decision::Revoke => {
                revoke(&mut tx, session.id, Why::Reuse, now).await?;
                tx.commit().await?;
                return Ok(Rotation::Revoked(session.id));
            }
            Decision::Rotate => {
                tx.execute(
                    "UPDATE refresh SET used_at = $2 WHERE hash = $1",
                    args![hash, now],
                )
                .await?;
                insert_token(&mut tx, &next, session.id, now).await?;
                false
            }
            Decision::Repeat => true,
        };
        session.last_used_at = now;
        session.ends_at = (session.created_at + lifetimes.absolute).min(now + lifetimes.idle);
        let touch = "UPDATE session SET last_used_at = $2, ends_at = $3 WHERE id = $1";
        tx.execute(touch, args![session.id.0, now, session.ends_at])
            .await?;
        tx.commit().await?;
        Ok(Rotation::Next {
            session,
            next,
            is_repeat,
        })
    }

    /// Ends one login of a person; `false` when there is none such.
    pub(crate) async fn end(
        &self,
        user: UserId,
        id: SessionId,
        why: Why,
        now: i64,
    ) -> Result<bool, sql::Error> {
        let mut tx = self.db.write_tx().await?;
        let sql = "SELECT id FROM session WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND ends_at > $3";
        let is_there = tx
            .fetch_optional(sql, args![id.0, user.0, now])
            .await?
            .is_some();
        if is_there {
            revoke(&mut tx, id, why, now).await?;
        }
        tx.commit().await?;
        Ok(is_there)
    }

    /// Ends every login of a person but one, and says which.
    pub(crate) async fn end_others(
        &self,
        user: UserId,
        kept: SessionId,
        now: i64,
    ) -> Result<Vec<SessionId>, sql::Error> {
        let mut tx = self.db.write_tx().await?;
        let sql = "SELECT id FROM session WHERE user_id = $1 AND id <> $2 AND revoked_at IS NULL AND ends_at > $3";
        let rows = tx.fetch_all(sql, args![user.0, kept.0, now]).await?;
        let mut ended = Vec::with_capacity(rows.len());
        for row in rows {
            let id = SessionId(row.get("id")?);
            revoke(&mut tx, id, Why::PasswordChanged, now).await?;
            ended.push(id);
        }
        tx.commit().await?;
        Ok(ended)
    }

    /// The logins of a person that last, the most recently used first.
    pub(crate) async fn sessions(
        &self,
        user: UserId,
        now: i64,
    ) -> Result<Vec<Session>, sql::Error> {
        let sql = "SELECT id, user_id, device, created_at, last_used_at, ends_at FROM session
                   WHERE user_id = $1 AND revoked_at IS NULL AND ends_at > $2
                   ORDER BY last_used_at DESC, id DESC LIMIT $3";
        self.db
            .fetch_all(sql, args![user.0, now, MAX_LISTED])
            .await?
            .iter()
            .map(read_session)
            .collect()
    }

    /// Whether a login was ended by somebody.
    pub(crate) async fn is_revoked(&self, id: SessionId) -> Result<bool, sql::Error> {
        let sql = "SELECT id FROM session WHERE id = $1 AND revoked_at IS NOT NULL";
        Ok(self.db.fetch_optional(sql, args![id.0]).await?.is_some())
    }

    pub(crate) async fn revoked_since(&self, since: i64) -> Result<Vec<Revocation>, sql::Error> {
        let sql = "SELECT id, revoked_at FROM session WHERE revoked_at >= $1 ORDER BY revoked_at, id LIMIT $2";
        let most = i64::try_from(MAX_REVOCATIONS).unwrap_or(i64::MAX);
        let rows = self.db.fetch_all(sql, args![since, most]).await?;
        rows.iter()
            .map(|row| {
                Ok(Revocation {
                    session: SessionId(row.get("id")?),
                    at_ms: row.get("revoked_at")?,
                })
            })
            .collect()
    }

    /// Removes some of what has ended and is no longer asked for; 0 when nothing is left. Used refresh tokens go
    /// after `idle` milliseconds: they could only tell of a theft that old.
    pub(crate) async fn remove_ended(&self, idle: i64, now: i64) -> Result<u64, sql::Error> {
        let mut tx = self.db.write_tx().await?;
        let sessions = "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE ends_at < $1 ORDER BY ends_at LIMIT 50)";
        let mut removed = tx.execute(sessions, args![now - KEPT_AFTER_END_MS]).await?;
        let tokens = "DELETE FROM refresh WHERE hash IN (SELECT hash FROM refresh WHERE used_at < $1 ORDER BY used_at LIMIT 500)";
        removed += tx.execute(tokens, args![now - idle]).await?;
        tx.commit().await?;
        Ok(removed)
    }

    pub(crate) async fn newest_key(&self) -> Result<Option<StoredKey>, sql::Error> {
        let sql =
            "SELECT kid, public_key, sealed_key FROM signing_key ORDER BY generation DESC LIMIT 1";
        let Some(row) = self.db.fetch_optional(sql, Args::none()).await? else {
            return Ok(None);
        };
        Ok(Some(StoredKey {
            kid: row.get("kid")?,
            public_key: row.get("public_key")?,
            sealed_key: row.get("sealed_key")?,
        }))
    }

    /// Stores the first key, unless another process was quicker.
    pub(crate) async fn insert_key_if_absent(
        &self,
        key: StoredKey,
        now: i64,
    ) -> Result<(), sql::Error> {
        let mut tx = self.db.write_tx().await?;
        let sql = "INSERT INTO signing_key (generation, kid, public_key, sealed_key, created_at)
                   VALUES (1, $1, $2, $3, $4) ON CONFLICT DO NOTHING";
        tx.execute(sql, args![key.kid, key.public_key, key.sealed_key, now])
            .await?;
        tx.commit().await
    }

    /// The keys that check tokens, the newest first.
    pub(crate) async fn public_keys(&self) -> Result<Vec<PublicKey>, sql::Error> {
        let sql = "SELECT kid, public_key FROM signing_key ORDER BY generation DESC LIMIT 16";
        let mut keys = Vec::new();
        for row in self.db.fetch_all(sql, Args::none()).await? {
            let bytes: Vec<u8> = row.get("public_key")?;
            let x = bytes
                .try_into()
                .map_err(|_| sql::Error::Corrupt("a public key is not 32 bytes long".into()))?;
            keys.push(PublicKey {
                kid: row.get("kid")?,
                x,
            });
        }
        Ok(keys)
    }
}

async fn insert_token(
    tx: &mut Tx,
    token: &Token,
    session: SessionId,
    now: i64,
) -> Result<(), sql::Error> {
    let sql = "INSERT INTO refresh (hash, session, created_at) VALUES ($1, $2, $3)";
    tx.execute(sql, args![token.hash(), session.0, now])
        .await
        .map(drop)
}

async fn revoke(tx: &mut Tx, id: SessionId, why: Why, now: i64) -> Result<(), sql::Error> {
    let sql = "UPDATE session SET revoked_at = $2, revoked_why = $3, ends_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    tx.execute(sql, args![id.0, now, why.word()])
        .await
        .map(drop)
}

fn read_session(row: &Row) -> Result<Session, sql::Error> {
    Ok(Session {
        id: SessionId(row.get("id")?),
        user: UserId(row.get("user_id")?),
        device: row.get("device")?,
        created_at: row.get("created_at")?,
        last_used_at: row.get("last_used_at")?,
        ends_at: row.get("ends_at")?,
    })
}

#[cfg(test)]
mod tests;
