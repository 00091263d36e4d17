//! More than forty kinds of forged tokens.

use aws_lc_rs::{hmac, signature::Ed25519KeyPair};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde_json::json;

use super::{NOW_S, claims, header, public, signed, signed_text, with};

type Forged = Vec<(&'static str, String)>;

/// Tokens as an attacker makes them who knows the public key, or even has something signed by us.
pub(super) fn forged(pair: &Ed25519KeyPair) -> Forged {
    [shapes(pair), headers(pair), bodies(pair), foreign_keys()].concat()
}

/// Another shape, or another signature.
fn shapes(pair: &Ed25519KeyPair) -> Forged {
    let good = signed(pair, &header(), &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let (head, body, signature) = (parts[0], parts[1], parts[2]);
    let stranger = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
    let hs256 = |secret: &[u8]| {
        let input = format!(
            "{}.{body}",
            BASE64.encode(with(header(), &json!({"alg": "HS256"})).to_string())
        );
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
        format!("{input}.{}", BASE64.encode(tag.as_ref()))
    };
    let mut flipped = BASE64.decode(signature).unwrap();
    flipped[10] ^= 1;
    let other_claims = BASE64.encode(with(claims(), &json!({"name": "admin"})).to_string());
    vec![
        ("empty", String::new()),
        ("no dots", "abc".to_owned()),
        ("only dots", "..".to_owned()),
        ("four parts", format!("{good}.{signature}")),
        ("signature missing", format!("{head}.{body}.")),
        ("signature cut", good[..good.len() - 4].to_owned()),
        (
            "signature changed",
            format!("{head}.{body}.{}", BASE64.encode(flipped)),
        ),
        (
            "signature of zeros",
            format!("{head}.{body}.{}", BASE64.encode([0; 64])),
        ),
        (
            "claims changed",
            format!("{head}.{other_claims}.{signature}"),
        ),
        (
            "claims cut",
            format!("{head}.{}.{signature}", &body[..body.len() - 2]),
        ),
        ("padded", format!("{good}==")),
        ("white space inside", format!("{head}. {body}.{signature}")),
        ("standard alphabet", good.replace(['-', '_'], "+")),
        (
            "signed by a stranger",
            signed(&stranger, &header(), &claims()),
        ),
        ("hs256 with the public key", hs256(&public(pair))),
        ("hs256 with an empty key", hs256(&[])),
        ("hs256 with the key id", hs256(b"k1")),
        (
            "longer than any token",
            signed(
                pair,
                &header(),
                &with(claims(), &json!({"name": "x".repeat(5000)})),
            ),
        ),
        (
            "header is no object",
            signed_text(pair, "[]", &claims().to_string()),
        ),
        (
            "header is no json",
            signed_text(pair, "{", &claims().to_string()),
        ),
        (
            "claims are no json",
            signed_text(pair, &header().to_string(), "nope"),
        ),
        (
            "a claim twice",
            signed_text(
                pair,
                &header().to_string(),
                &claims()
                    .to_string()
                    .replacen('{', "{\"exp\":9999999999,", 1),
            ),
        ),
    ]
}

/// Another header, signed with our key.
fn headers(pair: &Ed25519KeyPair) -> Forged {
    let changes = [
        ("alg none", json!({"alg": "none"})),
        ("alg None", json!({"alg": "None"})),
        ("alg missing", json!({"alg": null})),
        ("alg RS256", json!({"alg": "RS256"})),
        ("alg ES256", json!({"alg": "ES256"})),
        ("typ JWT", json!({"typ": "JWT"})),
        ("typ missing", json!({"typ": null})),
        ("typ refresh", json!({"typ": "rt+jwt"})),
        ("kid missing", json!({"kid": null})),
        ("kid empty", json!({"kid": ""})),
        ("kid unknown", json!({"kid": "k2"})),
        ("kid is a path", json!({"kid": "../../../../dev/null"})),
        ("kid is sql", json!({"kid": "k1' OR '1'='1"})),
        ("kid holds a zero", json!({"kid": "k1\u{0}"})),
        ("kid is an array", json!({"kid": ["k1"]})),
        ("critical extension", json!({"crit": ["exp"], "exp": 1})),
    ];
    changes
        .map(|(name, change)| (name, signed(pair, &with(header(), &change), &claims())))
        .to_vec()
}

/// Other claims, signed with our key.
fn bodies(pair: &Ed25519KeyPair) -> Forged {
    let changes = [
        ("expired", json!({"iat": NOW_S - 900, "exp": NOW_S - 1})),
        ("expires now", json!({"iat": NOW_S - 900, "exp": NOW_S})),
        ("exp missing", json!({"exp": null})),
        ("exp as text", json!({"exp": "9999999999"})),
        ("exp beyond a day", json!({"exp": NOW_S + 86_401})),
        ("exp at the end of numbers", json!({"exp": i64::MAX})),
        ("exp as a float", json!({"exp": 1e300})),
        (
            "exp before iat",
            json!({"iat": NOW_S + 20, "exp": NOW_S + 10}),
        ),
        ("iat at the start of numbers", json!({"iat": i64::MIN})),
        ("iat in the future", json!({"iat": NOW_S + 31})),
        ("nbf in the future", json!({"nbf": NOW_S + 31})),
        ("wrong issuer", json!({"iss": "somebody"})),
        ("issuer missing", json!({"iss": null})),
        ("wrong audience", json!({"aud": "other"})),
        ("audience is a list", json!({"aud": ["messenger", "other"]})),
        ("audience missing", json!({"aud": null})),
        ("subject is no id", json!({"sub": "admin"})),
        ("session missing", json!({"sid": null})),
        ("session is no id", json!({"sid": "*"})),
    ];
    changes
        .map(|(name, change)| (name, signed(pair, &header(), &with(claims(), &change))))
        .to_vec()
}

/// A key that the token brings along.
fn foreign_keys() -> Forged {
    let stranger = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
    let mut jku = with(
        header(),
        &json!({"kid": "stranger", "jku": "https://evil.example/keys"}),
    );
    let by_address = signed(&stranger, &jku, &claims());
    jku["jwk"] = json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64.encode(public(&stranger))});
    jku["kid"] = json!("k1");
    let by_value = signed(&stranger, &jku, &claims());
    vec![
        ("jku of a stranger", by_address),
        ("jwk of a stranger", by_value),
    ]
}
