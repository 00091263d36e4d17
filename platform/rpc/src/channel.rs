//! The way to a service elsewhere.

use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::{body::Body, transport};
use tower::Service;

/// Leads to a service elsewhere; what a generated client speaks through. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Channel {
    inner: transport::Channel,
}

impl From<transport::Channel> for Channel {
    /// A way that was made otherwise, such as a pipe in a test.
    fn from(inner: transport::Channel) -> Self {
        Self { inner }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = transport::Error;
    type Future = transport::channel::ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.inner.call(request)
    }
}
