//! What every call meets before its method: who asks, how long it may take, whether there is room; and what happens
//! when the method panics.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use futures_util::FutureExt as _;
use kit::{Code, Fault};
use tokio::sync::Semaphore;
use tonic::Status;

use crate::{credential::Credential, envelope, fault::STRANGER, metrics};

/// The one service that answers everybody.
const HEALTH: &str = "/grpc.health.v1.Health/";

pub(crate) struct Guard {
    credential: Credential,
    room: Semaphore,
}

impl Guard {
    pub(crate) fn new(credential: Credential, calls: usize) -> Arc<Self> {
        Arc::new(Self {
            credential,
            room: Semaphore::new(calls),
        })
    }
}

/// Nothing of a stranger's message is read. A call keeps its place until its answer begins.
pub(crate) async fn guard(
    State(guard): State<Arc<Guard>>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.uri().path().starts_with(HEALTH) {
        return next.run(request).await;
    }
    if !guard.credential.is_shown(request.headers()) {
        metrics::refused("credential");
        let fault = Fault::new(Code::Unauthenticated, "this door is for services only");
        return Status::from(fault.reason(STRANGER)).into_http();
    }
    let call = envelope::call(request.headers());
    request.extensions_mut().insert(call.clone());
    let path = request.uri().path().to_owned();
    let answered = async {
        let _place = guard.room.acquire().await.map_err(Fault::internal)?;
        let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        answer.map_err(|_| {
            metrics::panicked();
            Fault::internal(format!("{path} panicked"))
        })
    };
    call.run(answered).await.unwrap_or_else(|fault| {
        fault.report(call.request_id());
        Status::from(fault).into_http()
    })
}
