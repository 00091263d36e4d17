//! Liveness, readiness and metrics on the private listener.
//!
//! `/healthz` says that the process runs; `/readyz` that it can do its main job, with one line per
//! check; `/metrics` is the Prometheus text format.

use std::{fmt::Write as _, future::Future, pin::Pin, sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use http::{StatusCode, header};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

type Check =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// What has to be true before a process takes traffic.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<Vec<(&'static str, Check)>>>,
    started: CancellationToken,
    stopping: CancellationToken,
}

impl Health {
    const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

    /// Adds a condition; it is asked at every call of `/readyz` and must answer within a second.
    pub fn add<F>(&self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.checks
            .lock()
            .push((name, Arc::new(move || Box::pin(check()))));
    }

    /// The listeners serve from now on.
    pub(crate) fn set_started(&self) {
        self.started.cancel();
    }

    /// No new traffic, please: the process is about to stop.
    pub(crate) fn set_stopping(&self) {
        self.stopping.cancel();
    }

    /// Every check with its trouble, if any.
    pub async fn report(&self) -> Vec<(&'static str, Result<(), String>)> {
        let checks = self.checks.lock().clone();
        let mut report = vec![(
            "process",
            match (self.started.is_cancelled(), self.stopping.is_cancelled()) {
                (true, false) => Ok(()),
                (false, _) => Err("starting".to_owned()),
                (true, true) => Err("stopping".to_owned()),
            },
        )];
        for (name, check) in checks {
            let result = tokio::time::timeout(Self::CHECK_TIMEOUT, check()).await;
            report.push((
                name,
                result.unwrap_or_else(|_| Err("no answer within 1s".to_owned())),
            ));
        }
        report
    }

    /// Whether every check passes.
    pub async fn is_ready(&self) -> bool {
        self.report().await.iter().all(|(_, result)| result.is_ok())
    }

    pub(crate) fn router(
        self,
        metrics: impl Fn() -> String + Clone + Send + Sync + 'static,
    ) -> Router {
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .with_state(self)
            .route(
                "/metrics",
                get(move || {
                    let text = metrics();
                    async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text) }
                }),
            )
    }
}

async fn ready(State(health): State<Health>) -> (StatusCode, String) {
    let report = health.report().await;
    let mut text = String::new();
    for (name, result) in &report {
        let _ = writeln!(
            text,
            "{name}: {}",
            result.as_ref().err().map_or("ok", String::as_str)
        );
    }
    let ready = report.iter().all(|(_, result)| result.is_ok());
    (
        if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        text,
    )
}
