//! By what one of our processes knows another.

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

/// The service credential as it stands in a request's head: `authorization: Bearer <secret>`.
#[derive(Clone, Debug)]
pub(crate) struct Credential(HeaderValue);

impl Credential {
    /// `None` when a header cannot carry the secret.
    pub(crate) fn new(secret: &str) -> Option<Self> {
        let is_visible = secret
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ');
        let mut value = HeaderValue::from_str(&format!("Bearer {secret}")).ok()?;
        // Neither printed nor remembered by the compression of headers.
        value.set_sensitive(true);
        is_visible.then_some(Self(value))
    }

    pub(crate) fn show(&self, headers: &mut HeaderMap) {
        headers.insert(AUTHORIZATION, self.0.clone());
    }

    /// Takes as long for a guess that is almost right as for any other; the length is no secret.
    pub(crate) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers
            .get(AUTHORIZATION)
            .map_or(&[][..], HeaderValue::as_bytes);
        aws_lc_rs::constant_time::verify_slices_are_equal(shown, self.0.as_bytes()).is_ok()
    }
}
