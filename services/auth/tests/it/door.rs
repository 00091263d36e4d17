//! A client without a browser: requests through the real router, answers as they are.

use std::net::SocketAddr;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use http_body_util::BodyExt as _;
use kit::http::Peer;
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// A client at one address.
#[derive(Clone)]
pub(crate) struct Door {
    app: Router,
    peer: SocketAddr,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn code(&self) -> (u16, &str) {
        (
            self.status.as_u16(),
            self.body["code"].as_str().unwrap_or_default(),
        )
    }

    pub(crate) fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn cookie(&self) -> Option<&str> {
        self.headers.get(header::SET_COOKIE)?.to_str().ok()
    }

    /// The cookie that proves this login later on.
    pub(crate) fn known(&self) -> String {
        let cookies = self.headers.get_all(header::SET_COOKIE).iter();
        let known = cookies
            .filter_map(|cookie| cookie.to_str().ok()?.split(';').next())
            .find(|cookie| cookie.starts_with("known="));
        known.unwrap_or_default().to_owned()
    }

    /// The refresh token, from the cookie or the body.
    pub(crate) fn refresh_token(&self) -> String {
        let in_cookie = self
            .cookie()
            .and_then(|cookie| cookie.strip_prefix("refresh=")?.split(';').next());
        in_cookie.map_or_else(|| self.text("refresh_token"), str::to_owned)
    }
}

impl Door {
    pub(crate) fn new(app: Router, peer: SocketAddr) -> Self {
        Self { app, peer }
    }

    pub(crate) fn with_app(&self, app: Router) -> Self {
        Self {
            app,
            peer: self.peer,
        }
    }

    /// Sends a request with headers and a body as they are.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body)).unwrap();
        request.extensions_mut().insert(Peer(self.peer));
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap()
        };
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    /// A request of somebody who is logged in.
    pub(crate) async fn with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        self.send(
            method,
            path,
            &headers,
            body.map_or_else(String::new, |body| body.to_string()),
        )
        .await
    }

    pub(crate) async fn register(&self, name: &str) -> Answer {
        let body = json!({"username": name, "email": format!("{name}@example.org"), "password": password(name)});
        self.post("/api/register", body).await
    }

    pub(crate) async fn login(&self, login: &str, password: &str) -> Answer {
        self.post("/api/login", json!({"login": login, "password": password}))
            .await
    }

    /// A login of a browser that keeps `cookie`.
    pub(crate) async fn login_with(&self, cookie: &str, login: &str, password: &str) -> Answer {
        let headers = [("content-type", "application/json"), ("cookie", cookie)];
        let body = json!({"login": login, "password": password}).to_string();
        self.send("POST", "/api/login", &headers, body).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.post(
            "/api/refresh",
            json!({"refresh_token": token, "cookie": false}),
        )
        .await
    }
}

/// The password that [`Door::register`] chooses.
pub(crate) fn password(name: &str) -> String {
    format!("correct horse of {name}")
}
