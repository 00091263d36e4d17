//! Which web pages may open sockets: those of the host itself, and those that are listed.

use http::{HeaderMap, header};

/// A request without `Origin` comes from no browser. One with it must name the host that it was sent
/// to, with either scheme, or be in `allowed`, which is compared as it is written.
pub(crate) fn is_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = match (origins.next(), origins.next()) {
        (None, _) => return true,
        (Some(only), None) => only.to_str().ok(),
        (Some(_), Some(_)) => None,
    };
    let Some(origin) = origin else { return false };
    if allowed.iter().any(|allowed| allowed == origin) {
        return true;
    }
    let Some((scheme, origin_host)) = origin.split_once("://") else {
        return false;
    };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let bare = |host: &str| {
        host.strip_suffix(default_port)
            .unwrap_or(host)
            .to_ascii_lowercase()
    };
    !host.is_empty() && bare(origin_host) == bare(host)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn allows(host: &'static str, origin: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        headers.insert(header::ORIGIN, HeaderValue::try_from(origin).unwrap());
        is_allowed(&headers, &["https://app.example".to_owned()])
    }

    /// row:D16, threat:T14: the host itself or a listed origin, nothing that only looks like it.
    #[test]
    fn only_the_host_and_listed_origins_may_open_sockets() {
        for origin in [
            "http://chat.example",
            "https://chat.example",
            "https://CHAT.example:443",
            "https://app.example",
        ] {
            assert!(allows("chat.example", origin), "{origin}");
        }
        assert!(allows("localhost:8080", "http://localhost:8080"));
        for origin in [
            "null",
            "",
            "chat.example",
            "file://",
            "file://chat.example",
            "https://chat.example.evil.example",
            "https://evil-chat.example",
            "https://evil.example/chat.example",
            "https://chat.example/",
            "https://chat.example:8443",
            "https://chat.example:80",
            "https://chat.example.",
            "https://user@chat.example",
            "https://chat.example@evil.example",
            "https://chat%2eexample",
            "https://xn--cht-ula.example",
            "https://sub.chat.example",
            "ws://chat.example",
            "HTTPS://chat.example",
            "https:///chat.example",
            "http://app.example",
            "https://APP.example",
            "https://app.example:443",
            "https://app.example ",
            "https://chat.example, https://app.example",
        ] {
            assert!(!allows("chat.example", origin), "{origin}");
        }
        assert!(!allows("localhost:8080", "http://localhost:3000"));
        assert!(is_allowed(&HeaderMap::new(), &[]), "no browser");
    }
}
