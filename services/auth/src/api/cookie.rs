//! The refresh token of a browser: a cookie that no script sees and no other site sends.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::{
    config::{Config, origin_host},
    domain::{Error, refresh::Token},
};

const NAME: &str = "refresh";

/// Sets the cookie for as long as the login lasts, in milliseconds from now.
pub(crate) fn set(token: &Token, lasts_ms: i64, config: &Config) -> Option<HeaderValue> {
    header(&token.text(), lasts_ms / 1000, config)
}

/// Removes the cookie.
pub(crate) fn clear(config: &Config) -> Option<HeaderValue> {
    header("", 0, config)
}

/// `__Host-` and `Secure` are left out without TLS: browsers refuse both on plain `http://localhost`.
fn header(value: &str, max_age_s: i64, config: &Config) -> Option<HeaderValue> {
    let secure = if config.is_secure() { "; Secure" } else { "" };
    let text = format!(
        "{NAME}={value}; Path=/api; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}"
    );
    HeaderValue::try_from(text).ok()
}

/// The token in the cookie; `None` without one.
///
/// # Errors
/// [`Error::OtherSite`] when a browser says that another site made the request. Clients that are no browsers say nothing.
pub(crate) fn read(headers: &HeaderMap, config: &Config) -> Result<Option<String>, Error> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let token = cookies
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix("refresh="));
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Ok(None);
    };
    if is_own_site(headers, config) {
        Ok(Some(token.to_owned()))
    } else {
        Err(Error::OtherSite)
    }
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

    #[test]
    fn the_cookie_is_for_our_api_alone() {
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
        assert_eq!(
            set(&token, 60_000, &secure).unwrap(),
            format!("{expected}; Secure").as_str()
        );
        assert_eq!(
            clear(&secure).unwrap(),
            "refresh=; Path=/api; Max-Age=0; HttpOnly; SameSite=Strict; Secure"
        );
    }

    #[test]
    fn another_site_cannot_use_the_cookie() {
        let config = Config {
            public_url: "https://chat.example.org".to_owned(),
            ..Config::default()
        };
        let cookie = ("cookie", "theme=dark; refresh=abc");
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
                &headers(&[("cookie", "other=refresh=1; refresh=")]),
                &config
            ),
            Ok(None)
        ));
    }
}
