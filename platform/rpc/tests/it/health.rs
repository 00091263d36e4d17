//! The standard health service, and what happens at a stop.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use kit::{Call, Code};
use tokio::sync::Notify;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::process::{Echo, Process, eventually, remote};

/// Anybody may ask: it shows no credential.
fn health(process: &Process) -> HealthClient<Channel> {
    let address = format!("http://{}", process.address);
    HealthClient::new(Endpoint::from_shared(address).unwrap().connect_lazy())
}

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

async fn status(
    health: &HealthClient<Channel>,
    service: &str,
) -> Result<ServingStatus, tonic::Code> {
    let answer = health.clone().check(of(service)).await;
    answer
        .map(|answer| answer.into_inner().status())
        .map_err(|status| status.code())
}

/// row:F05: the process and each of its services are as ready as the node is.
#[tokio::test]
async fn health_follows_readiness() {
    let process = Process::start(Echo::named("a")).await;
    let health = health(&process);
    for (is_ready, expected) in [
        (false, ServingStatus::NotServing),
        (true, ServingStatus::Serving),
        (false, ServingStatus::NotServing),
    ] {
        process.is_ready.store(is_ready, SeqCst);
        for service in ["", "test.v1.Echo"] {
            eventually("health follows", || async {
                status(&health, service).await == Ok(expected)
            })
            .await;
        }
    }
    assert_eq!(
        status(&health, "test.v1.Other").await,
        Err(tonic::Code::NotFound)
    );
}

/// A stop says so to those who watch, lets the open call end and takes no new one.
#[tokio::test]
async fn a_stop_ends_what_is_open_and_takes_nothing_new() {
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enter, wait) = (entered.clone(), go_on.clone());
    let mut process = Process::start(Echo::new(move |_, text| {
        let (enter, wait) = (enter.clone(), wait.clone());
        async move {
            enter.notify_one();
            wait.notified().await;
            Ok(text)
        }
    }))
    .await;
    let health = health(&process);
    eventually("it is ready", || async {
        status(&health, "").await == Ok(ServingStatus::Serving)
    })
    .await;
    let mut watched = health.clone().watch(of("")).await.unwrap().into_inner();
    let seen = watched.message().await.unwrap().unwrap();
    assert_eq!(seen.status(), ServingStatus::Serving);

    let address = process.address.to_string();
    let remote = remote("stopping", &address);
    let call = Call::internal("test");
    let open = rpc::write!(remote, &call, say, "open".to_owned());
    let stopping = async {
        entered.notified().await;
        process.begin_stop();
        let seen = watched.message().await.unwrap().unwrap();
        assert_eq!(seen.status(), ServingStatus::NotServing);
        assert!(watched.message().await.unwrap().is_none());
        let late = crate::process::remote("late", &address);
        let call = Call::internal("test");
        let fault = rpc::write!(late, &call, say, "late".to_owned())
            .await
            .unwrap_err();
        assert_eq!(fault.code(), Code::Unavailable);
        go_on.notify_one();
    };
    let (answer, ()) = tokio::join!(open, stopping);
    assert_eq!(answer.unwrap(), "open");
    process.stop().await;
}
