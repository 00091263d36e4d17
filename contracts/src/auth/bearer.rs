//! The token of an HTTP request: `Authorization: Bearer` (RFC 6750), and [`Caller`] as an extractor.

use std::sync::Arc;

use axum::{Extension, extract::FromRequestParts};
use http::{HeaderMap, header, request::Parts};
use kit::{Call, Fault};
use utoipa::{
    Modify,
    openapi::{
        OpenApi,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{Caller, Verifier, token};

/// The bearer token of a request; `None` without exactly one.
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// A handler that takes a [`Caller`] answers 401 without a valid token. Its router carries the layer
/// `Extension<Arc<Verifier>>`.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let Extension(verifier) = Extension::<Arc<Verifier>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Fault::internal("the router has no Extension<Arc<Verifier>>"))?;
        let Ok(call) = Call::from_request_parts(parts, state).await;
        let token = bearer_token(&parts.headers).ok_or_else(token::refused)?;
        verifier.verify(&call, token).await
    }
}

/// Describes the scheme `bearer` in an OpenAPI document; handlers name it as `security(("bearer" = []))`.
pub struct BearerAuth;

impl Modify for BearerAuth {
    fn modify(&self, openapi: &mut OpenApi) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some("JWT".to_owned());
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}
