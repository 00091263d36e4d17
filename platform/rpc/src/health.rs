//! The standard health service, as ready as the node.

use std::time::Duration;

use kit::{CancellationToken, health::Health};
use tokio::time::MissedTickBehavior;
use tonic_health::{ServingStatus, server::HealthReporter};

/// How often the node is asked. Callers are told what it said last, so they cannot make it look more often.
const EVERY: Duration = Duration::from_secs(1);

/// Tells everybody who asks for one of `names` whether the node is ready, until `stop`; those who watch are then told
/// that it is not, and let go.
pub(crate) async fn follow(
    mut reporter: HealthReporter,
    names: Vec<&'static str>,
    health: Health,
    stop: CancellationToken,
) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = async {
            tick.tick().await;
            health.is_ready().await
        };
        tokio::select! {
            is_ready = asked => set(&reporter, &names, is_ready).await,
            () = stop.cancelled() => break,
        }
    }
    set(&reporter, &names, false).await;
    for name in names {
        reporter.clear_service_status(name).await;
    }
}

/// Says the same of each.
pub(crate) async fn set(reporter: &HealthReporter, names: &[&'static str], is_ready: bool) {
    let status = if is_ready {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    for name in names {
        reporter.set_service_status(name, status).await;
    }
}
