//! What callers notice of a service that is away, and what not.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use futures_util::future::join_all;
use kit::{Call, Code};
use tokio::time::Instant;

use crate::process::{Echo, Process, eventually, metric, remote};

/// row:F09: a restart of 300 ms is not noticed, by many callers at once and whatever they ask; the tries are counted.
#[tokio::test]
async fn a_service_that_is_away_for_300_ms_is_not_missed() {
    const RETRIES: &str = "rpc_retries_total{service=\"away\",method=\"say\"}";
    let mut process = Process::start(Echo::named("a")).await;
    let address = process.address;
    let remote = remote("away", &address.to_string());
    let call = Call::internal("test");
    assert_eq!(
        rpc::read!(remote, &call, say, String::new()).await.unwrap(),
        "a"
    );
    process.kill();

    let back = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Process::start_at(address, Echo::named("b")).await
    };
    let call = Call::internal("test");
    let reads = (0..10).map(|_| rpc::read!(remote, &call, say, String::new()));
    let writes = async {
        // What is written into a connection that is broken without anybody knowing is lost.
        eventually("the connection is known to be broken", async || {
            metric(RETRIES) >= 1.0
        })
        .await;
        let writes = (0..20).map(|_| rpc::write!(remote, &call, say, String::new()));
        join_all(writes).await
    };
    let began = Instant::now();
    let (_process, reads, writes) = tokio::join!(back, join_all(reads), writes);
    for answer in reads.into_iter().chain(writes) {
        assert_eq!(answer.unwrap(), "b");
    }
    assert!(
        began.elapsed() < Duration::from_millis(1500),
        "{:?}",
        began.elapsed()
    );
    assert!(metric(RETRIES) >= 30.0);
    assert!(metric("rpc_calls_total{service=\"away\",method=\"say\",code=\"ok\"}") >= 31.0);
}

/// row:F10: away for longer: it is asked once a second and everybody else is refused at once, until it is back.
#[tokio::test]
async fn the_breaker_opens_lets_one_through_and_closes() {
    const OPEN: &str = "breaker_open{name=\"broken\"}";
    let mut process = Process::start(Echo::named("a")).await;
    let address = process.address;
    let remote = remote("broken", &address.to_string());
    let ask = async || {
        let call = Call::new("test", Duration::from_millis(100));
        rpc::write!(remote, &call, say, String::new()).await
    };
    assert!(ask().await.is_ok() && metric(OPEN) == 0.0);
    process.kill();
    for _ in 0..10 {
        let code = ask().await.unwrap_err().code();
        assert!(
            matches!(code, Code::Unavailable | Code::Timeout),
            "{code:?}"
        );
    }
    assert!(metric(OPEN) > 0.0);

    let (began, tries) = (Instant::now(), 100);
    let mut refused = 0;
    for _ in 0..tries {
        refused += u32::from(ask().await.unwrap_err().retry_after().is_some());
    }
    // One trial may have fallen into them.
    assert!(
        refused >= tries - 1,
        "{refused} of {tries} in {:?}",
        began.elapsed()
    );
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );

    let _process = Process::start_at(address, Echo::named("b")).await;
    let back = Instant::now();
    eventually("it is asked again", || async { ask().await.is_ok() }).await;
    assert!(
        back.elapsed() < Duration::from_secs(2),
        "{:?}",
        back.elapsed()
    );
    assert!(metric(OPEN) == 0.0);
}

/// Answers prove that somebody is there, whatever they say.
#[tokio::test]
async fn refusals_do_not_open_the_breaker() {
    let process = Process::start(Echo::new(|_, _| async {
        Err(kit::Fault::not_found("answer"))
    }))
    .await;
    let remote = remote("refusing", &process.address.to_string());
    for _ in 0..50 {
        let asked = rpc::read!(remote, &Call::internal("test"), say, String::new()).await;
        assert_eq!(rpc::optional(asked).unwrap(), None);
    }
}

/// Two replicas share the calls; when one dies, the other takes them all, writes as well, and shares again later.
#[tokio::test]
async fn one_of_two_replicas_may_die() {
    let mut first = Process::start(Echo::named("first")).await;
    let second = Process::start(Echo::named("second")).await;
    let address = first.address;
    let remote = remote("pair", &format!("{address}, {}", second.address));
    let say = async || {
        let call = Call::internal("test");
        rpc::write!(remote, &call, say, String::new())
            .await
            .unwrap()
    };
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        seen.insert(say().await);
    }
    assert_eq!(seen.len(), 2);
    first.kill();
    // Whoever is the first to use a broken connection finds out; reads may, since they can be sent again.
    for _ in 0..2 {
        let call = Call::internal("test");
        let answer = rpc::read!(remote, &call, say, String::new()).await;
        assert_eq!(answer.unwrap(), "second");
    }
    for _ in 0..50 {
        assert_eq!(say().await, "second");
    }
    let _first = Process::start_at(address, Echo::named("first again")).await;
    eventually("it is used again", || async {
        say().await == "first again"
    })
    .await;
}

/// A replica that is stopped in order costs nobody a call, in the middle of many.
#[tokio::test]
async fn one_of_two_replicas_may_restart_under_load() {
    let mut first = Process::start(Echo::named("first")).await;
    let second = Process::start(Echo::named("second")).await;
    let address = first.address;
    let remote = remote("rolling", &format!("{address},{}", second.address));
    let (is_over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let caller = async || {
        while !is_over.load(SeqCst) {
            let call = Call::internal("test");
            let answer = rpc::write!(remote, &call, say, String::new()).await;
            answer.unwrap();
            calls.fetch_add(1, SeqCst);
        }
    };
    let operator = async {
        for round in 1..=5 {
            eventually("calls go on", async || calls.load(SeqCst) > round * 500).await;
            first.stop().await;
            eventually("calls go on", async || {
                calls.load(SeqCst) > round * 500 + 200
            })
            .await;
            first = Process::start_at(address, Echo::named("first")).await;
        }
        is_over.store(true, SeqCst);
    };
    tokio::join!(join_all((0..32).map(|_| caller())), operator);
}

/// Nobody is there from the beginning: the caller starts all the same, and asks when somebody is.
#[tokio::test]
async fn a_process_may_start_before_those_it_asks() {
    let address = {
        let mut process = Process::start(Echo::named("a")).await;
        process.kill();
        process.address
    };
    let remote = remote("early", &address.to_string());
    let call = Call::internal("test");
    let fault = rpc::read!(remote, &call, say, String::new())
        .await
        .unwrap_err();
    assert_eq!(fault.code(), Code::Unavailable);
    let _process = Process::start_at(address, Echo::named("a")).await;
    let call = Call::internal("test");
    assert_eq!(
        rpc::read!(remote, &call, say, String::new()).await.unwrap(),
        "a"
    );
}
