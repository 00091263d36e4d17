//! A stop by the operator in the middle of everything.

use std::time::{Duration, Instant};

use e2e::Child;

use crate::checker::{Cast, started};

scenarios! {
    /// row:G12, guarantee:G1: SIGTERM in the middle of sends ends the process with 0 in time; nothing confirmed is lost, and everybody
    /// goes on with the next process.
    async fn a_stop_signal_under_load_loses_nothing(engine) {
        let folder = tempfile::tempdir().unwrap();
        let addresses = Child::prepare(engine, folder.path(), |config| config.ws_gateway.commands_per_10s = 1_000_000).await;
        let mut child = started(folder.path(), addresses, None).await;
        let cast = Cast::gather(addresses.0, 8).await;
        let mut talking = cast.talk(150);
        for _ in 0..2 {
            e2e::eventually("a part is said", async || cast.said() > 0).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            let before = Instant::now();
            assert_eq!(child.stop().await, Some(0));
            assert!(before.elapsed() < Duration::from_secs(30), "{:?}", before.elapsed());
            child = started(folder.path(), addresses, None).await;
        }
        let all = async { while let Some(ended) = talking.join_next().await { ended.unwrap() } };
        tokio::time::timeout(Duration::from_mins(1), all).await.expect("everybody has said and heard everything");
        let verdict = cast.verdict().await;
        assert!(verdict.is_clean(), "{verdict:#?}");
        assert_eq!(verdict.confirmed, 8 * 150);
        assert!(verdict.reconnects > 0, "the stops came too late to be noticed");
        assert_eq!(child.stop().await, Some(0));
    }
}
