//! Checks tokens at a door, without a call for each: keys are cached, ended logins are followed.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use kit::{Call, Clock, Code, Fault, Node, OnFailure};
use parking_lot::RwLock;
use tokio::{
    sync::{Mutex, broadcast},
    time::{Instant, MissedTickBehavior},
};

use super::{AuthClient, Caller, MAX_REVOCATIONS, PublicKey, token};
use crate::SessionId;

/// Checks tokens with cached keys and knows which logins were ended.
///
/// While `auth` is away it goes on with what it has: known keys still check, known revocations still
/// refuse, and a token with an unknown key is answered with `unavailable`, never with `unauthorized`.
pub struct Verifier {
    client: AuthClient,
    clock: Arc<dyn Clock>,
    keys: RwLock<HashMap<String, PublicKey>>,
    asked: Mutex<Option<Asked>>,
    ended: RwLock<HashMap<SessionId, i64>>,
    ended_since: AtomicI64,
    news: broadcast::Sender<SessionId>,
}

/// The last question for keys.
#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    was_answered: bool,
}

impl Verifier {
    /// How often ended logins are asked for.
    const POLL: Duration = Duration::from_secs(1);
    /// The shortest time between two questions for an unknown key.
    const KEY_PAUSE: Duration = Duration::from_secs(1);
    /// How often the whole key set is read again, so that a key taken out of service is forgotten.
    const KEY_REFRESH: Duration = Duration::from_mins(1);
    /// A commit may become visible this much later than the time it carries.
    const OVERLAP_MS: i64 = 10_000;
    /// Ended logins that one receiver may be behind.
    const NEWS: usize = 1024;

    /// A verifier that knows nothing yet. [`Verifier::start`] makes it follow ended logins.
    pub fn new(client: AuthClient, clock: Arc<dyn Clock>) -> Arc<Self> {
        let oldest = clock.now_ms() - token::MAX_LIFETIME_S * 1000;
        Arc::new(Self {
            client,
            clock,
            keys: RwLock::default(),
            asked: Mutex::default(),
            ended: RwLock::default(),
            ended_since: AtomicI64::new(oldest),
            news: broadcast::Sender::new(Self::NEWS),
        })
    }

    /// Follows ended logins each second for as long as the node runs; ready once keys are known.
    pub fn start(self: &Arc<Self>, node: &Node) {
        let (this, stop) = (self.clone(), node.token());
        node.task("token revocations", OnFailure::Restart, move || {
            let (this, stop) = (this.clone(), stop.clone());
            async move {
                stop.run_until_cancelled(this.follow()).await;
                Ok(())
            }
        });
        let this = self.clone();
        node.ready("token keys", move || {
            let known = !this.keys.read().is_empty();
            async move {
                if known {
                    Ok(())
                } else {
                    Err("auth has not answered yet".to_owned())
                }
            }
        });
    }

    /// Who calls, or why the token does not hold: `unauthorized`, `token_expired`, `session_ended`;
    /// `unavailable` when its key is unknown and `auth` does not answer.
    pub async fn verify(&self, call: &Call, token: &str) -> Result<Caller, Fault> {
        let kid = token::key_id(token)?;
        let known = self.keys.read().get(&kid).cloned();
        let key = match known {
            Some(key) => key,
            None => self.ask_for_key(call, &kid).await?,
        };
        let caller = token::check(token, &key, self.clock.now_ms())?;
        if self.is_revoked(caller.session) {
            Err(token::ended())
        } else {
            Ok(caller)
        }
    }

    /// Whether a login is known to be ended.
    pub fn is_revoked(&self, session: SessionId) -> bool {
        self.ended.read().contains_key(&session)
    }

    /// Tells which logins end from now on, each once. A receiver that lags asks
    /// [`Verifier::is_revoked`] for every login it cares about.
    pub fn revocations(&self) -> broadcast::Receiver<SessionId> {
        self.news.subscribe()
    }

    /// Notes an ended login at once, where it was ended.
    pub fn note_revoked(&self, session: SessionId) {
        self.note(session, self.clock.now_ms());
    }

    fn note(&self, session: SessionId, at_ms: i64) {
        let is_new = self.ended.write().insert(session, at_ms).is_none();
        if is_new {
            // Nobody listens in processes without sockets.
            let _ = self.news.send(session);
        }
    }

    async fn ask_for_key(&self, call: &Call, kid: &str) -> Result<PublicKey, Fault> {
        let mut asked = self.asked.lock().await;
        // Another request may have asked while this one waited for its turn.
        if let Some(key) = self.keys.read().get(kid) {
            return Ok(key.clone());
        }
        if let Some(last) = *asked
            && last.at.elapsed() < Self::KEY_PAUSE
        {
            return Err(if last.was_answered {
                token::refused()
            } else {
                Self::away()
            });
        }
        let answer = self.read_keys(call).await;
        *asked = Some(Asked {
            at: Instant::now(),
            was_answered: answer.is_ok(),
        });
        answer.map_err(|fault| Self::away().with_source(fault))?;
        self.keys
            .read()
            .get(kid)
            .cloned()
            .ok_or_else(token::refused)
    }

    async fn read_keys(&self, call: &Call) -> Result<(), Fault> {
        let keys = call.run(self.client.public_keys(call)).await?;
        *self.keys.write() = keys.into_iter().map(|key| (key.kid.clone(), key)).collect();
        Ok(())
    }

    async fn follow(&self) {
        let mut tick = tokio::time::interval(Self::POLL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut keys_read: Option<Instant> = None;
        let mut was_away = false;
        loop {
            tick.tick().await;
            let call = Call::internal("token revocations").within(2 * Self::POLL);
            let mut result = self.read_ended(&call).await;
            if result.is_ok() && keys_read.is_none_or(|at| at.elapsed() >= Self::KEY_REFRESH) {
                result = self.read_keys(&call).await;
                keys_read = result.is_ok().then(Instant::now).or(keys_read);
            }
            if let Err(fault) = &result {
                metrics::counter!("revocation_poll_failures_total").increment(1);
                if !was_away {
                    tracing::warn!(error = ?fault, "auth does not answer; tokens are checked with what is known");
                }
            }
            was_away = result.is_err();
        }
    }

    async fn read_ended(&self, call: &Call) -> Result<(), Fault> {
        let start = self.ended_since.load(Ordering::Acquire);
        let mut since = start;
        loop {
            let page = call.run(self.client.revoked_since(call, since)).await?;
            for revocation in &page {
                self.note(revocation.session, revocation.at_ms);
            }
            let newest = page.last().map_or(since, |revocation| revocation.at_ms);
            if page.len() < MAX_REVOCATIONS || newest <= since {
                self.ended_since
                    .store(start.max(newest - Self::OVERLAP_MS), Ordering::Release);
                break;
            }
            since = newest;
        }
        // The tokens of these have ended by themselves.
        let oldest = self.clock.now_ms() - (token::MAX_LIFETIME_S + token::LEEWAY_S) * 1000;
        self.ended.write().retain(|_, at_ms| *at_ms >= oldest);
        Ok(())
    }

    fn away() -> Fault {
        Fault::new(
            Code::Unavailable,
            "the token cannot be checked right now; try again",
        )
        .retry_in(Self::KEY_PAUSE)
    }
}

#[cfg(test)]
mod tests;
