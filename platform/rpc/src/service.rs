//! A contract as a process offers it.

use std::{convert::Infallible, future::Future};

use axum::{Router, response::IntoResponse};
use kit::{Call, Fault};
use tonic::{Request, Response, Status, body::Body, server::NamedService, service::Routes};

use crate::envelope;

/// What a method of a generated trait gives back.
pub type Answer<T> = Result<Response<T>, Status>;

/// Runs a method of a contract: `work` gets the call, which has the caller's deadline though at most
/// [`Call::DEFAULT_TIMEOUT`], and the message. A fault is written to the log here, once.
pub async fn answer<M, T, P, F>(request: Request<M>, work: impl FnOnce(Call, M) -> F) -> Answer<P>
where
    F: Future<Output = Result<T, Fault>>,
    P: From<T>,
{
    // The time counts from the moment the request came, not from when its message was read.
    let arrived = request.extensions().get::<Call>().cloned();
    let call = arrived.unwrap_or_else(|| envelope::call(request.metadata().as_ref()));
    kit::failpoint!("rpc.call");
    match call.run(work(call.clone(), request.into_inner())).await {
        Ok(message) => Ok(Response::new(message.into())),
        Err(fault) => {
            fault.report(call.request_id());
            Err(fault.into())
        }
    }
}

/// One service of a proto file, ready to be served.
#[derive(Clone, Debug)]
pub struct Service {
    name: &'static str,
    router: Router,
}

impl Service {
    /// Takes the server that was generated from a proto file.
    pub fn new<S>(server: S) -> Self
    where
        S: tower::Service<http::Request<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        Self {
            name: S::NAME,
            router: Routes::new(server).into_axum_router().reset_fallback(),
        }
    }

    /// The full name, such as `messenger.user.v1.UserService`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The service without anything that [`Server`](crate::Server) puts around it: for tests that bring a server of
    /// their own.
    pub fn into_routes(self) -> Routes {
        self.router.into()
    }

    pub(crate) fn into_router(self) -> Router {
        self.router
    }
}
