//! What a browser keeps for us: cookies that no script sees and no other site sends.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

use crate::{
    config::{Config, origin_host},
    domain::{Error, refresh::Token},
};

/// The refresh token.
const REFRESH: &str = "refresh";
/// The proof of a login; see `Auth::proof`.
const KNOWN: &str = "known";
/// How long browsers keep a cookie at most (RFC 6265bis section 5.5).
const KNOWN_FOR: Duration = Duration::from_hours(400 * 24);

/// Sets the refresh token for as long as the login lasts, in milliseconds from now.
pub(crate) fn set(token: &Token, lasts_ms: i64, config: &Config) -> Option<HeaderValue> {
    header(REFRESH, &token.text(), lasts_ms / 1000, config)
}

/// Removes the refresh token.
pub(crate) fn clear(config: &Config) -> Option<HeaderValue> {
    header(REFRESH, "", 0, config)
}

/// Sets the proof of a login.
pub(crate) fn set_known(proof: &str, config: &Config) -> Option<HeaderValue> {
    header(KNOWN, proof, KNOWN_FOR.as_secs().cast_signed(), config)
}

fn header(name: &str, value: &str, max_age_s: i64, config: &Config) -> Option<HeaderValue> {
    let (prefix, path, secure) = scope(config);
    let text = format!(
        "{prefix}{name}={value}; Path={path}; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}"
    );
    HeaderValue::try_from(text).ok()
}

/// Under TLS no other host of the domain can set the cookie: `__Host-` takes the path `/` (threat:T24). Both `__Host-`
/// and `Secure` are left out without TLS: browsers refuse them on plain `http://localhost`.
fn scope(config: &Config) -> (&'static str, &'static str, &'static str) {
    if config.is_secure() {
        ("__Host-", "/", "; Secure")
    } else {
        ("", "/api", "")
    }
}

/// The proof of an earlier login; `None` without one.
pub(crate) fn known(headers: &HeaderMap, config: &Config) -> Option<String> {
    value(headers, KNOWN, config).map(str::to_owned)
}

/// The refresh token; `None` without one.
///
/// # Errors
/// [`Error::OtherSite`] when a browser says that another site made the request. Clients that are no browsers say nothing.
pub(crate) fn read(headers: &HeaderMap, config: &Config) -> Result<Option<String>, Error> {
    match value(headers, REFRESH, config) {
        None => Ok(None),
        Some(token) if is_own_site(headers, config) => Ok(Some(token.to_owned())),
        Some(_) => Err(Error::OtherSite),
    }
}

fn value<'a>(headers: &'a HeaderMap, name: &str, config: &Config) -> Option<&'a str> {
    let prefix = scope(config).0;
    let lines = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix(prefix)?.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
        .filter(|value| !value.is_empty())
}

fn is_own_site(headers: &HeaderMap, config: &Config) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let Some(origin) = origin.to_str().ok().and_then(origin_host) else {
        return false;
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    host.is_some_and(|host| host.eq_ignore_ascii_case(origin)) || config.host() == Some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    /// threat:T24: without TLS the cookie goes to our API alone; with it no other host can set or overwrite it.
    #[test]
    fn the_cookie_is_ours_alone() {
        let token = Token::random().unwrap();
        let config = Config::default();
        let plain = set(&token, 60_000, &config).unwrap();
        let expected = format!(
            "refresh={}; Path=/api; Max-Age=60; HttpOnly; SameSite=Strict",
            token.text()
        );
        assert_eq!(plain, expected.as_str());
        let secure = Config {
            public_url: "https://chat.example.org".to_owned(),
            ..config
        };
        let rest = "HttpOnly; SameSite=Strict; Secure";
        assert_eq!(
            set(&token, 60_000, &secure).unwrap(),
            format!(
                "__Host-refresh={}; Path=/; Max-Age=60; {rest}",
                token.text()
            )
            .as_str()
        );
        assert_eq!(
            clear(&secure).unwrap(),
            format!("__Host-refresh=; Path=/; Max-Age=0; {rest}").as_str()
        );
        assert_eq!(
            set_known("x", &secure).unwrap(),
            format!("__Host-known=x; Path=/; Max-Age=34560000; {rest}").as_str()
        );
    }

    /// threat:T24
    #[test]
    fn another_site_cannot_use_the_cookie() {
        let config = Config {
            public_url: "https://chat.example.org".to_owned(),
            ..Config::default()
        };
        let cookie = ("cookie", "theme=dark; refresh=planted; __Host-refresh=abc");
        for (more, is_own) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("origin", "https://chat.example.org")], true),
            (
                &[("origin", "http://inner:8081"), ("host", "inner:8081")],
                true,
            ),
            (
                &[
                    ("origin", "https://evil.example"),
                    ("host", "chat.example.org"),
                ],
                false,
            ),
            (&[("origin", "null")], false),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "https://chat.example.org"),
                ],
                false,
            ),
        ] {
            let all: Vec<_> = more.iter().copied().chain([cookie]).collect();
            let token = read(&headers(&all), &config);
            assert_eq!(
                token.is_ok_and(|token| token.as_deref() == Some("abc")),
                is_own,
                "{more:?}"
            );
        }
        assert!(matches!(
            read(
                &headers(&[(
                    "cookie",
                    "other=__Host-refresh=1; refresh=1; __Host-refresh="
                )]),
                &config
            ),
            Ok(None)
        ));
    }
}
