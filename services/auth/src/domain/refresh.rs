//! Refresh tokens: how one follows another, and when a login is over (RFC 9700 section 4.14.2).

use aws_lc_rs::{digest, hmac, rand};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};

use super::Error;

/// A used token may be presented again for this long, unless its successor was used.
pub(crate) const REPEAT_MS: i64 = 30_000;

/// 256 bits that only the client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token([u8; 32]);

impl Token {
    /// The first token of a login.
    pub(crate) fn random() -> Result<Self, Error> {
        Ok(Self(random_bytes()?))
    }

    /// Reads what a client presents.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        BASE64.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// How a client keeps it.
    pub(crate) fn text(&self) -> String {
        BASE64.encode(self.0)
    }

    /// How we keep it. It has 256 bits of entropy, so a plain hash is enough.
    pub(crate) fn hash(&self) -> Vec<u8> {
        digest::digest(&digest::SHA256, &self.0).as_ref().to_vec()
    }

    /// The one token that follows this one. Who does not hold this token cannot compute it, even with the seed.
    pub(crate) fn successor(&self, seed: &[u8]) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, seed), &self.0);
        Self(tag.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes"))
    }
}

/// 32 random bytes.
pub(crate) fn random_bytes() -> Result<[u8; 32], Error> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| Error::internal("the random source failed"))?;
    Ok(bytes)
}

/// What is known about a token that was presented. Times are milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presented {
    /// When the login ends by itself.
    pub(crate) ends_at: i64,
    /// Whether somebody ended the login.
    pub(crate) is_revoked: bool,
    /// When the token was used first, if ever.
    pub(crate) used_at: Option<i64>,
    /// Whether its successor was used.
    pub(crate) is_successor_used: bool,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is used now, and its successor is good from now on.
    Rotate,
    /// Its successor is given once more.
    Repeat,
    /// It is in two hands: the login ends.
    Revoke,
    /// The login is over.
    Refuse,
}

/// Decides about a token at `now`.
pub(crate) fn decide(presented: Presented, now: i64) -> Decision {
    if presented.is_revoked || now >= presented.ends_at {
        return Decision::Refuse;
    }
    match presented.used_at {
        None => Decision::Rotate,
        Some(used_at) if !presented.is_successor_used && now - used_at <= REPEAT_MS => {
            Decision::Repeat
        }
        Some(_) => Decision::Revoke,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One login as the tables hold it, moved by [`decide`] alone.
    struct Login {
        now: i64,
        ends_at: i64,
        is_revoked: bool,
        seed: [u8; 32],
        rows: Vec<(Token, Option<i64>)>,
    }

    impl Login {
        fn new() -> Self {
            let first = Token::random().unwrap();
            Self {
                now: 0,
                ends_at: 1_000_000,
                is_revoked: false,
                seed: [5; 32],
                rows: vec![(first, None)],
            }
        }

        fn first(&self) -> Token {
            self.rows[0].0.clone()
        }

        fn used_at(&self, token: &Token) -> Option<i64> {
            self.rows
                .iter()
                .find(|(row, _)| row == token)
                .and_then(|(_, used_at)| *used_at)
        }

        fn present(&mut self, token: &Token) -> Option<Token> {
            let next = token.successor(&self.seed);
            let presented = Presented {
                ends_at: self.ends_at,
                is_revoked: self.is_revoked,
                used_at: self.used_at(token),
                is_successor_used: self.used_at(&next).is_some(),
            };
            match decide(presented, self.now) {
                Decision::Rotate => {
                    let row = self.rows.iter_mut().find(|(row, _)| row == token).unwrap();
                    row.1 = Some(self.now);
                    self.rows.push((next.clone(), None));
                    Some(next)
                }
                Decision::Repeat => Some(next),
                Decision::Revoke => {
                    self.is_revoked = true;
                    None
                }
                Decision::Refuse => None,
            }
        }

        fn live_tokens(&self) -> usize {
            if self.is_revoked {
                0
            } else {
                self.rows
                    .iter()
                    .filter(|(_, used_at)| used_at.is_none())
                    .count()
            }
        }
    }

    /// What a holder of tokens does.
    #[derive(Clone, Debug)]
    enum Step {
        Wait(i64),
        /// Presents one of the tokens that were ever issued, counted from the newest; the answer may be lost.
        Present {
            age: usize,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..60_000_i64).prop_map(Step::Wait),
            (0..1000_i64).prop_map(Step::Wait),
            (0..4_usize).prop_map(|age| Step::Present { age }),
            Just(Step::Present { age: 0 }),
        ]
    }

    proptest! {
        /// threat:T6: whoever presents which token when, at most one token is good.
        #[test]
        fn there_are_never_two_live_branches(steps in prop::collection::vec(step(), 1..80)) {
            let mut login = Login::new();
            for step in steps {
                match step {
                    Step::Wait(ms) => login.now += ms,
                    Step::Present { age } => {
                        let place = login.rows.len().saturating_sub(1 + age);
                        let token = login.rows[place].0.clone();
                        let was_over = login.is_revoked || login.now >= login.ends_at;
                        let answer = login.present(&token);
                        prop_assert!(!(was_over && answer.is_some()));
                        // What is handed out is always the end of the one branch.
                        if let Some(next) = answer {
                            prop_assert_eq!(&next, &login.rows.last().unwrap().0);
                        }
                    }
                }
                prop_assert!(login.live_tokens() <= 1);
            }
        }

        /// threat:T6: a lost answer, or a second tab that is late, logs nobody out.
        #[test]
        fn an_honest_client_is_never_logged_out(rounds in prop::collection::vec((0..5_usize, 0..20_000_i64), 1..20)) {
            let mut login = Login::new();
            let mut token = login.first();
            for (lost_answers, pause) in rounds {
                for _ in 0..lost_answers {
                    let _lost = login.present(&token);
                    login.now += 5_000;
                }
                token = login.present(&token).expect("the client came back in time");
                login.now += pause;
            }
            prop_assert!(!login.is_revoked);
        }

        /// threat:T6: thief and owner both go on, in either order: the login ends as soon as the second one
        /// presents a token that the first one has gone on from.
        #[test]
        fn a_stolen_token_ends_the_login(uses in 2..10_usize, pause in 0..50_000_i64) {
            let mut login = Login::new();
            let stolen = login.first();
            let mut ahead = stolen.clone();
            for _ in 0..uses {
                ahead = login.present(&ahead).expect("the first one alone looks honest");
                login.now += pause;
            }
            // The other one, thief or owner, comes with what both had.
            prop_assert_eq!(login.present(&stolen), None);
            prop_assert!(login.is_revoked);
            prop_assert_eq!(login.present(&ahead), None);
            prop_assert_eq!(login.live_tokens(), 0);
        }
    }

    #[test]
    fn a_token_comes_back_for_thirty_seconds() {
        for (wait, is_given) in [(0, true), (REPEAT_MS, true), (REPEAT_MS + 1, false)] {
            let mut login = Login::new();
            let first = login.first();
            let next = login.present(&first).unwrap();
            login.now += wait;
            assert_eq!(login.present(&first), is_given.then_some(next), "{wait}");
            assert_eq!(login.is_revoked, !is_given, "{wait}");
        }
    }

    #[test]
    fn a_login_ends_on_time() {
        let mut login = Login::new();
        login.now = login.ends_at;
        let first = login.first();
        assert_eq!(login.present(&first), None);
    }

    #[test]
    fn only_a_whole_token_is_read() {
        let token = Token::random().unwrap();
        assert_eq!(Token::parse(&token.text()), Some(token.clone()));
        let text = token.text();
        for wrong in [
            "",
            "a",
            &text[1..],
            &format!("{text}="),
            &format!("{text}A"),
            &format!(" {text}"),
        ] {
            assert_eq!(Token::parse(wrong), None, "{wrong}");
        }
    }
}
