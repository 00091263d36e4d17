mod forged;

use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use kit::ManualClock;
use serde_json::{Value, json};

use super::*;
use crate::auth::{AuthApi, Revocation};

const NOW_S: i64 = 1_800_000_000;
const SESSION: &str = "01980000-0000-7000-8000-0000000000aa";

/// An `auth` that signs nothing and stores nothing: it answers with what the test put in.
#[derive(Default)]
struct Answers {
    keys: RwLock<Vec<PublicKey>>,
    ended: RwLock<Vec<Revocation>>,
    is_away: RwLock<bool>,
    key_questions: AtomicUsize,
}

impl Answers {
    fn unless_away<T>(&self, answer: T) -> Result<T, Fault> {
        if *self.is_away.read() {
            Err(Fault::unavailable("away"))
        } else {
            Ok(answer)
        }
    }
}

#[async_trait]
impl AuthApi for Answers {
    async fn validate_token(&self, _: &Call, _: &str) -> Result<Caller, Fault> {
        Err(token::refused())
    }

    async fn public_keys(&self, _: &Call) -> Result<Vec<PublicKey>, Fault> {
        self.key_questions.fetch_add(1, Ordering::SeqCst);
        self.unless_away(self.keys.read().clone())
    }

    async fn revoked_since(&self, _: &Call, since_ms: i64) -> Result<Vec<Revocation>, Fault> {
        let mut page: Vec<_> = self
            .ended
            .read()
            .iter()
            .filter(|r| r.at_ms >= since_ms)
            .copied()
            .collect();
        page.sort_by_key(|r| r.at_ms);
        page.truncate(MAX_REVOCATIONS);
        self.unless_away(page)
    }
}

struct World {
    auth: Arc<Answers>,
    clock: Arc<ManualClock>,
    pair: Ed25519KeyPair,
    verifier: Arc<Verifier>,
    call: Call,
}

fn world() -> World {
    let auth = Arc::new(Answers::default());
    let clock = Arc::new(ManualClock::at(NOW_S * 1000));
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    auth.keys.write().push(PublicKey {
        kid: "k1".to_owned(),
        x: public(&pair),
    });
    let verifier = Verifier::new(auth.clone(), clock.clone());
    World {
        auth,
        clock,
        pair,
        verifier,
        call: Call::internal("test"),
    }
}

fn public(pair: &Ed25519KeyPair) -> [u8; 32] {
    pair.public_key().as_ref().try_into().unwrap()
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"})
}

fn claims() -> Value {
    json!({
        "iss": "messenger", "aud": "messenger", "sub": "01980000-0000-7000-8000-000000000001", "name": "ann",
        "sid": SESSION, "iat": NOW_S, "exp": NOW_S + 900, "jti": "01980000-0000-7000-8000-0000000000ff",
    })
}

fn with(mut object: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(object.as_object_mut().unwrap().remove(name)),
            value => object[name] = value.clone(),
        }
    }
    object
}

fn signed_text(pair: &Ed25519KeyPair, header: &str, claims: &str) -> String {
    let input = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    format!(
        "{input}.{}",
        BASE64.encode(pair.sign(input.as_bytes()).as_ref())
    )
}

fn signed(pair: &Ed25519KeyPair, header: &Value, claims: &Value) -> String {
    signed_text(pair, &header.to_string(), &claims.to_string())
}

/// threat:T7, row:A06, row:A07: more than forty kinds of forged tokens, none of them gets in.
#[tokio::test]
async fn forged_tokens_are_refused() {
    let w = world();
    let good = signed(&w.pair, &header(), &claims());
    let caller = w.verifier.verify(&w.call, &good).await.unwrap();
    assert_eq!(
        (caller.username.as_str(), caller.expires_ms),
        ("ann", (NOW_S + 900) * 1000)
    );
    let forged = forged::forged(&w.pair);
    assert!(forged.len() >= 40);
    for (name, token) in forged {
        let fault = w.verifier.verify(&w.call, &token).await.expect_err(name);
        assert_eq!(fault.code(), Code::Unauthenticated, "{name}");
    }
}

#[tokio::test]
async fn clocks_may_differ_by_the_leeway_but_the_end_is_the_end() {
    let w = world();
    let early = with(claims(), &json!({"iat": NOW_S + 30, "nbf": NOW_S + 30}));
    assert!(
        w.verifier
            .verify(&w.call, &signed(&w.pair, &header(), &early))
            .await
            .is_ok()
    );
    let token = signed(&w.pair, &header(), &claims());
    w.clock.advance(899_999);
    assert!(w.verifier.verify(&w.call, &token).await.is_ok());
    w.clock.advance(1);
    assert_eq!(
        w.verifier.verify(&w.call, &token).await.unwrap_err().word(),
        "token_expired"
    );
}

/// An unknown key is asked for at once, then at most once a second.
#[tokio::test(start_paused = true)]
async fn unknown_keys_cannot_flood_auth() {
    let w = world();
    for n in 0..50 {
        let token = signed(
            &w.pair,
            &with(header(), &json!({"kid": format!("x{n}")})),
            &claims(),
        );
        assert!(w.verifier.verify(&w.call, &token).await.is_err());
    }
    assert_eq!(w.auth.key_questions.load(Ordering::SeqCst), 1);

    let next = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    w.auth.keys.write().push(PublicKey {
        kid: "k9".to_owned(),
        x: public(&next),
    });
    tokio::time::advance(Duration::from_secs(1)).await;
    let token = signed(&next, &with(header(), &json!({"kid": "k9"})), &claims());
    assert!(w.verifier.verify(&w.call, &token).await.is_ok());
    assert_eq!(w.auth.key_questions.load(Ordering::SeqCst), 2);
}

/// row:A10: an outage of auth is `unavailable` for unknown keys and nothing for known ones.
#[tokio::test(start_paused = true)]
async fn an_outage_of_auth_never_looks_like_a_bad_token() {
    let w = world();
    let token = signed(&w.pair, &header(), &claims());
    *w.auth.is_away.write() = true;
    for _ in 0..2 {
        assert_eq!(
            w.verifier.verify(&w.call, &token).await.unwrap_err().code(),
            Code::Unavailable
        );
    }
    *w.auth.is_away.write() = false;
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(w.verifier.verify(&w.call, &token).await.is_ok());
    *w.auth.is_away.write() = true;
    assert!(w.verifier.verify(&w.call, &token).await.is_ok());
}

/// guarantee:G15: what auth ended is refused after the next poll, told once, and also while auth is away.
#[tokio::test(start_paused = true)]
async fn an_ended_login_is_refused_and_told_once() {
    let w = world();
    let node = Node::new();
    let mut news = w.verifier.revocations();
    w.verifier.start(&node);
    let token = signed(&w.pair, &header(), &claims());
    assert!(w.verifier.verify(&w.call, &token).await.is_ok());
    let session: SessionId = SESSION.parse().unwrap();
    w.auth.ended.write().push(Revocation {
        session,
        at_ms: NOW_S * 1000,
    });
    let told = tokio::time::timeout(Duration::from_secs(2), news.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(told, session);
    *w.auth.is_away.write() = true;
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(
        w.verifier.verify(&w.call, &token).await.unwrap_err().word(),
        "session_ended"
    );
    assert!(news.try_recv().is_err());
}

/// A verifier that starts late learns everything that still matters, page by page.
#[tokio::test]
async fn a_long_list_of_ended_logins_is_read_to_its_end() {
    let w = world();
    let at = |n: usize| NOW_S * 1000 - 20_000_000 + i64::try_from(n).unwrap();
    let session = |n: usize| SessionId(uuid::Uuid::from_u128(n as u128));
    let count = 2 * MAX_REVOCATIONS + 7;
    *w.auth.ended.write() = (0..count)
        .map(|n| Revocation {
            session: session(n),
            at_ms: at(n),
        })
        .collect();
    w.verifier.read_ended(&w.call).await.unwrap();
    assert!((0..count).all(|n| w.verifier.is_revoked(session(n))));
    w.clock
        .advance((token::MAX_LIFETIME_S + token::LEEWAY_S) * 1000);
    w.auth.ended.write().clear();
    w.verifier.read_ended(&w.call).await.unwrap();
    assert!(!w.verifier.is_revoked(session(0)));
}
